"""Run video2dataset on local files, for the benchmark, in the Python that it is installed in.

    python run_video2dataset.py table.csv out short_side workers

It resizes to the short side and writes webdataset shards of H.264 videos, not of frames. Modules
that it imports but does not need here are replaced by mocks if they are not installed.
"""

import sys
from unittest.mock import MagicMock


def load():
    while True:
        try:
            import video2dataset
            from video2dataset.subsamplers import ResolutionSubsampler
        except ModuleNotFoundError as error:
            sys.modules[error.name] = MagicMock(__spec__=None, __path__=[])
        else:
            # Version 1.3.0 reads this attribute, but does not define it.
            ResolutionSubsampler.encode_formats = {"video": "mp4"}
            return video2dataset.video2dataset


video2dataset = load()  # at import time, so that worker processes do it, too

if __name__ == "__main__":
    table, out, side, workers = sys.argv[1:]
    youtube = {"download_size": 360, "download_audio_rate": 44100, "yt_metadata_args": {}}
    resize = {"height": int(side), "resize_mode": ["scale"]}
    video2dataset(
        url_list=table,
        output_folder=out,
        output_format="webdataset",
        input_format="csv",
        url_col="path",
        encode_formats={"video": "mp4"},
        config={
            "subsampling": {"ResolutionSubsampler": {"args": resize}},
            "reading": {"yt_args": youtube, "timeout": 60, "sampler": None},
            "storage": {
                "number_sample_per_shard": 32,
                "oom_shard_count": 5,
                "captions_are_subtitles": False,
            },
            "distribution": {
                "processes_count": int(workers),
                "thread_count": 2,
                "subjob_size": 1000,
                "distributor": "multiprocessing",
            },
        },
    )
