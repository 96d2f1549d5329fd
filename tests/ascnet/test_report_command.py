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


def test_a_run_without_a_checkpoint_is_told_to_train_first(finished_run, tmp_path):
    run = tmp_path / "mine"
    shutil.copytree(finished_run, run)
    shutil.rmtree(run / "results", ignore_errors=True)
    first = f"ascnet train --run {run} --resume &amp;&amp; ascnet evaluate --task retrieval"
    for is_trained in (True, False):
        CliRunner().invoke(command, [str(run)], catch_exceptions=False)
        text = (run / "report.html").read_text()
        assert "ascnet evaluate --task retrieval" in text and (first in text) is not is_trained
        shutil.rmtree(run / "checkpoints")
        (run / "checkpoints").mkdir()


def test_a_page_ends_in_html(finished_run, tmp_path):
    result = CliRunner().invoke(command, [str(finished_run), "--out", str(tmp_path / "x.txt")])
    assert result.exit_code == 2 and "must end in .html" in result.output
