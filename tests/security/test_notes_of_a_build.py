"""What an unfinished build noted, as another may have left it."""

import os

import pytest

from builder.errors import BuilderError
from builder.shards import stored_json


def test_a_note_without_end_is_not_read_to_it(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_json, "LARGEST_INFO", 1 << 20)
    note = tmp_path / "000000.json"
    note.write_text("{}")
    assert stored_json.read_json(note) == {}
    os.truncate(note, 1 << 40)
    with pytest.raises(BuilderError, match="it has more than 1 MB"):
        stored_json.read_json(note)
