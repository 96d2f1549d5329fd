"""What `setup.sh` installs, and what it says, on machines that lack something. Every program that
it calls stands in a folder of the test's own, the only one in PATH; what is installed there is a
file in `installed/`."""

import shutil
import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).resolve().parent.parent / "setup.sh"
EVERYTHING = "gcc libc6-dev python3-dev python3-venv libjpeg-dev zlib1g-dev"

PYTHON = """#!/bin/sh
case "$*" in
*version_info\\ \\<*) [ {minor} -ge 11 ] ;;
*version_info*) echo python3.{minor} ;;
*sysconfig*) echo /include ;;
*ensurepip*) [ -e installed/{name}-venv ] ;;
"-m venv .venv") mkdir -p .venv/bin; cp pip .venv/bin/pip ;;
*) echo "$*" > unexpected ;;
esac
"""
COMPILER = """#!/bin/sh
[ -e installed/gcc ] || exit 127
case "$*" in *--version*) exit ;; esac
case "$(cat)" in
*Python.h*) [ -e installed/python3-dev ] || [ -e installed/python3-devel ] ;;
*jpeglib.h*) [ -e installed/libjpeg-dev ] || [ -e installed/libjpeg-turbo-devel ] ;;
*zlib.h*) [ -e installed/zlib1g-dev ] || [ -e installed/zlib-devel ] ;;
esac
"""
MANAGER = """#!/bin/sh
echo "{name} $*" >> calls
for word in "$@"; do
    case $word in -* | install | update | DPkg*) ;; *) touch "installed/$word" ;; esac
done
"""
SUDO = """#!/bin/sh
[ {may} = yes ] || exit 1
[ "$*" = "-n true" ] && exit
echo "sudo $*" >> calls
shift
exec "$@"
"""


class Machine:
    """A folder that is all that setup.sh sees.

    By default a Debian with everything but what `lacks` names, and a user who is not root.
    """

    def __init__(self, root: Path, lacks: str = "", manager: str = "apt-get") -> None:
        self.root, self.bin = root, root / "bin"
        for folder in (self.bin, root / "installed"):
            folder.mkdir()
        for name in ("sh", "env", "dirname", "cat", "mkdir", "cp", "touch"):
            (self.bin / name).symlink_to(str(shutil.which(name)))
        shutil.copy(SETUP, root)
        self.program("cc", COMPILER)
        self.program("id", "#!/bin/sh\necho 1000\n")
        self.program("../pip", '#!/bin/sh\necho "pip $*" >> calls\n')
        self.python("python3", 13)
        if manager:
            self.program(manager, MANAGER.format(name=manager))
        for package in {*EVERYTHING.split()} - {*lacks.split()}:
            (root / "installed" / package).touch()

    def program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def python(self, name: str, minor: int) -> None:
        self.program(name, PYTHON.format(name=name, minor=minor))

    def setup(self, **variables: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["sh", "setup.sh"],
            cwd=self.root,
            env={"PATH": str(self.bin), **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert not (self.root / "unexpected").exists()
        assert (self.root / ".venv" / ".ready").exists() == (done.returncode == 0)
        return done

    def calls(self) -> list[str]:
        file = self.root / "calls"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def machine(tmp_path):
    return lambda lacks="", **options: Machine(tmp_path, lacks, **options)


PIP = "pip install --quiet --disable-pip-version-check -c constraints.txt -e .[dev]"


def test_nothing_is_missing(machine):
    own = machine()
    own.program("id", "#!/bin/sh\necho 0\n")
    done = own.setup()
    assert own.calls() == [PIP], done.stderr
    assert done.stdout.splitlines() == ["Installing ascnet and what it needs in .venv"]


def test_root_installs_what_is_missing_with_apt(machine):
    own = machine(EVERYTHING)
    own.program("id", "#!/bin/sh\necho 0\n")
    done = own.setup()
    update, install, pip = own.calls()
    assert update.endswith(" update") and pip == PIP
    packages = install.partition("--no-install-recommends ")[2]
    assert set(packages.split()) == set(EVERYTHING.split())
    assert f"Installing with apt-get: {packages} (" in done.stdout


def test_sudo_that_asks_nothing_installs_what_is_missing_with_dnf(machine):
    own = machine("python3-dev libjpeg-dev zlib1g-dev", manager="dnf")
    own.program("sudo", SUDO.format(may="yes"))
    own.setup()
    packages = "python3-devel libjpeg-turbo-devel zlib-devel"
    assert own.calls() == [
        f"sudo -n dnf install -y -q {packages}",
        f"dnf install -y -q {packages}",
        PIP,
    ]


@pytest.mark.parametrize("sudo", ["yes", "no", None])
def test_who_may_not_install_is_told_everything_at_once(machine, sudo):
    own = machine("gcc python3-venv libjpeg-dev")
    if sudo:
        own.program("sudo", SUDO.format(may=sudo))
    done = own.setup(SYSTEM="no" if sudo == "yes" else "")
    assert done.returncode == 1 and own.calls() == [] and done.stdout == ""
    first, packages = done.stderr.splitlines()
    for words in ("Python's venv", "C compiler", "libjpeg's headers"):
        assert words in first
    assert packages.startswith("  apt-get install python3-venv gcc ") and "libjpeg-dev" in packages


def test_elsewhere_the_packages_of_both_families_are_told(machine):
    own = machine("zlib1g-dev", manager="")
    own.program("id", "#!/bin/sh\necho 0\n")
    assert own.setup().stderr.splitlines()[1:] == [
        "  apt-get install zlib1g-dev   (Debian, Ubuntu)",
        "  dnf install zlib-devel   (Fedora)",
    ]


def test_what_the_packages_do_not_bring_is_told(machine):
    own = machine("zlib1g-dev")
    own.program("id", "#!/bin/sh\necho 0\n")
    own.program("apt-get", "#!/bin/sh\nexit 100\n")
    done = own.setup()
    assert done.returncode == 1 and "Missing here: zlib's headers." in done.stderr


def test_a_newer_python_beside_an_old_one_is_taken(machine):
    own = machine("python3-venv")
    own.python("python3", 9)
    own.python("python3.12", 12)
    done = own.setup()
    assert "apt-get install python3.12-venv " in done.stderr
    (own.root / "installed" / "python3.12-venv").touch()
    assert own.setup().returncode == 0


@pytest.mark.parametrize(
    ("minor", "packages"),
    [(10, "python3.11 python3.11-venv python3.11-dev"), (None, "python3 python3-venv python3-dev")],
)
def test_an_old_python_or_none(machine, minor, packages):
    own = machine("python3-dev")
    (own.bin / "python3").unlink()
    if minor:
        own.python("python3", minor)
    done = own.setup()
    assert "Missing here: Python 3.11 or newer" in done.stderr
    assert f"  apt-get install {packages}   " in done.stderr


def test_a_python_that_is_named_and_too_old(machine):
    own = machine("gcc")
    own.python("python3.9", 9)
    done = own.setup(PYTHON="python3.9")
    assert done.stderr == "python3.9 is not Python 3.11 or newer: name another with PYTHON.\n"
