"""From a display picture to the 8-bit frames of a video file: lens, sensor, colours, codec.

A video is filmed once: forgers work on its frames, so that a fake shares its real's lens, noise and background.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from dfrepro.data.h264 import coded
from dfrepro.data.standin.noise import Array


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

    def expose(self, picture: Array) -> Array:
        """What the lens makes of display values (S, S, 3), before the sensor's noise."""
        return cv2.GaussianBlur(cv2.pow(picture, self.gamma) * self.gain, (0, 0), self.blur)

    def noise_of(self, rng: np.random.Generator, side: int) -> Iterator[Array]:
        """The sensor's noise in one frame after another, (side, side, 3), without end."""
        spare = 24
        plate = rng.standard_normal((side + spare, side + spare, 3), dtype=np.float32)
        plate = self.noise * cv2.GaussianBlur(plate, (0, 0), 0.6) / 0.47  # demosaicking correlates neighbours
        while True:
            dx, dy = rng.integers(0, spare, 2)
            yield plate[dy : dy + side, dx : dx + side]

    def film(self, rng: np.random.Generator, pictures: list[Array]) -> list[Array]:
        """(S, S, 3) display values -> (S, S, 3) uint8 RGB."""
        noise = self.noise_of(rng, pictures[0].shape[0])
        return [quantised(self.expose(picture) + next(noise)) for picture in pictures]


def quantised(picture: Array) -> Array:
    """0 .. 1 -> uint8."""
    return np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)


def uploaded(frames: list[Array], crf: int) -> list[Array]:
    """The frames after one more trip through H.264, as after an upload to the web."""
    return coded(frames, crf, preset="veryfast")
