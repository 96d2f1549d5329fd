"""Copy samples from an earlier build, rather than decode the same files again."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from builder.build.assemble import of_source
from builder.catalog.source import Source
from builder.decode.frames import frame_offsets
from builder.errors import BuilderError
from builder.shards.dataset import ShardDataset
from builder.shards.format import Location, read_sample
from builder.shards.manifest import VIDEOS_FILE
from builder.shards.stored_json import changed
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
        made = stored_sample(row, self.shard, self.location)
        if made is None:
            raise BuilderError(
                f"{self.row.name} in {self.shard} is not what was built: the file was changed or "
                "damaged. `ascnet verify` says more; --overwrite builds all anew."
            )
        return made


def stored_sample(row: VideoRow, shard: Path | None, location: Location | None) -> Made | None:
    """Make a sample of a row and the frames that an earlier build stored; None if they are missing,
    or have another SHA-256 than the row's."""
    if shard is None or location is None:
        return None
    blob = read_sample(shard, location)[1]
    if sha256(blob).hexdigest() != row.sha256:
        return None
    return row, sample_json(row, frame_offsets(blob)), blob


def earlier_samples(dataset: ShardDataset) -> dict[str, EarlierSample]:
    """The results of a data set's build for all its source videos, by their names. Raises
    BuilderError if `videos.jsonl` was changed after it was built."""
    table = dataset.folder / VIDEOS_FILE
    if sha256(table.read_bytes()).hexdigest() != dataset.manifest.videos_jsonl_sha256:
        raise changed(table, "its SHA-256 is not the one that was written down")
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
