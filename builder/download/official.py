"""Where the data sets officially are, and what they are made of."""

from dataclasses import dataclass


@dataclass(frozen=True)
class File:
    """One file of a data set. Paths are below the data set's folder.

    Attributes:
        name: where it is downloaded to, or put by hand
        makes: what is there when it is unpacked; of a file that is no archive, its name
        into: the folder that it is unpacked into; None: no archive
        holds_rars: archives in the archive
        most: bytes; more is not taken from a server
    """

    url: str
    name: str
    makes: str
    into: str | None = None
    holds_rars: bool = False
    most: int = 10 * 10**6


@dataclass(frozen=True)
class PublishedFile:
    """What others wrote down of an official file when they had it.

    Attributes:
        algorithm: sha256 | md5
    """

    algorithm: str
    digest: str
    by: str


@dataclass(frozen=True)
class ArchivePart:
    """A part of a data set that is had by itself, in many archives.

    Attributes:
        archives: a text file, the URL of a tar.gz a line; each is unpacked into folder `name`
    """

    name: str
    archives: File
    annotations: File


@dataclass(frozen=True)
class DataSet:
    """Where a data set officially is."""

    name: str
    page: str
    files: tuple[File, ...] = ()
    parts: tuple[ArchivePart, ...] = ()
    default_parts: tuple[str, ...] = ()


# About 6.5 GB. The server sends an incomplete certificate chain: --insecure is for it.
UCF101 = DataSet(
    "ucf101",
    page="https://www.crcv.ucf.edu/data/UCF101.php",
    files=(
        File(
            "https://www.crcv.ucf.edu/data/UCF101/UCF101.rar",
            name="UCF101.rar",
            makes="UCF-101",
            into=".",
            most=8 * 10**9,
        ),
        File(
            "https://www.crcv.ucf.edu/data/UCF101/UCF101TrainTestSplits-RecognitionTask.zip",
            name="UCF101TrainTestSplits-RecognitionTask.zip",
            makes="ucfTrainTestlist",
            into=".",
        ),
    ),
)

# About 2 GB; a rar of 51 rars, one a class.
HMDB51 = DataSet(
    "hmdb51",
    page="https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/",
    files=(
        File(
            "http://serre-lab.clps.brown.edu/wp-content/uploads/2013/10/hmdb51_org.rar",
            name="hmdb51_org.rar",
            makes="hmdb51_org",
            into="hmdb51_org",
            holds_rars=True,
            most=3 * 10**9,
        ),
        File(
            "http://serre-lab.clps.brown.edu/wp-content/uploads/2013/10/test_train_splits.rar",
            name="test_train_splits.rar",
            makes="testTrainMulti_7030_splits",
            into=".",
        ),
    ),
)


def _kinetics400_part(name: str) -> ArchivePart:
    place = "https://s3.amazonaws.com/kinetics/400"
    listing, annotations = f"k400_{name}_path.txt", f"annotations/{name}.csv"
    return ArchivePart(
        name,
        archives=File(f"{place}/{name}/{listing}", name=listing, makes=listing),
        annotations=File(
            f"{place}/{annotations}", name=annotations, makes=annotations, most=100 * 10**6
        ),
    )


# About 450 GB. Hosted by the Common Visual Data Foundation.
KINETICS400 = DataSet(
    "kinetics400",
    page="https://github.com/cvdfoundation/kinetics-dataset",
    parts=tuple(_kinetics400_part(name) for name in ("train", "val", "test")),
    default_parts=("train", "val"),
)

# By URL. Of UCF101.rar and of Kinetics' archives, lists and annotations none is known.
PUBLISHED = {
    UCF101.files[1].url: PublishedFile(
        "sha256",
        "5c0d1a53b8ed364a2ac830a73f405e51bece7d98ce1254fd19ed4a36b224bd27",
        by="TensorFlow Datasets",
    ),
    HMDB51.files[0].url: PublishedFile("md5", "517d6f1f19f215c45cdd4d25356be1fb", by="MediaPipe"),
    HMDB51.files[1].url: PublishedFile("md5", "15e67781e70dcfbdce2d7dbb9b3344b5", by="torchvision"),
}

DATASETS = {dataset.name: dataset for dataset in (UCF101, HMDB51, KINETICS400)}
