import dataclasses

import pytest

from trainer.backbones.all_backbones import BACKBONES
from trainer.config import recipe_file
from trainer.config.recipe_file import load_recipe, override
from trainer.config.settings import Config
from trainer.errors import TrainerError


@pytest.mark.parametrize("name", recipe_file.recipes())
def test_recipes_load_and_survive_being_written(name, tmp_path):
    recipe = load_recipe(name)
    assert recipe.recipe == name
    (tmp_path / "config.toml").write_text(recipe_file.dump(recipe))
    assert recipe_file.load(tmp_path / "config.toml") == recipe


def test_the_recipes_that_ship():
    assert {"demo", "ucf101-r3d18", "k400-r3d18", "k400-s3dg"} <= set(recipe_file.recipes())
    k400 = load_recipe("k400-s3dg")
    assert (k400.data.frames, k400.data.size, k400.data.strides) == (64, 224, (1, 2))


PAPER_RUNS = [
    f"{data}-{net}" for data in ("ucf101", "k400") for net in ("r3d18", "s3dg", "c3d", "r2plus1d18")
]


@pytest.mark.parametrize("name", PAPER_RUNS)
def test_every_value_of_a_paper_s_run_says_where_it_comes_from(name):
    recipe = load_recipe(name)
    assert recipe.model.backbone in BACKBONES and name.endswith(recipe.model.backbone)
    values = [
        line
        for line in (recipe_file.RECIPES / f"{name}.toml").read_text().splitlines()
        if "=" in line and not line.startswith(("#", "recipe"))
    ]
    assert len(values) > 30
    for line in values:
        mark = line.partition("#")[2].strip()
        assert mark.startswith(("paper", "RSPNet", "BYOL-video", "ours", "not known")), line


def test_override():
    changed = override(
        Config(),
        (
            "optim.lr=1",
            "data.strides=[1, 2, 4]",
            "data.split=2",
            "seed=7",
            "model.backbone=r3d-tiny",
        ),
    )
    assert changed.optim.lr == 1.0 and isinstance(changed.optim.lr, float)
    assert changed.data.strides == (1, 2, 4)
    assert changed.data.split == "2"
    assert changed.seed == 7
    assert changed.model.backbone == "r3d-tiny"
    assert Config() == dataclasses.replace(
        changed, optim=Config().optim, data=Config().data, model=Config().model, seed=0
    )


@pytest.mark.parametrize("swap", [False, True])
def test_changes_are_allowed_together_whatever_their_order(swap):
    changes = ("objective.bank=32", "objective.neighbours=8")
    many = override(Config(), ("objective.neighbours=64",))
    changed = override(many, changes[::-1] if swap else changes)
    assert (changed.objective.bank, changed.objective.neighbours) == (32, 8)
    with pytest.raises(TrainerError, match="neighbours is 64"):
        override(many, changes[:1])


@pytest.mark.parametrize("swap", [False, True])
def test_tables_and_single_values_are_added_up(swap):
    changes = ("optim.lr=0.2", "optim={steps=5}", "optim={batch=8, lr=0.3}", "optim.lr=0.4")
    changed = override(Config(), changes[::-1] if swap else changes).optim
    assert (changed.steps, changed.batch, changed.lr) == (5, 8, 0.2 if swap else 0.4)  # the last


def test_what_a_later_change_replaces_is_checked_too():
    with pytest.raises(TrainerError, match=r"--set optim\.lr=fast: optim\.lr is 'fast'"):
        override(Config(), ("optim.lr=fast", "optim.lr=0.2"))


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("optim.lr", "has no '='"),
        ("=3", "--set =3 has no key before the '='"),
        (f"optim.lr={'9' * 400}", "optim.lr has more digits than a number can have"),
        (f"optim.steps={'9' * 5000}", "it takes a whole number"),
        ("optim.learning=1", r"there is no setting optim.learning.*optim.lr"),
        ("optim.epoch=1", r"Did you mean optim.epochs\?"),
        ("optim.batch=many", "'many'; it takes a whole number"),
        ("optim.batch=1", "optim.batch is 1; allowed: 2 to 65536"),
        ("optim=3", "optim holds several settings"),
        ("data.strides=2", r"data.strides is 2; it takes a list"),
        ("data.strides=[2]", "two different speeds"),
        ("augment.area=[1]", "takes a list of 2"),
        ("objective.momentum=1.0", r"in \[0, 1\)"),
        ("data.short_videos=skip", "loop, repeat_last or error"),
        ("data.normalise=gray", "fixed, clip or motion"),
        ("optim.optimiser=lion", "sgd, lars or adamw"),
        ("optim.accumulate=3", r"divides optim.batch \(64\) into parts of two"),
        ("optim.accumulate=64", "parts of two videos or more"),
        ("optim.accumulate=0", "optim.accumulate is 0"),
        ("optim.clip=-1", "optim.clip is -1.0"),
        ("optim.trust=0", "optim.trust is 0.0"),
        ("device.precision=int8", "fp32, tf32, bf16 or fp16"),
        ("device.compile=1", "takes true or false"),
        ("data.fps=-1", "data.fps is -1.0"),
        ("data.streams=-1", "data.streams is -1"),
        ("data.shuffle_buffer=0", "data.shuffle_buffer is 0"),
        ("objective.collapse=1", r"objective.collapse is 1.0; allowed: in \[0, 1\)"),
        ("objective.collapse_steps=-1", "never stop"),
        ("milestones=-1", "milestones is -1"),
        ("optim.steps=-5", "optim.steps is -5"),
        ("optim.epochs=inf", "optim.epochs is inf"),
        ("seed=-1", "seed is -1"),
        ("seed=4294967296", "seed is 4294967296"),
        ("data.strides=[1,1,2]", "each once"),
        ("optim.weight_decay=-1", "optim.weight_decay is -1.0"),
        ("optim.momentum=1", "optim.momentum is 1.0"),
        ("optim.lr=inf", "optim.lr is inf"),
        ("augment.flip=2", "augment.flip is 2.0; allowed: 0 to 1"),
        ("augment.brightness=-1", "augment.brightness is -1.0"),
        ("augment.blur_sigma=[2,1]", "augment.blur_sigma"),
        ("objective.speed_weight=nan", "one of them above 0"),
        ("objective.decorrelation=-1", "objective.decorrelation is -1.0; allowed: 0 or more"),
        ("objective.decorrelation=inf", "objective.decorrelation is inf"),
        (
            "objective.appearance_contrast=1.5",
            "objective.appearance_contrast is 1.5; allowed: from 0 to 1",
        ),
        ("objective.appearance_contrast=-0.1", "objective.appearance_contrast is -0.1"),
        ("data.workers=-1", "data.workers is -1"),
        ("data.short_side=-3", "data.short_side is -3"),
        ("augment.ratio=[-1,1]", "two numbers from 0.01 to 100"),
        ("augment.area=[0.5,0.2]", "the smaller first"),
        ("model.dim=0", "model.dim is 0"),
        ("objective.speed_target=nowhere", "neighbour or direction"),
        ("objective.speed_warmup=3", r"in \[0, 1\]"),
    ],
)
def test_a_wrong_setting_says_what_is_allowed(assignment, words):
    with pytest.raises(TrainerError, match=words):
        override(Config(), (assignment,))


def test_a_recipe_that_is_not_there(tmp_path):
    with pytest.raises(
        TrainerError, match=r"there is no recipe 'best'; there are built-in, demo, "
    ):
        load_recipe("best")
    broken = tmp_path / "broken.toml"
    broken.write_text("lr = = 3")
    with pytest.raises(TrainerError, match="is not valid TOML"):
        load_recipe(str(broken))


def test_a_recipe_of_one_s_own(tmp_path):
    own = tmp_path / "mine.toml"
    own.write_text("seed = 3\n[optim]\nlr = 0.2\n")
    recipe = load_recipe(str(own))
    assert (recipe.recipe, recipe.seed, recipe.optim.lr) == ("mine", 3, 0.2)
    own.write_bytes(b"\xff\xfe")
    with pytest.raises(TrainerError, match=r"mine\.toml is not valid TOML: .*utf-8"):
        load_recipe(str(own))


def test_a_setting_that_older_runs_wrote_and_that_is_gone(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(
        recipe_file.dump(Config()).replace(
            "\nneighbours = 1", '\nneighbours = 1\nneighbour = "appearance"'
        )
    )
    assert "neighbour =" in path.read_text() and recipe_file.load(path) == Config()
    path.write_text(path.read_text().replace('"appearance"', '"random"'))
    with pytest.raises(TrainerError, match=r"toml: objective\.neighbour is not 'appearance'"):
        recipe_file.load(path)


def test_a_value_that_older_runs_called_otherwise(tmp_path):
    path = tmp_path / "config.toml"
    text = recipe_file.dump(Config())
    path.write_text(text.replace('speed_target = "neighbour"', 'speed_target = "place"'))
    assert '"place"' in path.read_text() and recipe_file.load(path) == Config()
    with pytest.raises(TrainerError, match="'place'; allowed: neighbour or direction"):
        recipe_file.override(Config(), ("objective.speed_target=place",))
