from dataclasses import replace

import pytest

from evaluate.errors import EvaluateError
from evaluate.finetune.settings import (
    RECIPES,
    FinetuneSettings,
    load_recipe,
    protocol_for,
    recipe_for,
    recipes,
    train_protocol,
)
from evaluate.protocol import Protocol
from trainer.backbones.all_backbones import BACKBONES

PAPER = [name for name in recipes() if not name.startswith("demo")]
SOURCES = ("RSPNet", "SlowFast", "V-JEPA", "ours")
RUN = Protocol(frames=8, stride=2, fps=12.0, size=32, clips=5, crops=1, layer="layer3")


@pytest.mark.parametrize("name", recipes())
def test_recipes_load(name):
    recipe = load_recipe(name)
    assert recipe.recipe == name
    assert recipe.frozen == name.endswith(("linear", "attentive"))
    assert recipe.head == ("attentive" if name.endswith("attentive") else "linear")
    assert protocol_for(RUN, recipe).layer == "layer3"


@pytest.mark.parametrize("name", PAPER)
def test_every_value_of_a_paper_s_recipe_says_where_it_comes_from(name):
    lines = (RECIPES / f"{name}.toml").read_text().splitlines()
    values = [line for line in lines if "=" in line and not line.startswith(("#", "recipe"))]
    assert len(values) >= 18
    for line in values:
        assert line.partition("#")[2].strip().startswith(SOURCES), line


def test_what_the_recipes_say():
    ucf, hmdb = load_recipe("ucf101-r3d18"), load_recipe("hmdb51-c3d")
    assert (ucf.lr, ucf.batch, ucf.epochs, ucf.schedule) == (0.1, 32, 30.0, "cosine")
    assert (ucf.test.frames, ucf.test.size, ucf.test.fps, ucf.test.clips) == (16, 112, 25.0, 10)
    assert (ucf.augment.area, ucf.augment.jitter, ucf.augment.gray) == ((0.25, 1.0), 0.0, 0.0)
    assert (hmdb.lr, hmdb.batch, hmdb.epochs) == (0.005, 6, 100.0)
    assert (hmdb.schedule, hmdb.drops) == ("steps", (0.5, 0.7, 0.9))
    s3dg = load_recipe("ucf101-s3dg")
    assert (s3dg.test.frames, s3dg.test.size, s3dg.lr, s3dg.batch) == (64, 224, 0.005, 4)
    linear = load_recipe("linear")
    assert linear.lr * 512 / linear.batch == 4.0 and linear.weight_decay == 0
    assert (linear.test.clips, linear.test.crops) == (10, 3)
    attentive = load_recipe("attentive")
    assert (attentive.test, attentive.augment) == (linear.test, linear.augment)
    assert (attentive.optimiser, attentive.lr, attentive.weight_decay) == ("adamw", 0.001, 0.01)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("dataset", ["ucf101", "hmdb51", "kinetics400", "mine"])
@pytest.mark.parametrize("frozen", [True, False])
def test_there_is_a_recipe_for_everything(dataset, backbone, frozen):
    assert load_recipe(recipe_for(dataset, backbone, frozen)).frozen == frozen


def test_recipe_for():
    assert recipe_for("shapes", "r3d-tiny", False) == "demo"
    assert recipe_for("shapes", "r3d-tiny", True) == "demo-linear"
    assert recipe_for("hmdb51", "c3d", False) == "hmdb51-c3d"
    assert recipe_for("hmdb51", "s3d", False) == "hmdb51-s3dg"
    assert recipe_for("mine", "r2plus1d18", False) == "ucf101-r2plus1d18"  # the fallback
    assert recipe_for("kinetics400", "r3d18", True) == "linear"
    assert recipe_for("kinetics400", "r3d18", True, "attentive") == "attentive"
    assert recipe_for("shapes", "r3d-tiny", True, "attentive") == "demo-attentive"


def test_the_protocol_of_the_test_and_of_training():
    recipe = load_recipe(
        "demo", ("test.frames=16", "test.fps=0", "test.crops=3", "train.stride=1", "train.size=24")
    )
    test = protocol_for(RUN, recipe)
    assert test == replace(RUN, frames=16, fps=0.0, crops=3)
    assert train_protocol(test, recipe) == replace(test, stride=1, size=24)
    assert protocol_for(RUN, FinetuneSettings()) == RUN
    assert train_protocol(RUN, FinetuneSettings()) == RUN


def test_changes_by_name():
    recipe = load_recipe("demo", ("lr=1", "augment.flip=0", "drops=[0.2]", "optimiser=adamw"))
    assert (recipe.lr, recipe.drops, recipe.optimiser) == (1.0, (0.2,), "adamw")
    assert recipe.augment.flip == 0.0


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("learning=1", r"there is no setting learning.*Settings here: augment"),
        ("batch=1", r"batch is 1; allowed: 2 to 65536 \(batch norm"),
        ("lr=0", "lr is 0.0; allowed: positive"),
        ("optimiser=lars", "optimiser is 'lars'; allowed: sgd or adamw"),
        ("warmup=1", "warmup is 1.0"),
        ("schedule=linear", "cosine or steps"),
        ("drops=[0.7,0.5]", r"drops is \(0.7, 0.5\); allowed: shares .* rising"),
        ("drops=[1.5]", "drops is"),
        ("factor=0", "factor is 0.0"),
        ("dropout=1", "dropout is 1.0"),
        ("choose=test", "choose is 'test'; allowed: last or holdout"),
        ("head=attentive", r"head is 'attentive'; allowed: linear \(attentive only where frozen"),
        ("heads=-1", "heads is -1; allowed: 0 to 1024"),
        ("workers=-1", "workers is -1"),
        ("train.frames=-1", "train.frames is -1"),
        ("test.fps=-2", "test.fps is -2.0"),
        ("test.crops=2", "test.crops is 2"),
        ("test.clips=-1", "test.clips is -1"),
    ],
)
def test_a_wrong_setting_says_what_is_allowed(assignment, words):
    """What training has as well is tested there."""
    with pytest.raises(EvaluateError, match=words):
        load_recipe("demo", (assignment,))


def test_a_recipe_that_is_not_there(tmp_path):
    with pytest.raises(
        EvaluateError, match=r"--classifier: there is no recipe 'best'; there are attentive"
    ):
        load_recipe("best")
    broken = tmp_path / "broken.toml"
    broken.write_text("lr = = 3")
    with pytest.raises(EvaluateError, match="is not valid TOML"):
        load_recipe(str(broken))


def test_a_recipe_of_one_s_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("seed = 3\n[augment]\nflip = 0.0\n")
    recipe = load_recipe(str(path), ("batch=16",))
    assert (recipe.recipe, recipe.seed, recipe.augment.flip, recipe.batch) == ("mine", 3, 0.0, 16)
    assert recipe.augment.area == (0.25, 1.0)
