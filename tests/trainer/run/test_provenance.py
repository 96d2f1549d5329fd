import re
import shutil
import subprocess
from importlib.util import module_from_spec, spec_from_file_location

from trainer.run import provenance


def test_the_commit_is_named_in_a_checkout_only(tmp_path):
    """A copy of the file in a checkout that does not track it names no commit."""
    shutil.copy(provenance.__file__, tmp_path / "provenance.py")

    def said() -> str:
        spec = spec_from_file_location("provenance", tmp_path / "provenance.py")
        assert spec and spec.loader
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.code()

    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    assert "+" not in said()
    subprocess.run([*git, "add", "provenance.py"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "y"], check=True)
    assert re.fullmatch(r".+\+[0-9a-f]{7,}", said())
