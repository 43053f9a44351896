"""H.264 in mp4, with bytes that follow from the frames alone: on one thread, with vector code of equal results.

x264's AVX-512 macroblock tree gives other bytes from one process to the next where rows are not whole multiples of
64 pixels, and its AVX2 one rounds otherwise than its C code. With SSE2 alone it agrees with the C code to the bit, in
every process; encoding takes a tenth longer. (A processor without SSE2 runs the C code.)
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import av
import numpy as np

FPS = 25


def encode(
    file: Path | BytesIO, frames: Sequence[np.ndarray], crf: int, *, preset: str = "medium", gray: bool = False
) -> None:
    """Write frames (H, W, 3) RGB or (H, W) grey, uint8, of even sides. crf: constant rate factor, 0 to 51."""
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        stream.options = {"crf": str(crf), "preset": preset, "x264-params": "asm=sse2"}
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="gray" if gray else "rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def decode(file: Path | BytesIO) -> list[np.ndarray]:
    """All frames, (H, W, 3) RGB uint8."""
    with av.open(file, "r") as container:
        container.streams.video[0].codec_context.thread_count = 1
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def coded(frames: Sequence[np.ndarray], crf: int, *, preset: str = "medium") -> list[np.ndarray]:
    """The frames after a trip through the encoder and back."""
    buffer = BytesIO()
    encode(buffer, frames, crf, preset=preset)
    buffer.seek(0)
    return decode(buffer)
