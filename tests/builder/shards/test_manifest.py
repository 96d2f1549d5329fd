import shutil

from builder.shards.manifest import fingerprint


def test_a_fingerprint_changes_with_the_data_set(shards, tmp_path):
    shutil.copytree(shards, tmp_path / "copy")
    assert fingerprint(tmp_path / "copy") == fingerprint(shards)
    (tmp_path / "copy" / "dataset.json").write_text("{}")
    assert fingerprint(tmp_path / "copy") != fingerprint(shards)
