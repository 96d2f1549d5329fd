"""Build a data set: plan the shards, transcode the videos, assemble, go on after a stop."""
