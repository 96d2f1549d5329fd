import pytest

from trainer.data.streaming.transport import is_remote, shown, url_of
from trainer.errors import TrainerError


@pytest.mark.parametrize(
    ("source", "url"),
    [
        ("http://host/sets/ucf101", "http://host/sets/ucf101/a%20b.tar"),
        ("https://host:81/ucf101/", "https://host:81/ucf101/a%20b.tar"),
        ("https://host", "https://host/a%20b.tar"),
        ("https://host/ucf101?sig=x%2Fy", "https://host/ucf101/a%20b.tar?sig=x%2Fy"),
        ("pipe:aws s3 cp s3://b/u/{} -", "pipe:aws s3 cp s3://b/u/'a b.tar' -"),
        ("/sets/ucf#101", "/sets/ucf#101/a b.tar"),
    ],
)
def test_where_a_file_is(source: str, url: str) -> None:
    assert url_of(source, "a b.tar") == url
    assert is_remote(source) == (not source.startswith("/"))


def test_a_folder_may_be_relative(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert url_of("sets/a:b", "x.tar") == str(tmp_path / "sets" / "a:b" / "x.tar")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("pipe:cat x", "'pipe:cat x' does not say where the name of the file goes"),
        ("s3://bucket/ucf101", "'s3://bucket/ucf101' is no place to read from"),
    ],
)
def test_sources_that_cannot_be(source: str, message: str) -> None:
    with pytest.raises(TrainerError, match=message):
        url_of(source, "x.tar")


def test_passwords_are_not_shown() -> None:
    assert shown("https://me:secret@host/a/x.tar?sig=secret") == "https://host/a/x.tar"
    assert shown("pipe:cat x@y?z") == "pipe:cat x@y?z"
