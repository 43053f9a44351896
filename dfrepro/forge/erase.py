"""CutOut and Gaussian noise on both members of a pair, the same on each: FIA-USA's augmentation (Sec. 4.1).

The paper names them and no strength: probabilities, sizes and deviations are ours. Where CutOut has its hole nothing is
forged, so the mask is 0 there; RCR then counts the hole's cells as outside. A hole that would take most of the forgery
is drawn again, at most eight times; then there is none.
"""

from statistics import NormalDist

import cv2
import numpy as np

from dfrepro.forge.blend import Pair
from dfrepro.forge.masks import Box

CUTOUT_P, CUTOUT_SIDES = 0.5, (0.1, 0.3)  # of the picture's side
NOISE_P, NOISE_SIGMAS, NOISE_SIDE = 0.5, (1.0, 5.0), 380  # grey levels, in a picture of so many pixels a side
QUANTILES = np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)])


def draw_cutout(pair: Pair, rng: np.random.Generator) -> Pair:
    """With p .5, black out one square of both members, and of the mask, that leaves most of the forgery."""
    if rng.random() >= CUTOUT_P:
        return pair
    size = len(pair.mask)
    forged = pair.mask.sum()
    for _ in range(8):
        side = max(1, round(size * rng.uniform(*CUTOUT_SIDES)))
        x, y = (int(start) for start in rng.integers(0, size - side + 1, 2))
        hole = Box(x, y, x + side, y + side).pixels
        if pair.mask[hole].sum() < 0.5 * forged:
            real, fake, mask = (_filled(picture, hole) for picture in (pair.real, pair.fake, pair.mask))
            return Pair(real, fake, mask, pair.ratio)
    return pair


def draw_noise(pair: Pair, rng: np.random.Generator) -> Pair:
    """With p .5, add one field of Gaussian noise to both members.

    Weaker in smaller pictures: a face of fewer pixels has fewer of them to average it out. Drawn as bytes through the
    normal distribution's 256 quantiles: a fiftieth of the time of floats, and an eight-bit picture cannot tell.
    """
    if rng.random() >= NOISE_P:
        return pair
    sigma = rng.uniform(*NOISE_SIGMAS) * min(1.0, len(pair.mask) / NOISE_SIDE)
    levels = np.rint(sigma * QUANTILES).astype(np.int16)
    drawn = np.frombuffer(rng.bytes(pair.real.size), np.uint8).reshape(pair.real.shape)
    noise = cv2.LUT(drawn, levels)
    real, fake = (cv2.add(picture, noise, dtype=cv2.CV_8U) for picture in (pair.real, pair.fake))
    return Pair(real, fake, pair.mask, pair.ratio)


def _filled(picture: np.ndarray, hole: tuple[slice, slice]) -> np.ndarray:
    picture = picture.copy()
    picture[hole] = 0
    return picture
