"""Published figures to compare ours with. They are from other data, longer training and other
protocols; each row names its source, and all were read there.

They are shown only beside results on the whole data set, which is checked by the number of classes
and of videos in the parts used.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from builder.text_table import aligned

PUBLISHED_TASKS = ("retrieval", "linear", "knn", "fewshot", "finetune")
_RANKS = ("recall@1", "recall@5", "recall@10", "recall@20", "recall@50")
NOTE = "published, not ours: other data, longer training, other protocols"
_ON_THE_FLY = "-on-the-fly"  # suffix of tasks; figures compare with those of the task without it


@dataclass(frozen=True)
class PublishedFigures:
    """A method's figures for one task on one data set.

    Attributes:
        backbone: "": not given in the source
        pretraining: data set; "": not given in the source
        task: one of TASKS
        dataset: name of the data set, such as ucf101
        figures: percent; names as in our results
        source: where the figures were read
        split: "": not given in the source
        used: modalities and other data that the figures depend on
    """

    method: str
    backbone: str
    pretraining: str
    task: str
    dataset: str
    figures: dict[str, float]
    source: str
    split: str = ""
    used: str = "RGB"

    @property
    def origin(self) -> str:
        """Source, split and data used, as text."""
        return f"{self.source}; split {self.split or 'not noted'}; {self.used}"


@dataclass(frozen=True)
class Whole:
    """The size of an official data set.

    Attributes:
        parts: number of videos by split and part
        share: share of them that is required; Kinetics keeps losing videos
    """

    classes: int
    parts: dict[str, dict[str, int]]
    share: float = 1.0

    def needs(self, split: str, part: str) -> int:
        """Number of videos of a part that are required; 0 if there is no such part."""
        return math.ceil(self.share * self.parts.get(split, {}).get(part, 0))


_WHOLE = {
    "ucf101": Whole(
        101,
        {
            "1": {"train": 9_537, "test": 3_783},
            "2": {"train": 9_586, "test": 3_734},
            "3": {"train": 9_624, "test": 3_696},
        },
    ),
    "hmdb51": Whole(51, {split: {"train": 3_570, "test": 1_530} for split in "123"}),
    # Rows of the official lists (the shorter one for Kinetics-600).
    "kinetics400": Whole(400, {"1": {"train": 246_534, "val": 19_906, "test": 38_685}}, 0.95),
    "kinetics600": Whole(600, {"1": {"train": 370_582, "val": 28_313, "test": 56_618}}, 0.95),
}


def lacks(dataset: str, classes: int, splits: Mapping[str, Mapping[str, Any]]) -> str:
    """Why a result is not on the whole data set, so that published figures do not apply; "" if they
    do. `classes` and `splits` are those of the result."""
    whole = _WHOLE[dataset]
    said = [] if classes == whole.classes else [f"{classes} of {whole.classes} classes"]
    for split, result in splits.items():
        for part, number in (("train", "train"), (str(result.get("test_part", "test")), "test")):
            have = int((result.get("counts") or {}).get(number, 0))
            needs, official = whole.needs(split, part), whole.parts.get(split, {}).get(part)
            if official is None:
                said.append(f"split {split} has no official {part} part")
            elif have < needs or (have > official and whole.share == 1):
                said.append(f"{have} of {official} videos in the {part} part of split {split}")
    if not splits:
        said.append("the number of videos of the result is unknown")
    if not said:
        return ""
    return f"published figures are left out, as this is not the whole of {dataset}: " + (
        "; ".join(said)
    )


def published(task: str, dataset: str) -> tuple[PublishedFigures, ...]:
    """The published rows for a task on a data set, or none. A linear probe on augmented clips
    ("linear-on-the-fly") is compared with linear probes."""
    wanted = (task.removesuffix(_ON_THE_FLY), dataset)
    return tuple(row for row in _ROWS if (row.task, row.dataset) == wanted)


def text_rows(task: str, dataset: str, columns: tuple[str, ...] = ()) -> list[str]:
    """The published rows as aligned lines of text with a heading; empty if there are none.
    `columns` selects figures; by default, all are shown."""
    rows = published(task, dataset)
    known = tuple(dict.fromkeys(name for row in rows for name in row.figures))
    shown = [name for name in columns or known if name in known]
    if not rows or not shown:
        return []
    table = [["", *shown, ""]]
    for row in rows:
        cells = [f"{row.figures[name]:.1f}" if name in row.figures else "-" for name in shown]
        table.append([_who(row), *cells, row.origin])
    return [f"{NOTE}:", *aligned(table, range(1, len(shown) + 1))]


def _who(row: PublishedFigures) -> str:
    """Method, backbone and data, such as "RSPNet, C3D, Kinetics-400", as far as they are known."""
    return ", ".join(word for word in (row.method, row.backbone, row.pretraining) if word)


def _finetuned(
    method: str, backbone: str, pretraining: str, ucf: float | None, hmdb: float | None, source: str
) -> list[PublishedFigures]:
    """Top-1 accuracy after fine-tuning on UCF-101 and HMDB-51."""
    return [
        PublishedFigures(method, backbone, pretraining, "finetune", dataset, {"top1": top1}, source)
        for dataset, top1 in (("ucf101", ucf), ("hmdb51", hmdb))
        if top1 is not None
    ]


def _retrieved(
    method: str, backbone: str, pretraining: str, recall: tuple[float, ...], source: str
) -> PublishedFigures:
    """Recall at 1, 5, 10, 20 and 50, or at 1 only, on UCF-101."""
    figures = dict(zip(_RANKS, recall, strict=False))
    return PublishedFigures(method, backbone, pretraining, "retrieval", "ucf101", figures, source)


def _noted(
    rows: Iterable[PublishedFigures], split: str = "", used: str = "RGB"
) -> list[PublishedFigures]:
    """The same rows with their split and the data used."""
    return [replace(row, split=split, used=used) for row in rows]


_K400, _K600, _UCF = "Kinetics-400", "Kinetics-600", "UCF-101"
_VCOP = "R(2+1)D, 14.4 M weights (here r2plus1d-vcop)"  # not torchvision's, which has 31 M
_ASCNET = (
    "a third party's copy of a table of the ASCNet paper, "
    "github.com/XinyuSun/awesome-papers-note, resources/017.png"
)
_VIDEOMAE = "VideoMAE paper, table 13"
_RSPNET, _RSPNET_SUPPLEMENT = "RSPNet README", "RSPNet supplement"
_SLOWFAST = "SlowFast contrastive README"
_DUALVAR = "DualVar repository, a picture of a table"
_COCLR = "CoCLR README (the split: its code)"
_VCLR = "VCLR, from ImageNet MoCo"
_MVEB = "github.com/embeddings-benchmark/results, facebook__vjepa2-vitl-fpc64-256"
_FLOW_TRAINED = "RGB; optical flow in pre-training"
_IMAGENET = "RGB; began with ImageNet MoCo weights"
_DRAWS = "RGB; frozen, 8 labels per class, 10 draws of videos"

_ROWS: tuple[PublishedFigures, ...] = (
    *_finetuned("ASCNet", "R3D-18, 16x112", _K400, 80.5, 52.3, _ASCNET),
    *_finetuned("ASCNet", "S3D-G, 64x224", _K400, 90.8, None, f"ASCNet abstract; {_ASCNET}"),
    *_finetuned("ASCNet", "S3D-G, 64x224", _K400, None, 60.5, _ASCNET),
    *_finetuned("RSPNet", "3D ResNet-18", _K400, 74.3, 41.8, _RSPNET),
    *_finetuned("RSPNet", "C3D", _K400, 76.7, 44.6, _RSPNET),
    *_finetuned("RSPNet", _VCOP, _K400, 81.1, 44.6, _RSPNET),
    *_finetuned("RSPNet, 200 epochs", "S3D-G", _K400, 89.9, 59.6, _RSPNET),
    *_finetuned("RSPNet, 1000 epochs", "S3D-G", _K400, 93.7, 64.7, _RSPNET),
    *_finetuned("TCLR", "R3D-18", _UCF, 82.0, None, "TCLR README"),
    *_finetuned("TCLR", "R3D-18", _UCF, None, 52.9, "TCLR paper, abstract"),
    *_noted(
        (
            *_finetuned("CoCLR, RGB", "S3D", _UCF, 81.4, 52.1, _VIDEOMAE),
            *_finetuned("CoCLR, RGB", "S3D", _K400, 87.9, 54.6, _VIDEOMAE),
            *_finetuned("MSCL", "R3D-18", "", 91.5, None, "MSCL README"),
        ),
        used=_FLOW_TRAINED,
    ),
    *_finetuned("DualVar", _VCOP, _K400, 82.0, 51.2, _DUALVAR),
    *_finetuned("DualVar, one setting", "", _UCF, 78.5, 47.5, _DUALVAR),
    *_finetuned("DualVar, another setting", "", _UCF, 79.0, 45.4, _DUALVAR),
    *_finetuned("Pace", "R(2+1)D", _K400, 77.1, 36.6, _VIDEOMAE),
    *_finetuned("SpeedNet", "S3D-G", _K400, 81.1, 48.8, _VIDEOMAE),
    *_finetuned("VideoMoCo", "R(2+1)D", _K400, 78.7, 49.2, _VIDEOMAE),
    *_finetuned("MemDPC, RGB", "3D ResNet-34", "", 78.1, 41.2, "DualVar paper, table 4"),
    *_noted(
        _finetuned("MemDPC, two-stream", "", _K400, 86.1, 54.5, _VIDEOMAE),
        used="RGB and optical flow, in the test, too",
    ),
    *_finetuned("CVRL", "R3D-50", _K400, 92.9, 67.9, _VIDEOMAE),
    *_finetuned("CVRL", "R3D-50", _K600, 93.6, 69.4, _VIDEOMAE),
    *_noted(
        (
            *_finetuned("rho-BYOL, 2 clips", "Slow R50, 8x8", _K400, 94.0, None, _SLOWFAST),
            *_finetuned("rho-BYOL, 4 clips", "Slow R50, 8x8", _K400, 94.7, None, _SLOWFAST),
            *_finetuned("rho-BYOL, 4 clips", "Slow R50, 16x4", _K400, 95.4, None, _SLOWFAST),
            *_finetuned("rho-MoCo, 2 clips", "Slow R50, 8x8", _K400, 91.3, None, _SLOWFAST),
            *_finetuned("rho-MoCo, 4 clips", "Slow R50, 8x8", _K400, 94.5, None, _SLOWFAST),
            *_finetuned("SimCLR, 2 clips", "Slow R50, 8x8", _K400, 88.3, None, _SLOWFAST),
            *_finetuned("SwAV, 2 clips", "Slow R50, 8x8", _K400, 90.2, None, _SLOWFAST),
        ),
        split="1",
    ),
    *_finetuned("rho-BYOL, 4 clips", "Slow R50", _K400, None, 72.1, _VIDEOMAE),
    *_finetuned("CORP_f", "", _K400, 93.5, 68.0, _VIDEOMAE),
    *_finetuned("VideoMAE", "ViT-B", _UCF, 91.3, None, _VIDEOMAE),
    *_finetuned("VideoMAE", "ViT-B", _K400, 96.1, 73.3, _VIDEOMAE),
    *_finetuned("VideoMAE", "ViT-B", "", None, 62.6, _VIDEOMAE),
    *_noted(
        (
            _retrieved("RSPNet", "3D ResNet-18", _K400, (41.1, 59.4, 68.4, 77.8, 88.7), _RSPNET),
            _retrieved("RSPNet", "C3D", _K400, (36.0, 56.7, 66.5, 76.3, 87.7), _RSPNET),
            _retrieved("Pace", "C3D", "", (31.9, 49.7, 59.2, 68.9, 80.2), _RSPNET_SUPPLEMENT),
            _retrieved(
                "SpeedNet", "S3D-G", _K400, (13.0, 28.1, 37.5, 49.5, 65.0), _RSPNET_SUPPLEMENT
            ),
            _retrieved("ClipOrder", "R3D", "", (14.1, 30.3, 40.0, 51.1, 66.5), _RSPNET_SUPPLEMENT),
            _retrieved("VCP", "R(2+1)D", "", (19.9, 33.7, 42.0, 50.5, 64.4), _RSPNET_SUPPLEMENT),
        ),
        split="1",
    ),
    _retrieved("DualVar", _VCOP, "", (46.7, 63.1, 69.7, 78.0, 87.8), _DUALVAR),
    *_noted(
        (
            _retrieved("CoCLR, RGB", "S3D", _UCF, (51.8,), _COCLR),
            _retrieved("CoCLR, RGB", "S3D", _K400, (45.6,), _COCLR),
        ),
        split="1",
        used=_FLOW_TRAINED,
    ),
    _retrieved("TCLR", "R3D-18", _UCF, (56.1,), "TCLR README"),
    *_noted(
        (_retrieved("MSCL", "R3D-18", "", (65.6,), "MSCL README"),),
        used=_FLOW_TRAINED,
    ),
    *_noted(
        (
            _retrieved(_VCLR, "R50", _K400, (70.6,), "VCLR README"),
            _retrieved(_VCLR, "R50", _UCF, (46.8,), "VCLR README"),
            *(
                PublishedFigures(
                    _VCLR, "R50", data, "retrieval", "hmdb51", {"recall@1": recall}, "VCLR README"
                )
                for data, recall in ((_K400, 35.2), (_UCF, 17.6))
            ),
        ),
        used=_IMAGENET,
    ),
    PublishedFigures("TCLR", "R3D-18", _UCF, "linear", "ucf101", {"top1": 69.9}, "TCLR README"),
    *(
        PublishedFigures(method, backbone, _K400, "linear", "kinetics400", {"top1": t}, _SLOWFAST)
        for method, backbone, t in (
            ("rho-BYOL, 2 clips", "Slow R50, 8x8", 67.4),
            ("rho-BYOL, 4 clips", "Slow R50, 8x8", 70.1),
            ("rho-BYOL, 4 clips", "Slow R50, 16x4", 71.1),
            ("rho-MoCo, 2 clips", "Slow R50, 8x8", 66.6),
            ("rho-MoCo, 4 clips", "Slow R50, 8x8", 71.0),
            ("SimCLR, 2 clips", "Slow R50, 8x8", 61.5),
            ("SwAV, 2 clips", "Slow R50, 8x8", 62.6),
        )
    ),
    PublishedFigures(
        "CVRL", "R3D-50", _K600, "linear", "kinetics600", {"top1": 70.4}, "CVRL paper, abstract"
    ),
    *_noted(
        [PublishedFigures("V-JEPA 2", "ViT-L", "", "fewshot", "hmdb51", {"8-shot": 45.6}, _MVEB)],
        split="1",
        used=_DRAWS,
    ),
    *_noted(
        [PublishedFigures("V-JEPA 2", "ViT-L", "", "fewshot", "ucf101", {"8-shot": 81.4}, _MVEB)],
        used=f"{_DRAWS}; 51 of the 101 classes",
    ),
)
