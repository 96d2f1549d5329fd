import re

import click
import pytest
import torch

from ascnet.cli import cli
from ascnet.device import pick_device
from trainer.errors import TrainerError


@pytest.fixture
def two_gpus(monkeypatch) -> list[torch.device]:
    """As if there were two; which one was made the current one."""
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    return current


def test_a_gpu_if_there_is_one(two_gpus, monkeypatch):
    assert pick_device() == pick_device("cuda") == torch.device("cuda")
    assert pick_device("cpu") == torch.device("cpu") and not two_gpus
    assert pick_device("cuda:1") == torch.device("cuda:1") == two_gpus[0]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device() == torch.device("cpu")
    with pytest.raises(TrainerError, match=r"--device is cuda:1, and torch \S+ finds no GPU"):
        pick_device("cuda:1")


@pytest.mark.parametrize("name", ["", "gpu", "CPU", "cuda:", "cuda:-1", "cuda:1 ", "mps", "\u0663"])
def test_what_is_no_device(name):
    said = f"--device is {ascii(name) if name.isascii() else repr(name)}; it takes cpu, cuda or"
    with pytest.raises(TrainerError, match=re.escape(said)):
        pick_device(name)


def test_a_gpu_that_is_not_there(two_gpus):
    with pytest.raises(TrainerError, match=r"cuda:2, and the GPUs here are cuda:0 to cuda:1 \(2 "):
        pick_device("cuda:2")
    assert not two_gpus


def test_all_commands_that_compute_have_the_option():
    commands = {name: cli.get_command(click.Context(cli), name) for name in cli.list_commands(None)}
    helps = {
        name: option.help
        for name, command in commands.items()
        for option in command.params
        if "--device" in option.opts
    }
    assert helps.keys() == {
        *("train", "evaluate", "embed", "search", "near-duplicates", "select"),
    }
    for name, text in helps.items():
        assert text.endswith("[default: a GPU if there is one]")
        assert ("torchrun" in text) == (name in ("train", "evaluate", "embed"))
