"""The report of a run: its data, training and results on one page."""

from dataclasses import dataclass
from pathlib import Path

from builder.atomic import write_atomically
from builder.command_line import command_line
from builder.progress import Progress, silent
from evaluate.curve import score_text
from evaluate.features.store import Features
from evaluate.pages import (
    chart,
    confusion,
    curves,
    facts,
    failures,
    gallery,
    landscape,
    nearest_videos,
    results,
    run_curve,
)
from evaluate.pages.pictures import Pictures
from evaluate.pages.template import render
from trainer.run.checkpoint import list_checkpoints

REPORT_FILE = "report.html"
QUERIES = 12  # in all galleries together, but at least _FEWEST in each
_FEWEST = 4
_PAIRS = 15


@dataclass(frozen=True)
class Section:
    """The part of the report about the features of one data set ("Features of ...").

    Attributes:
        problem: why pictures are missing; "": none are
    """

    name: str
    anchor: str
    store: Features
    found: nearest_videos.NearestVideos
    queries: list[gallery.Query]
    problem: str
    confusion: confusion.Confusion | None
    landscape: landscape.Landscape | None

    @property
    def layers(self) -> str:
        """The encoder and the store, in words."""
        facts = self.store.attributes
        return (
            f"{facts.get('encoder', 'trained')} encoder, step {facts.get('step', '?')}; "
            f"{len(self.store.names)} videos x {self.store.features.shape[1]} channels, "
            f"{self.store.path.name}"
        )


def write_report(run: Path, out: Path | None = None, progress: Progress = silent) -> Path:
    """Write the report of a run to `out`, by default `report.html` in the run. Returns its path.
    Raises EvaluateError if there is no run."""
    text = make_report(run, progress)
    path = out or run / REPORT_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text)
    return path


def make_report(run: Path, progress: Progress = silent) -> str:
    """The report of a run as HTML. The same files give the same text."""
    known = facts.read_facts(run)
    training = curves.read_training(run)
    measured = results.read_results(run)
    tables = measured.tables
    stores, said = nearest_videos.stores_of(run)
    wanted = max(_FEWEST, QUERIES // max(1, len(stores)))
    told = [predictions for table in tables for predictions in table.predictions]
    sections = []
    for i, store in enumerate(stores):
        progress(i, len(stores), nearest_videos.name_of(store))
        sections.append(_section(store, known.split, wanted, i, told))
    page = render(
        "report.html",
        run=run.resolve().name,
        facts=known,
        head=_head(known, training, stores),
        training=training,
        tables=tables,
        measured=measured,
        sections=sections,
        said=said,
        builds=_builds(known, stores),
        pairs=_PAIRS,
        shown=failures.FAILURES_SHOWN,
        most=landscape.MOST,
        chart=chart,
        heat=confusion,
        landscape=landscape,
        results=results,
        run_curve=run_curve,
        score_text=score_text,
        commands=_commands(run, known.is_run, tables),
    )
    if stores:
        progress(len(stores), len(stores), "")
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


def _section(
    store: Features, split: str, wanted: int, number: int, told: list[results.Predictions]
) -> Section:
    searched = nearest_videos.find(store, split)
    pictures = Pictures(store)
    queries = gallery.choose(store, searched, wanted, pictures)
    return Section(
        nearest_videos.name_of(store),
        f"set{number}",
        store,
        searched,
        queries,
        pictures.problem,
        confusion.confusion_of(store, searched, told),
        landscape.lay_out(store),
    )


def _head(
    known: facts.RunFacts, training: curves.Training, stores: list[Features]
) -> list[tuple[str, str]]:
    """The facts below the title."""
    total = training.steps or known.steps
    steps = f"{training.step} of {total}" if total else f"{training.step}"
    rows = [
        ("Recipe", known.recipe),
        ("Backbone", known.backbone),
        ("Steps", steps if training.step else ""),
        ("Split", known.split),
        *(("Data", source.text) for source in known.sources),
        ("Seed", "" if known.seed is None else str(known.seed)),
        ("Processes", str(known.ranks) if known.ranks > 1 else ""),
        ("Code", known.code),
    ]
    if not known.is_run and stores:
        names = ("recipe", "backbone", "seed")
        rows = [(name.capitalize(), str(stores[0].attributes.get(name, ""))) for name in names]
    return [(name, value) for name, value in rows if value]


def _builds(known: facts.RunFacts, stores: list[Features]) -> list[failures.Build]:
    """The builds of the data sets that the run was trained on, then of those that it was only
    evaluated on."""
    builds = [failures.build_of(s.name, s.folder, s.counts) for s in known.sources]
    seen = {Path(source.place) for source in known.sources}
    for store in stores:
        if store.shards is None or store.shards not in seen:
            name = nearest_videos.name_of(store)
            builds.append(failures.build_of(name, store.shards, store.counts))
    return builds


def _commands(run: Path, is_run: bool, tables: list[results.Table]) -> dict[str, str]:
    """The commands that make parts which may be missing; "" if unknown, for weights that no result
    names."""
    weights = next((table.weights for table in tables if table.weights), "")
    encoder = next((table.encoder for table in tables if table.encoder), "")
    what = ("--run", run) if is_run else ("--weights", weights)
    if encoder:
        what = ("--encoder", encoder)
    train = command_line("ascnet", "train", "--run", run, "--resume")
    first = {"retrieval": f"{train} && "} if is_run and not list_checkpoints(run) else {}
    return {
        "train": train,
        "report": command_line("ascnet", "report", run),
        **{
            task: first.get(task, "") + command_line("ascnet", "evaluate", "--task", task, *what)
            if is_run or weights or encoder
            else ""
            for task in ("retrieval", "linear")
        },
    }
