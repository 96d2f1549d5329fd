"""Copy samples from an earlier build, rather than decode the same files again."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from builder.build.assemble import of_source
from builder.catalog.source import Source
from builder.decode.frames import split_frames
from builder.errors import BuilderError
from builder.shards.dataset import ShardDataset
from builder.shards.format import Location, read_sample
from builder.shards.video_row import BUILT, FAILED, VideoRow, sample_json

Made = tuple[VideoRow, bytes, bytes | bytearray]  # a row, and the sample's JSON and frames


@dataclass(frozen=True)
class EarlierSample:
    """The result of an earlier build for one source file.

    Attributes:
        row: of the earlier build
        shard: path of the tar file; None if the video failed
        location: of the sample in the shard; None if the video failed
    """

    row: VideoRow
    shard: Path | None
    location: Location | None

    def made_for(self, key: int, video: Source, label: int | None, shard: str) -> Made:
        """The row and sample that decoding the file again would give for another build. Raises
        BuilderError if the earlier sample has changed since it was built."""
        place = shard if self.row.status == BUILT else ""
        row = self.row._replace(**of_source(key, video, label), shard=place)
        if row.status == FAILED:
            return row, b"", b""
        blob = stored_frames(self.shard, self.location, row.sha256)
        if blob is None:
            raise BuilderError(
                f"{self.row.name} in {self.shard} is not what was built: the file was changed or "
                "damaged. `ascnet verify` says more; --overwrite builds all anew."
            )
        return row, sample_json(row, split_frames(blob)[0]), blob


def stored_frames(shard: Path | None, location: Location | None, digest: str) -> bytes | None:
    """Read the frames of a sample; None if they are missing, or have another SHA-256."""
    if shard is None or location is None:
        return None
    blob = read_sample(shard, location)[1]
    return blob if sha256(blob).hexdigest() == digest else None


def earlier_samples(dataset: ShardDataset) -> dict[str, EarlierSample]:
    """The results of a data set's build for all its source videos, by their names."""
    places = {
        (shard.name, location.key): location
        for shard in dataset.manifest.shards
        for location in shard.index
    }
    return {
        row.name: EarlierSample(
            row,
            dataset.folder.absolute() / row.shard if row.shard else None,
            places.get((row.shard, row.key)) if row.key is not None else None,
        )
        for row in dataset.rows()
        if row.status in (BUILT, FAILED)
    }
