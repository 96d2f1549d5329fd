import subprocess

from builder.decode.ffmpeg import find_ffmpeg
from builder.decode.picture_size import picture_size
from builder.decode.processes import Children


def test_the_size_of_the_files_own_pictures(make_video, tmp_path):
    path = make_video(tmp_path / "-a:b\n.mp4", frames=2)
    turned = tmp_path / "turned.mp4"
    words = ["-v", "error", "-display_rotation", "90", "-i", f"file:{path}", "-c", "copy"]
    subprocess.run([find_ffmpeg(), *words, f"file:{turned}"], check=True)
    (tmp_path / "bad.mp4").write_bytes(b"x" * 99)
    with Children() as children:
        assert picture_size(path, children) == (64, 48)
        assert picture_size(turned, children) == (48, 64)
        assert picture_size(tmp_path / "bad.mp4", children) is None
        assert picture_size(tmp_path / "gone.mp4", children) is None
