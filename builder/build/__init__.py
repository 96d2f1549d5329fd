"""Build a data set: plan the shards, transcode the videos, assemble the shards, resume."""
