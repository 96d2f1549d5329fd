import re

import pytest
import torch
from safetensors.torch import save_file

from tests.trainer.weights.weights import is_loaded, named, saved
from trainer.backbones.all_backbones import BACKBONES, make_backbone
from trainer.errors import TrainerError
from trainer.run.checkpoint import list_checkpoints
from trainer.weights.export import export
from trainer.weights.load import backbone_from_file, load_weights
from trainer.weights.read import read_tensors


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "encoder_q.", "module.encoder_q.", "encoder.backbone.", "backbone.", "model."],
)
def test_any_prefix(tmp_path, source, prefix):
    path = saved(tmp_path / "x.pth", named(source, prefix))
    backbone = make_backbone("r3d-tiny")
    assert not is_loaded(backbone, source)
    found = load_weights(backbone, path)
    assert is_loaded(backbone, source)
    assert (found.loaded, found.expected, found.prefix, found.unused) == (72, 72, prefix, ())
    note = f" (prefix {prefix})" if prefix else ""
    assert found.text() == f"loaded 72/72 tensors of {path}{note}"


@pytest.mark.parametrize(
    "nested",
    [
        lambda t: {"state_dict": t, "epoch": 3},
        lambda t: {"model": {"state_dict": t}},
        lambda t: {"model_state": t, "optimizer_state": {"state": {0: {"x": torch.ones(2)}}}},
        lambda t: {"net": t},
        lambda t: {"encoder": t, "head": {"weight": torch.ones(2)}},
        lambda t: {"epoch": 3, **t},
        lambda t: {"best_acc1": torch.tensor(61.0), "state_dict": t},
        lambda t: {"epoch": torch.tensor(3), "model": {"step": torch.tensor(7), "net": t}},
        lambda t: {"a": {"b": {"c": {"d": t}}}},
        lambda t: {"trained": {"network": t}, "best": torch.tensor(1.0)},
        lambda t: (3, t),
        lambda t: [{"x": torch.ones(2)}, {"weights": t}],
        lambda t: {name: {"leaf": {}} for name in ("model", "net")} | {"own": t},
    ],
)
def test_nesting(tmp_path, source, nested):
    backbone = make_backbone("r3d-tiny")
    found = load_weights(backbone, saved(tmp_path / "x.pth.tar", nested(source)))
    assert is_loaded(backbone, source)
    assert found.loaded == 72


def test_half_precision_becomes_single(tmp_path, source):
    halves = {name: t.half() if t.is_floating_point() else t for name, t in source.items()}
    backbone = make_backbone("r3d-tiny")
    load_weights(backbone, saved(tmp_path / "x.pth", halves))
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}
    torch.testing.assert_close(
        backbone.state_dict()["stem.0.weight"], source["stem.0.weight"], rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize(
    ("online", "copy"),
    [
        ("module.encoder_q.", "module.encoder_k."),
        ("online_network.", "target_network."),
        ("student.backbone.", "teacher.backbone."),
        ("a_long_name_of_the_model.", "ema."),
    ],
)
@pytest.mark.parametrize("copy_first", [False, True])
def test_the_encoder_rather_than_its_momentum_copy(tmp_path, source, online, copy, copy_first):
    other = {name: tensor + 1 for name, tensor in source.items()}
    parts = [named(source, online), named(other, copy)]
    first, second = reversed(parts) if copy_first else parts
    backbone = make_backbone("r3d-tiny")
    found = load_weights(backbone, saved(tmp_path / "x.pth", first | second))
    assert is_loaded(backbone, source)
    assert found.prefix == online
    assert len(found.unused) == 72


def test_a_whole_encoder_is_worth_more_than_half_of_one(tmp_path, source):
    half = dict(list(source.items())[:40])
    both = named(half, "encoder_q.") | named(source, "encoder_k.")
    backbone = make_backbone("r3d-tiny")
    found = load_weights(backbone, saved(tmp_path / "x.pth", both))
    assert found.prefix == "encoder_k."


def test_old_files_without_counters(tmp_path, source):
    old = {name: t for name, t in source.items() if not name.endswith("num_batches_tracked")}
    backbone = make_backbone("r3d-tiny")
    found = load_weights(backbone, saved(tmp_path / "x.pth", old))
    assert is_loaded(backbone, old)
    assert (found.loaded, found.expected) == (60, 60)


def test_what_is_not_used_is_named_head_first(tmp_path, source):
    queue = {"module.queue": torch.ones(2), "module.encoder_k.fc.weight": torch.ones(2)}
    head = {"module.encoder_q.fc.weight": torch.ones(2), "module.encoder_q.fc.bias": torch.ones(2)}
    whole = queue | named(source, "module.encoder_q.") | head
    found = load_weights(make_backbone("r3d-tiny"), saved(tmp_path / "x.pth", whole))
    assert found.unused[:2] == tuple(head)
    assert found.text().endswith(
        "x.pth (prefix module.encoder_q.; 4 of the file not used: module.encoder_q.fc.weight, "
        "module.encoder_q.fc.bias, module.queue, ...)"
    )


def test_a_file_that_does_not_fit_loads_nothing(tmp_path, source):
    wrong = dict(source)
    del wrong["layer4.0.conv2.0.weight"]
    wrong["stem.0.weight"] = torch.ones(16, 3, 7, 7, 7)
    backbone = make_backbone("r3d-tiny")
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    with pytest.raises(TrainerError) as caught:
        load_weights(backbone, saved(tmp_path / "x.pth", named(wrong, "net.")))
    assert is_loaded(backbone, before)
    assert str(caught.value) == (
        f"{tmp_path / 'x.pth'} fits 70 of the backbone's 72 tensors under the prefix net., so "
        "nothing was loaded; missing are layer4.0.conv2.0.weight; of another shape are "
        "stem.0.weight (16x3x7x7x7, not 16x3x3x7x7). Nor does it fit another backbone of this "
        f"version: {', '.join(BACKBONES)}."
    )


@pytest.mark.parametrize(
    ("written", "asked", "advice"),
    [
        ("c3d", "r3d-tiny", "It fits c3d fully: --set model.backbone=c3d."),
        ("s3d", "s3dg", "It fits s3d fully: --set model.backbone=s3d."),
        ("s3dg", "r3d-tiny", "It fits s3dg fully: --set model.backbone=s3dg."),
        ("s3dg", "s3d", "It fits s3dg fully: --set model.backbone=s3dg."),
    ],
)
def test_another_backbone_that_fits_is_named(tmp_path, written, asked, advice):
    halves = make_backbone(written).half().state_dict()
    path = saved(tmp_path / "x.pth", named(halves, "module."))
    with pytest.raises(TrainerError) as caught:
        load_weights(make_backbone(asked), path)
    assert str(caught.value).endswith(advice)


def test_our_own_files_tell_their_backbone(tmp_path, finished_run):
    """Checkpoints by their tensors, exports by what they say of themselves."""
    exported = export(finished_run, "safetensors", tmp_path / "x.safetensors").path
    path = list_checkpoints(finished_run)[-1]
    model = torch.load(path, weights_only=True)["model"]
    for file, prefix in ((path, "encoder.backbone."), (exported, "")):
        backbone, found, name = backbone_from_file(file)
        assert name == "r3d-tiny"
        assert (found.loaded, found.prefix) == (72, prefix)
        assert is_loaded(
            backbone, {k: model[f"encoder.backbone.{k}"] for k in backbone.state_dict()}
        )
    with pytest.raises(TrainerError, match=rf"newest checkpoint is {re.escape(str(path))}"):
        load_weights(backbone, finished_run)


@pytest.mark.parametrize("said", ["c3d", "resnet50", None])
def test_metadata_count_before_tensors_if_they_name_a_backbone(tmp_path, source, said):
    path = tmp_path / "x.safetensors"
    save_file(source, path, metadata={"backbone": said} if said else None)
    if said == "c3d":
        with pytest.raises(TrainerError, match=r"fits 0 of .*r3d-tiny fully: --backbone r3d-tiny"):
            backbone_from_file(path)
        assert backbone_from_file(path, "r3d-tiny")[2] == "r3d-tiny"
    else:
        assert backbone_from_file(path)[2] == "r3d-tiny"


def test_of_two_backbones_in_a_file_the_one_of_more_tensors(tmp_path, source):
    c3d = make_backbone("c3d").half().state_dict()  # 56, counters included
    path = saved(tmp_path / "x.pth", named(c3d, "teacher.") | named(source, "student."))
    assert backbone_from_file(path)[2] == "r3d-tiny"
    assert backbone_from_file(path, "c3d")[1].prefix == "teacher."


def test_a_file_of_no_backbone_says_what_was_tried(tmp_path, source):
    path = saved(tmp_path / "x.pth", {"head.weight": torch.ones(2), "head.bias": torch.ones(2)})
    with pytest.raises(TrainerError) as caught:
        backbone_from_file(path)
    assert str(caught.value) == (
        f"{path} holds no backbone of this version: its 2 tensors (head.weight, head.bias) fit "
        f"none of {', '.join(BACKBONES)} fully. --backbone NAME tells what one of them lacks."
    )
    with pytest.raises(TrainerError, match=r"--backbone is 'i3d'; allowed: r3d18, r3d-tiny, "):
        backbone_from_file(path, "i3d")


def test_what_lies_beside_the_weights_is_named_by_its_nest(tmp_path, source):
    other = {name: tensor + 1 for name, tensor in source.items()}
    content = {"best_acc1": torch.tensor(61.0), "ema": other, "model": {"module": source}}
    path = saved(tmp_path / "x.pth", content)
    assert list(read_tensors(path)) == [*source, "best_acc1", *named(other, "ema.")]
    backbone = make_backbone("r3d-tiny")
    found = load_weights(backbone, path)
    assert is_loaded(backbone, source)
    assert (found.prefix, len(found.unused)) == ("", 73)


def test_a_copy_is_taken_only_where_nothing_else_is_there(tmp_path, source):
    """Whatever its nest is called, and however large it is."""
    other = make_backbone("r3d18").half().state_dict()
    path = saved(tmp_path / "x.pth", {"teacher_of_it": other, "trained": source})
    backbone, found, name = backbone_from_file(path)
    assert name == "r3d-tiny" and found.prefix == "trained." and is_loaded(backbone, source)
    path = saved(tmp_path / "y.pth", {"ema": source, "epoch": 3})
    assert backbone_from_file(path)[1].prefix == "ema."


def test_nests_whose_names_are_those_of_layers_stay_apart(tmp_path, source):
    """What lies beside the weights is not taken for layers of another network."""
    content = {"state_dict": source, "stem": {"0.bias": torch.ones(16)}}
    found = load_weights(make_backbone("r3d-tiny"), saved(tmp_path / "x.pth", content))
    assert (found.prefix, found.unused) == ("state_dict.", ("stem.0.bias",))


def test_a_dictionary_that_holds_itself(tmp_path, source):
    content: dict[str, object] = {"state_dict": source}
    content["again"] = content
    assert len(read_tensors(saved(tmp_path / "x.pth", content))) == 72


def test_content_counts_and_not_the_name(tmp_path, source):
    save_file(source, tmp_path / "x.pth", metadata={"backbone": "r3d-tiny"})
    save_file(source, tmp_path / "blob")
    torch.save(source, tmp_path / "x.safetensors")
    torch.save(source, tmp_path / "y.safetensors", _use_new_zipfile_serialization=False)
    safe, by_torch = "a safetensors file", "a file by torch.save"
    for name, kind in (
        ("x.pth", safe),
        ("blob", safe),
        ("x.safetensors", by_torch),
        ("y.safetensors", by_torch),
    ):
        backbone, found, _ = backbone_from_file(tmp_path / name)
        assert is_loaded(backbone, source)
        assert found.text() == f"loaded 72/72 tensors of {tmp_path / name} ({kind})"
    assert backbone_from_file(tmp_path / "x.pth")[2] == "r3d-tiny"
