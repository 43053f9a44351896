"""From a display picture to the 8-bit frames of a video file: lens, sensor, colours, codec.

A video and all fakes made from it share one `Camera`, and only the noise is drawn anew.
"""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import av
import cv2
import numpy as np

from dfrepro.data.standin.noise import Array

FPS = 25


@dataclass(frozen=True)
class CameraModel:
    """The cameras of a dataset: (low, high) of each measure."""

    blur: tuple[float, float] = (0.3, 0.8)  # standard deviation, pixels
    noise: tuple[float, float] = (0.004, 0.014)  # standard deviation, display values
    gamma: tuple[float, float] = (0.85, 1.2)
    warmth: float = 0.05  # spread of the white balance
    contrast: tuple[float, float] = (0.85, 1.05)


@dataclass(frozen=True)
class Camera:
    blur: float
    noise: float
    gamma: float
    gain: Array  # (3,)

    @classmethod
    def draw(cls, rng: np.random.Generator, model: CameraModel) -> "Camera":
        warmth = rng.normal(0, model.warmth)
        gain = rng.uniform(*model.contrast) * np.array([1 + warmth, 1.0, 1 - warmth])
        return cls(
            rng.uniform(*model.blur), rng.uniform(*model.noise), rng.uniform(*model.gamma), gain.astype(np.float32)
        )

    def film(self, rng: np.random.Generator, pictures: list[Array]) -> list[Array]:
        """(S, S, 3) display values -> (S, S, 3) uint8 RGB."""
        side, spare = pictures[0].shape[0], 24
        plate = rng.standard_normal((side + spare, side + spare, 3), dtype=np.float32)
        plate = self.noise * cv2.GaussianBlur(plate, (0, 0), 0.6) / 0.47  # demosaicking correlates neighbours
        frames = []
        for picture in pictures:
            dx, dy = rng.integers(0, spare, 2)
            exposed = cv2.pow(picture, self.gamma) * self.gain
            seen = cv2.GaussianBlur(exposed, (0, 0), self.blur) + plate[dy : dy + side, dx : dx + side]
            frames.append(np.clip(seen * 255 + 0.5, 0, 255).astype(np.uint8))
        return frames


def encode(path: Path | BytesIO, frames: list[Array], crf: int, *, preset: str = "medium", gray: bool = False) -> None:
    """Write frames (H, W, 3) RGB or (H, W) grey, uint8, as H.264 in mp4. One thread, so the bytes are reproducible."""
    with av.open(path, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height = frames[0].shape[1], frames[0].shape[0]
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        stream.options = {"crf": str(crf), "preset": preset}
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="gray" if gray else "rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def decode(path: Path | BytesIO) -> list[Array]:
    with av.open(path, "r") as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def uploaded(frames: list[Array], crf: int) -> list[Array]:
    """The frames after one more trip through H.264, as after an upload to the web."""
    buffer = BytesIO()
    encode(buffer, frames, crf, preset="veryfast")
    buffer.seek(0)
    return decode(buffer)
