"""Chosen frames of one video, decoded by FFmpeg (PyAV) with as little work as gives exact pixels.

The container is first read without decoding, which gives every frame's time stamp and the key frames. Frames are then
known by rank in order of presentation, whatever the frame rate does and whatever frame count the header claims.
Decoding jumps to the last key frame before a wanted frame where that saves work, leaves out frames that are neither
wanted nor referred to by others, and converts wanted frames alone to RGB.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from dfrepro.data.shown import chosen_stream, of_frame, pixel_aspect, shown
from dfrepro.errors import WorkbookError

MAX_PIXELS = 2**26  # 8192 x 8192: 8K video passes, a declared size bomb is refused before it is decoded
UNEVEN = 1.9  # a step this many times the usual one: more than rounding of time stamps
SEEK_PAYS = 16  # frames that a jump must save to be worth refilling the decoder

# Playlist demuxers would open other files and addresses; pictures are PIL's (media.py)
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,h264,hevc,av1,obu,ivf,m4v,flv,asf,ogg,mxf,nut,"
    "yuv4mpegpipe,mpjpeg,mjpeg,dv,rm,vc1,wtv"
)
# `max_pixels` here too: FFmpeg decodes a first frame when it opens a file whose header leaves questions open
GUARD = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file", "max_pixels": str(MAX_PIXELS)}
EXACT = {"max_pixels": str(MAX_PIXELS), "err_detect": "explode"}  # a concealed error is not the video's pixel


@dataclass(frozen=True)
class _Entry:
    pts: int
    is_key: bool


class VideoFile:
    """An opened video; see `dfrepro.data.media.Media`."""

    names: list[str] | None = None

    def __init__(self, path: Path):
        self.path = path
        self.missing: dict[int, str] = {}
        self.notes: list[str] = []
        with self._opened() as container:
            stream, self.remarks = _stream(container, path)
            self._aspect, remarks = pixel_aspect(stream)
            self._entries, self.count, cut = _index(container, stream)
            self.notes += _ends_early(container, stream, self._entries, self.count + cut)
            self.remarks += [*remarks, *_timing(self._entries, cut)]
        self._keys = [rank for rank, entry in enumerate(self._entries) if entry.is_key]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        """Nothing stays open between reads."""

    def read(self, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        left = set(indices)
        for careful in (False, True):  # a damaged or odd stream gets a second, plain pass for what the first one lost
            if not left:
                break
            for index, frame in self._decode(sorted(left), careful=careful):
                if index in left:
                    left.discard(index)
                    too_large(frame.width, frame.height)
                    self.remarks += [remark for remark in of_frame(frame) if remark not in self.remarks]
                    yield index, shown(frame, self._aspect)
        self.missing.update(dict.fromkeys(sorted(left), "could not be decoded"))

    def _decode(self, wanted: list[int], *, careful: bool) -> Iterator[tuple[int, av.VideoFrame]]:
        try:
            with self._opened() as container:
                stream, _ = _stream(container, self.path)
                if not self._entries:
                    yield from _by_order(container, stream, wanted)
                    return
                for jump, indices in self._segments(wanted) if not careful else [(None, wanted)]:
                    if jump is not None:
                        container.seek(self._entries[jump].pts, stream=stream)
                    yield from self._by_time(container, stream, indices, skip=not careful)
        except (av.FFmpegError, WorkbookError):  # what is still wanted is reported as missing
            return

    def _segments(self, wanted: list[int]) -> list[tuple[int | None, list[int]]]:
        """Cut `wanted` into runs to decode in one go, each with the key frame to jump to (None: go on)."""
        segments: list[tuple[int | None, list[int]]] = []
        position = 0
        for index in wanted:
            place = bisect_right(self._keys, index) - 1
            key = self._keys[place] if place >= 0 else 0
            if key - position > SEEK_PAYS:
                segments.append((key, [index]))
            elif segments:
                segments[-1][1].append(index)
            else:
                segments.append((None, [index]))
            position = index
        return segments

    def _by_time(
        self, container: InputContainer, stream: VideoStream, indices: list[int], *, skip: bool
    ) -> Iterator[tuple[int, av.VideoFrame]]:
        wanted = {self._entries[index].pts: index for index in indices}
        last = max(wanted)
        for frame in _frames(container, stream, wanted if skip else None):
            if frame.pts in wanted and not frame.is_corrupt:
                yield wanted[frame.pts], frame
            if frame.pts is not None and frame.pts >= last:
                return

    def _opened(self) -> InputContainer:
        # "file:" and an absolute path: a name with a colon would be taken for a protocol
        address = f"file:{self.path.absolute()}"
        try:
            return av.open(address, options=GUARD)
        except (av.FFmpegError, ValueError, UnicodeError) as error:
            raise WorkbookError(
                f"not a video that FFmpeg reads ({_reason(error)})",
                where=self.path,
                remedy="Compare its size with the source's and copy or download it again",
            ) from error


def too_large(width: int, height: int, where: object = "") -> None:
    """Refuse a declared size above `MAX_PIXELS`, or none."""
    if width < 1 or height < 1:
        what = f"declares no size, or one above {MAX_PIXELS} pixels"
        raise WorkbookError(what, where=where, remedy="Copy or download it again; reduce it if it is that large")
    if width * height > MAX_PIXELS:
        what = f"declares {width} x {height} pixels, more than {MAX_PIXELS}"
        raise WorkbookError(what, where=where, remedy="Leave it out, or reduce it first")


def _stream(container: InputContainer, path: Path) -> tuple[VideoStream, list[str]]:
    """The stream to read, ready for decoding, and remarks on its choice."""
    stream, remarks = chosen_stream(container, path)
    context = stream.codec_context
    if context is None:  # whatever PyAV's stubs say: a damaged header can name a codec that nobody knows
        raise WorkbookError("holds video in a format that FFmpeg does not know", where=path, remedy="Re-encode it")
    too_large(context.width, context.height, path)
    context.options = EXACT
    context.thread_type, context.thread_count = "NONE", 1  # one process a video: threads would fight for the cores
    return stream, remarks


def _index(container: InputContainer, stream: VideoStream) -> tuple[list[_Entry], int, int]:
    """Every frame in order of presentation, without decoding; no entries where time stamps cannot tell frames apart.

    Then the number of frames, and of those that an edit list cuts off: a player does not show them.
    """
    entries: list[tuple[int | None, bool]] = []
    cut = 0
    try:
        for packet in container.demux(stream):
            if packet.size and packet.is_discard:
                cut += 1
            elif packet.size:
                entries.append((packet.pts, packet.is_keyframe))
    except av.FFmpegError:
        pass  # a truncated file
    times = [pts for pts, _ in entries if pts is not None]
    # AVI stores no time of presentation: its stamps then run in coding order, though the decoder reorders
    made_up = stream.codec_context.has_b_frames and len(times) > 1 and times == sorted(times)
    if len(set(times)) < len(entries) or made_up:
        return [], len(entries), cut
    return [_Entry(pts, key) for pts, key in sorted(entries)], len(entries), cut  # type: ignore[arg-type, type-var]


def _ends_early(container: InputContainer, stream: VideoStream, entries: list[_Entry], count: int) -> Iterator[str]:
    """Whether the header promises more than the file holds, `count` frames: a truncated copy."""
    if 0 < count < stream.frames:
        yield f"the file ends early: it declares {stream.frames} frames and holds {count}"
    elif len(entries) > 1 and container.duration and stream.time_base and len(container.streams.video) == 1:
        declared = container.duration / av.time_base
        held = float((entries[-1].pts - entries[0].pts) * stream.time_base) * len(entries) / (len(entries) - 1)
        if declared - held > max(0.5, 0.1 * declared):  # sound may outlast the picture, by less than this
            yield f"the file ends early: it declares {declared:.1f} s and holds {held:.1f} s"


def _timing(entries: list[_Entry], cut: int) -> Iterator[str]:
    if cut:
        yield f"{cut} frames that its edit list cuts off are not read"
    steps = [later.pts - earlier.pts for earlier, later in pairwise(entries)]
    if steps and max(steps) > UNEVEN * sorted(steps)[len(steps) // 2]:
        yield "variable frame rate: frames are spaced by number, not by time"


def _frames(container: InputContainer, stream: VideoStream, wanted: dict[int, int] | None) -> Iterator[av.VideoFrame]:
    """Decode on from here; with `wanted`, frames that are neither wanted nor referred to are left out."""
    context = stream.codec_context
    for packet in container.demux(stream):
        if wanted is not None:
            context.skip_frame = "DEFAULT" if packet.pts in wanted or not packet.size else "NONREF"
        try:
            yield from packet.decode()  # type: ignore[misc]
        except av.FFmpegError:
            continue  # this packet is lost, later ones may not be


def _by_order(container: InputContainer, stream: VideoStream, wanted: list[int]) -> Iterator[tuple[int, av.VideoFrame]]:
    """Without usable time stamps a frame is known by its place in the decoder's output."""
    left = set(wanted)
    for index, frame in enumerate(_frames(container, stream, None)):
        if index in left:
            left.discard(index)
            yield index, frame
        if not left:
            return


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
