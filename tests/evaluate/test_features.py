import pytest
import torch

from builder.errors import BuilderError
from evaluate.features import extract, identity_of, subjects
from evaluate.store import Features
from trainer.checkpoint import load_backbone
from trainer.pretrain import make_model

CPU = torch.device("cpu")


@pytest.fixture
def trained(finished_run):
    return load_backbone(finished_run)


def test_the_untrained_one_is_what_training_began_with(trained, tiny):
    ours, untrained = subjects(trained)
    start = make_model(tiny).encoder.backbone.state_dict()
    assert all(torch.equal(v, start[k]) for k, v in untrained.backbone.state_dict().items())
    assert not torch.equal(ours.backbone.stem[0].weight, untrained.backbone.stem[0].weight)
    assert untrained.checkpoint == "none" and ours.checkpoint == trained.sha256


def test_extract_once_then_again_only_if_something_changed(trained, tiny, dataset, tmp_path):
    path = tmp_path / "x.h5"
    subject = subjects(trained)[0]
    seen = []
    args = (path, subject, tiny, dataset, CPU)
    assert extract(*args, progress=lambda *step: seen.append(step))
    assert seen == [(8, 16, "trained"), (16, 16, "trained")]
    features = Features(path)
    assert features.features.shape == (16, 128)
    assert features.attributes == identity_of(subject, tiny, dataset, CPU)
    assert not extract(*args)
    assert extract(path, subjects(trained)[1], tiny, dataset, CPU)


def test_a_resumed_extraction_gives_the_same_features(trained, tiny, dataset, tmp_path):
    class StopError(Exception):
        pass

    def stop(done: int, total: int, text: str) -> None:
        raise StopError

    subject = subjects(trained)[0]
    with pytest.raises(StopError):
        extract(tmp_path / "x.h5", subject, tiny, dataset, CPU, stop)
    assert not (tmp_path / "x.h5").exists()
    seen = []
    extract(tmp_path / "x.h5", subject, tiny, dataset, CPU, lambda *step: seen.append(step[0]))
    assert seen == [16]
    extract(tmp_path / "y.h5", subject, tiny, dataset, CPU)
    x, y = Features(tmp_path / "x.h5"), Features(tmp_path / "y.h5")
    assert (x.features == y.features).all()


def test_two_evaluations_at_once(trained, tiny, dataset, tmp_path):
    subject, seen = subjects(trained)[0], []

    def extract_again(done: int, total: int, text: str) -> None:
        with pytest.raises(BuilderError, match="Another process is writing to") as caught:
            extract(tmp_path / "x.h5", subject, tiny, dataset, CPU)
        seen.append(caught.value)

    extract(tmp_path / "x.h5", subject, tiny, dataset, CPU, extract_again)
    assert seen


def test_the_protocol_is_in_the_identity(trained, tiny, dataset):
    identity = identity_of(subjects(trained)[0], tiny, dataset, CPU)
    assert identity["clips"] == tiny.evaluate.clips
    assert identity["crop"] == "centre"
    assert identity["checkpoint_sha256"] == trained.sha256
    assert '"expected": 16' in identity["dataset_counts"]
