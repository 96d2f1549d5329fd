"""Apply the cropping that a container states (MP4's clean aperture, Matroska's PixelCrop), which
libav's decoders leave to the player."""

import re

import av

_CROPPING = re.compile(r"(?i)^ {6}frame cropping: (\d+)/(\d+)/(\d+)/(\d+)$", re.MULTILINE)


class Cropping:
    """Crops the frames of one stream on the left, right, top and bottom, as ffmpeg does."""

    def __init__(self, container: av.container.InputContainer, stream: av.VideoStream) -> None:
        self._sides = _sides(container, stream.index)
        self._stream = stream
        self._graph: av.filter.Graph | None = None
        self._format: tuple[int, int, str] | None = None

    def cut(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The part of a frame that a player shows."""
        if self._sides is None:
            return frame
        if self._format != (frame.width, frame.height, frame.format.name):
            self._format = (frame.width, frame.height, frame.format.name)
            self._graph = self._new_graph(frame)
        assert self._graph is not None
        self._graph.push(frame)
        return self._graph.vpull()

    def _new_graph(self, frame: av.VideoFrame) -> av.filter.Graph:
        assert self._sides is not None
        left, right, top, bottom = self._sides
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=self._stream.time_base,
        )
        crop = graph.add("crop", f"iw-{left + right}:ih-{top + bottom}:{left}:{top}")
        sink = graph.add("buffersink")
        source.link_to(crop)
        crop.link_to(sink)
        graph.configure()
        return graph


def _sides(container: av.container.InputContainer, stream: int) -> tuple[int, int, int, int] | None:
    """Pixels to crop (left, right, top, bottom), parsed from libav's description of the file, as
    PyAV offers no other way. It contains the file's tags, too: if they forge a line, None."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        text = container.dumps_format()
    finally:
        av.logging.set_level(level)
    parts = re.split(rf"^  Stream #0:{stream}\b.*$", text, flags=re.MULTILINE)
    croppings = _CROPPING.findall(parts[-1].partition("\n  Stream #")[0]) if len(parts) == 2 else []
    if len(croppings) != 1:
        return None
    left, right, top, bottom = map(int, croppings[0])
    return (left, right, top, bottom) if left + right + top + bottom else None
