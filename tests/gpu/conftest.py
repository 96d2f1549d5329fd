"""Fixtures of the tests on a GPU. With ASCNET_REQUIRE_GPU=1 these fail if there is none."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from builder.cores import usable_cores
from tests.gpu.paths import Material, make_material

_LINES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return make_material(tmp_path_factory.mktemp("gpu"))


@pytest.fixture(scope="session")
def page(request: pytest.FixtureRequest) -> list[str]:
    """Lines that `make test-gpu` prints at the end."""
    return request.config.stash.setdefault(_LINES, [])


@pytest.fixture(scope="session")
def all_threads() -> Iterator[None]:
    """Use all cores: the CPU's reference numbers take long on a single thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(usable_cores())
    yield
    torch.set_num_threads(before)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if lines := config.stash.get(_LINES, []):
        where = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
        terminalreporter.section(f"{where}, torch {torch.__version__}, {Path.cwd().name}")
        for line in lines:
            terminalreporter.write_line(line)
