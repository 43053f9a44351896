"""Photometric transforms on (H, W, 3) uint8 RGB: plain functions, and the draws that SBI's recipe makes of them.

A draw returns a list of functions with their parameters bound, so that a real face and its fake get the same one by
construction. Constants: FIELD-NOTES, "SBI constants". Shifts of hue, saturation and value are in OpenCV's 8-bit units
(hue of 180), as in the official recipe, where +-.3 lowers a channel by one unit or leaves it; what changes the picture
is the round trip through 8-bit HSV. `hsv_limit` takes larger values for those who want a visible shift.
"""

import math
from functools import partial

import cv2
import numpy as np

from dfrepro.forge.blend import Op


def rgb_shift(image: np.ndarray, shift: tuple[float, float, float]) -> np.ndarray:
    """Add one constant a channel, in grey levels."""
    return cv2.add(image, np.array([*shift, 0.0]))


def hsv_shift(image: np.ndarray, shift: tuple[float, float, float]) -> np.ndarray:
    """Shift hue (mod 180), saturation and value (clipped), in OpenCV's 8-bit units, rounding down."""
    whole = [math.floor(s) for s in shift]  # floor(level + shift), as levels are whole
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    if any(whole[1:]):
        hsv = cv2.add(hsv, np.array([0.0, *whole[1:], 0.0]))  # saturates
    if whole[0]:
        table = ((np.arange(256) + whole[0]) % 180).astype(np.uint8)
        hsv = cv2.insertChannel(cv2.LUT(cv2.extractChannel(hsv, 0), table), hsv, 0)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def brightness_contrast(image: np.ndarray, brightness: float, contrast: float) -> np.ndarray:
    """(1 + contrast) * image + 255 * brightness, clipped."""
    return cv2.addWeighted(image, 1 + contrast, image, 0, 255 * brightness)


def downscale(image: np.ndarray, factor: int) -> np.ndarray:
    """Shrink by `factor` with nearest neighbours, enlarge linearly: aliasing, then blur."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // factor, height // factor), interpolation=cv2.INTER_NEAREST)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def sharpen(image: np.ndarray, alpha: float, lightness: float) -> np.ndarray:
    """Mix, by `alpha`, with a Laplacian-sharpened picture of weight 8 + `lightness` at the centre."""
    kernel = np.full((3, 3), -alpha, np.float32)
    kernel[1, 1] = (1 - alpha) + alpha * (8 + lightness)
    return cv2.filter2D(image, -1, kernel)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Encode and decode as JPEG with 4:2:0 chroma, quality 1 to 100."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)  # luma weighs the channels, so their order matters
    _, code = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR_RGB))


def draw_colour(rng: np.random.Generator, p: tuple[float, float, float], limit: float, hsv_limit: float) -> list[Op]:
    """RGB shift of +-20, HSV shift, brightness and contrast of +-`limit`, each with its probability."""
    happens = rng.random(3) < p
    r, g, b, hue, saturation, value, brightness, contrast = rng.uniform(-1, 1, 8) * [
        *3 * [20],
        *3 * [hsv_limit],
        *2 * [limit],
    ]
    ops = (
        partial(rgb_shift, shift=(r, g, b)),
        partial(hsv_shift, shift=(hue, saturation, value)),
        partial(brightness_contrast, brightness=brightness, contrast=contrast),
    )
    return [op for op, wanted in zip(ops, happens, strict=True) if wanted]


def draw_frequency(rng: np.random.Generator) -> list[Op]:
    """One of: down-scaling by 2 or 4, sharpening."""
    if rng.random() < 0.5:
        return [partial(downscale, factor=(2, 4)[rng.integers(2)])]
    return [partial(sharpen, alpha=rng.uniform(0.2, 0.5), lightness=rng.uniform(0.5, 1.0))]


def draw_source_transform(rng: np.random.Generator, hsv_limit: float = 0.3) -> list[Op]:
    """T of FIA-USA (Sec. 3.1) and SBI: colour, then frequency."""
    return draw_colour(rng, p=(0.3, 1, 1), limit=0.1, hsv_limit=hsv_limit) + draw_frequency(rng)


def draw_joint_transform(rng: np.random.Generator, hsv_limit: float = 0.3) -> list[Op]:
    """What both members of a pair go through: colour, then JPEG at quality 40 to 100 with p .5."""
    ops = draw_colour(rng, p=(0.3, 0.3, 0.3), limit=0.3, hsv_limit=hsv_limit)
    quality = int(rng.integers(40, 101))
    return [*ops, partial(jpeg, quality=quality)] if rng.random() < 0.5 else ops
