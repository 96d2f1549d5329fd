import shutil

from click.testing import CliRunner

from ascnet.commands.report import command


def test_the_newest_run_unless_one_is_named(finished_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished_run, tmp_path / "runs" / "mine")
    result = CliRunner().invoke(command, [], catch_exceptions=False)
    assert result.exit_code == 0
    assert result.output.startswith("runs/mine/report.html (") and " kB)" in result.output
    assert (tmp_path / "runs" / "mine" / "report.html").is_file()
    CliRunner().invoke(command, ["runs/mine", "--out", "x/y.html"], catch_exceptions=False)
    assert (tmp_path / "x" / "y.html").read_bytes() == (
        tmp_path / "runs" / "mine" / "report.html"
    ).read_bytes()
