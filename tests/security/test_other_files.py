"""A video is read, and no other file that it names: not by a playlist, not by a reference."""

import struct
from pathlib import Path

import pytest

from builder.decode.formats import READ
from builder.decode.frames import REASONS, Failure, Frames
from tests.builder.decode.decoded import decoded
from tests.commands import run_ascnet

PRIVATE = 7  # frames of the video that nobody may read


@pytest.fixture(scope="module")
def private(tmp_path_factory, make_video) -> Path:
    """A folder with a video in three containers, none of which is to be built."""
    folder = tmp_path_factory.mktemp("private")
    make_video(folder / "p.ts", frames=PRIVATE, args="-f mpegts -c:v mpeg2video")
    make_video(folder / "p.mp4", frames=PRIVATE, args="-movflags +empty_moov+frag_keyframe+dash")
    make_video(folder / "p.mov", frames=PRIVATE)
    return folder


def dash(base: str) -> bytes:
    return f"""<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"
 profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="video/mp4">
<Representation id="1" bandwidth="1"><BaseURL>{base}</BaseURL></Representation>
</AdaptationSet></Period></MPD>""".encode()


def hls(entry: str) -> bytes:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{entry}\n#EXT-X-ENDLIST\n".encode()


SDP = (
    b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=video 5004 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
)
PLAYLISTS = {
    "absolute.mp4": (lambda p: dash(f"{p}/p.mp4"), "a DASH manifest"),
    "upwards.mp4": (lambda p: dash(f"../{p.name}/p.mp4"), "a DASH manifest"),
    "url.webm": (lambda p: dash(f"file://{p}/p.mp4"), "a DASH manifest"),
    "playlist.avi": (lambda p: hls(f"{p}/p.ts"), "an HLS playlist"),
    "playlist.m3u8": (lambda p: hls(f"file:{p}/p.ts"), "an HLS playlist"),
    "parts.ts": (lambda p: hls(f"subfile,,start,0,end,0,,:{p}/p.ts"), "an HLS playlist"),
    "list.mp4": (
        lambda p: b"ffconcat version 1.0\n" + b"file p.ts\n" * 400,
        "a list of files (ffconcat)",
    ),
    "stream.mp4": (lambda p: SDP, "a description of a stream (SDP)"),
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_is_refused_and_said_to_be_one(name, settings, private, tmp_path):
    write, kind = PLAYLISTS[name]
    folder = private.parent / f"beside-{tmp_path.name}"
    folder.mkdir()
    (folder / "p.ts").write_bytes((private / "p.ts").read_bytes())
    (folder / name).write_bytes(write(private))
    result = decoded(folder / name, settings)
    assert isinstance(result, Failure)
    assert (result.reason, result.detail) == ("a playlist", kind)
    assert result.reason in REASONS


def test_a_percent_sign_in_a_name_brings_no_pictures_of_other_names(settings, make_video, tmp_path):
    for number in range(3):
        make_video(tmp_path / f"{number}.png", frames=1, args="-c:v png -f image2pipe")
    pattern = tmp_path / "%d.png"
    pattern.write_bytes((tmp_path / "0.png").read_bytes())
    result = decoded(pattern, settings)
    assert isinstance(result, Failure)
    assert (result.reason, result.detail) == (
        "a playlist",
        "its name (%) stands for many pictures",
    )
    video = make_video(tmp_path / "100%d.avi", frames=3)
    built = decoded(video, settings)
    assert isinstance(built, Frames) and len(built.offsets) == 4


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def with_reference(movie: bytes, other: Path, levels: int) -> bytes:
    """A QuickTime movie whose track says (by a Macintosh alias) that its data is in another file,
    `levels` folders up from its own; -1: somewhere else."""
    path = str(other).replace("/", ":").encode()
    path += b"\0" * (len(path) % 2)
    alias = bytes(10) + bytes([1]) + b"x".ljust(27, b"\0") + bytes(12)
    alias += bytes([1]) + b"p".ljust(63, b"\0") + bytes(16) + struct.pack(">hh", levels, levels)
    alias += bytes(16)
    alias += struct.pack(">HH", 2, len(path)) + path + struct.pack(">HH", 0xFFFF, 0)
    entry = box(b"alis", bytes(4) + alias)
    new = box(b"dref", struct.pack(">II", 0, 1) + entry)

    def rebuilt(data: bytes) -> bytes:
        out, at = b"", 0
        while at < len(data):
            size, kind = struct.unpack_from(">I4s", data, at)
            content = data[at + 8 : at + size]
            if kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
                out += box(kind, rebuilt(content))
            else:
                out += new if kind == b"dref" else box(kind, content)
            at += size
        return out

    return rebuilt(movie)


@pytest.mark.parametrize("levels", [-1, 1])
def test_a_reference_to_data_elsewhere_is_not_followed(levels, settings, private, tmp_path):
    movie = (private / "p.mov").read_bytes()
    assert movie.index(b"mdat") < movie.index(b"moov")  # where the data is does not change
    path = private / f"{tmp_path.name}.mov"
    path.write_bytes(with_reference(movie, private / "p.mov", levels))
    assert not isinstance(decoded(path, settings), Frames)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.wmv", b'<asx version="3.0"><entry><ref href="file:///p.ts"/></entry></asx>', None),
        ("a.avi", b"<html><svg></svg><p>ffconcat version 1.0 #EXTM3U</p></html>", None),
        ("a.mp4", b"1\n00:00:00,000 --> 00:00:02,000\na subtitle\n\n" * 9, "no video stream"),
        ("a.mkv", b"some words\n" * 9, None),
    ],
)
def test_what_is_no_playlist_keeps_its_reason(name, content, reason, settings, tmp_path):
    (tmp_path / name).write_bytes(content)
    result = decoded(tmp_path / name, settings)
    assert isinstance(result, Failure)
    assert result.reason == (reason or "not a video")


CONTAINERS = {
    "a.3gp": "-c:v mpeg4",
    "a.apng": "-c:v apng -f apng",
    "a.asf": "",
    "a.avi": "",
    "a.flv": "-c:v flv",
    "a.gif": "-c:v gif",
    "a.h264": "-c:v libx264 -f h264",
    "a.ivf": "-c:v libvpx -f ivf",
    "a.m2v": "-c:v mpeg2video",
    "a.mjpeg": "-c:v mjpeg -f mjpeg",
    "a.mkv": "",
    "a.mov": "",
    "a.mp4": "-c:v libx264",
    "a.mpg": "-c:v mpeg2video -f mpeg",
    "a.mxf": "-c:v mpeg2video",
    "a.nut": "",
    "a.ogv": "-c:v libtheora -f ogg",
    "a.rm": "-c:v rv10",
    "a.swf": "-c:v flv",
    "a.ts": "-c:v mpeg2video",
    "a.vob": "-c:v mpeg2video",
    "a.webm": "-c:v libvpx",
    "a.wtv": "-c:v mpeg2video",
    "a.y4m": "-c:v rawvideo -pix_fmt yuv420p",
}


@pytest.fixture(scope="module")
def containers(tmp_path_factory, make_video) -> Path:
    folder = tmp_path_factory.mktemp("containers")
    for name, args in CONTAINERS.items():
        make_video(folder / name, frames=3, size="176x144", args=args)
    return folder


@pytest.mark.parametrize("engine", ["ffmpeg", "pyav"])
def test_containers_of_videos_are_read(containers, engine, tmp_path):
    table = "path\n" + "".join(f"{containers / name}\n" for name in CONTAINERS)
    (tmp_path / "list.csv").write_text(table)
    words = ("--source", "list.csv", "--engine", engine, "--short-side", "16", "--workers", "2")
    result = run_ascnet("build", "csv", *words, cwd=tmp_path)
    assert f"{len(CONTAINERS)} built" in result.stdout, result.stdout


def test_the_list_of_formats_holds_none_that_opens_others():
    opening = {"concat", "dash", "hls", "image2", "imf", "mlv", "rtp", "rtsp", "sap", "sdp"}
    opening |= {"vobsub", "webm_dash_manifest", "lavfi", "svg_pipe"}
    assert not opening & set(READ)
    assert len(READ) == len(set(READ)) and tuple(sorted(READ)) == READ
