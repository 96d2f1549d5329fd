"""Official URLs and contents of the data sets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class File:
    """One file of a data set. Paths are relative to the data set's folder.

    Attributes:
        url: official address
        name: path that it is downloaded to, or put by hand
        makes: path that exists when it is unpacked; for a file that is not an archive, its name
        into: folder that it is unpacked into; None if it is not an archive
        holds_rars: whether the archive holds further archives
        most: maximum size in bytes; a larger file is refused
    """

    url: str
    name: str
    makes: str
    into: str | None = None
    holds_rars: bool = False
    most: int = 10 * 10**6


@dataclass(frozen=True)
class PublishedFile:
    """The checksum of an official file, as published by another project.

    Attributes:
        algorithm: "sha256" or "md5"
        digest: hexadecimal
        by: name of the project
    """

    algorithm: str
    digest: str
    by: str


@dataclass(frozen=True)
class ArchivePart:
    """A part of a data set that can be fetched by itself, in many archives.

    Attributes:
        name: such as "train"
        archives: a text file with the URL of a .tar.gz in each line; each of these is unpacked
            into the folder `name`
        annotations: the official list of its videos
    """

    name: str
    archives: File
    annotations: File


@dataclass(frozen=True)
class DataSet:
    """The official files of a data set."""

    name: str
    page: str
    files: tuple[File, ...] = ()
    parts: tuple[ArchivePart, ...] = ()
    default_parts: tuple[str, ...] = ()


# About 6.5 GB. The server sends an incomplete certificate chain, hence the option --insecure.
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

# About 2 GB; a rar of 51 rars, one per class.
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

# By URL. None is known for UCF101.rar and for the archives, lists and annotations of Kinetics.
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
