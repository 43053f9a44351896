"""Smooth random fields: the raw material of skin, hair, cloth and backgrounds."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def fractal(
    rng: np.random.Generator, shape: tuple[int, int], *, cells: tuple[int, int], octaves: int, gain: float = 0.6
):
    """Sum of `octaves` of cubic value noise, (H, W) float32 with mean 0 and standard deviation 1.

    `cells` is the number of cells of the coarsest octave along (y, x); unequal numbers give stretched noise.
    """
    height, width = shape
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        grid = tuple(min(n << octave, side) for n, side in zip(cells, shape, strict=True))
        values = rng.standard_normal(grid, dtype=np.float32)
        total += gain**octave * cv2.resize(values, (width, height), interpolation=cv2.INTER_CUBIC)
    total -= total.mean()
    return total / (total.std() + 1e-6)


def smoothstep(low: float, high: float, value: Array) -> Array:
    """0 below `low`, 1 above `high`, a cubic in between; `low` > `high` turns it round."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def bump(x: Array, y: Array, cx: float, cy: float, sx: float, sy: float) -> Array:
    """A Gaussian hill of height 1 at (cx, cy) with radii (sx, sy)."""
    return np.exp(-(((x - cx) / sx) ** 2) - ((y - cy) / sy) ** 2)


def sample(field: Array, u: Array, v: Array) -> Array:
    """Bilinear look-up of `field` at column `u`, row `v` (pixels, edges replicated)."""
    u, v = np.asarray(u, np.float32), np.asarray(v, np.float32)
    return cv2.remap(field, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
