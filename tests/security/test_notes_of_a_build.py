"""What an unfinished build noted, as another may have left it."""

import os

import pytest

from builder.build import records
from builder.errors import BuilderError


def test_a_note_without_end_is_not_read_to_it(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "LARGEST_INFO", 1000)
    note = tmp_path / "000000.json"
    note.write_text("{}")
    assert records._text(note) == b"{}"
    os.truncate(note, 1 << 40)
    with pytest.raises(BuilderError, match="it has more than 1000 bytes"):
        records._text(note)
