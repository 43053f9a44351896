"""Test-time corruptions of face crops: DeeperForensics' seven at five levels, and PEL's three.

Everything maps (N, H, W, 3) uint8 RGB to a new array of the same kind. Levels run from 1 to 5. What is random is drawn
for each picture from (seed, its index), so that the same picture is corrupted alike in a batch of any size.

One rule of size: from 256 pixels on, every constant is DeeperForensics' published one, in pixels and as its code has it
(the number of blocks grows with floor(side / 256), the blur's kernel does not grow). Below, where that code would paste
no block at all, the number of blocks falls with the area and the blur's kernel with the side. Its "JPEG" is pixelation,
which has its true name here, for FPG's and FIA-USA's figures alike; real JPEG is added beside it, at levels of ours.
PEL (Table 3) names its noise, salt-and-pepper and blur without levels: level 3 of a sweep by factors of 2 is ours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from dfrepro.data.h264 import coded
from dfrepro.errors import WorkbookError
from dfrepro.forge.colour import jpeg as recode

REFERENCE = 256  # px, the side that the levels were made for
GREY = 128
BLOCK = 8  # px
LUMA = np.array([0.299, 0.587, 0.114])  # BT.601
# 8-bit studio-swing YCbCr -> RGB, without offsets: what DeeperForensics adds its noise in
YCBCR_TO_RGB = np.array([[255 / 219, 0, 1.402 * 255 / 224], [255 / 219, 0, 0], [255 / 219, 1.772 * 255 / 224, 0]])
YCBCR_TO_RGB[1, 1:] = -(np.array([1.772, 1.402]) * LUMA[[2, 0]] / LUMA[1]) * 255 / 224

Generators = Sequence[np.random.Generator]  # one a picture


def saturation(images: np.ndarray, factor: float, _: Generators) -> np.ndarray:
    """Scale chroma (Cb and Cr about neutral) by `factor`; 0 is grey."""
    mix = factor * np.eye(3) + (1 - factor) * LUMA  # every row: factor * itself + (1 - factor) * luma
    return _as_one_picture(images, lambda picture: cv2.transform(picture, mix))


def contrast(images: np.ndarray, factor: float, _: Generators) -> np.ndarray:
    """Multiply intensities by `factor`: DeeperForensics' contrast has no pivot."""
    table = np.rint(np.arange(256) * factor).clip(0, 255).astype(np.uint8)
    return _as_one_picture(images, lambda picture: cv2.LUT(picture, table))


def blocks(images: np.ndarray, count: float, generators: Generators) -> np.ndarray:
    """Paste grey squares of 8 pixels at uniform places: `count` x floor(side / 256), or by area below 256 pixels."""
    images = images.copy()
    height, width = images.shape[1:3]
    _require(min(height, width) >= BLOCK, f"pictures of {width} x {height} are smaller than one block")
    for image, rng in zip(images, generators, strict=True):
        corners = rng.integers(0, (height - BLOCK + 1, width - BLOCK + 1), (block_count(count, height, width), 2))
        for y, x in corners:
            image[y : y + BLOCK, x : x + BLOCK] = GREY
    return images


def block_count(count: float, height: int, width: int) -> int:
    """How many blocks a picture gets: DeeperForensics' rule from 256 pixels on, the same share of the area below."""
    whole = min(height, width) // REFERENCE
    return int(count) * whole if whole else max(1, round(count * height * width / REFERENCE**2))


def ycbcr_noise(images: np.ndarray, variance: float, generators: Generators) -> np.ndarray:
    """Add Gaussian noise of `variance` (of a range of 1) to Y, Cb and Cr."""
    mix = (255 * np.sqrt(variance) * YCBCR_TO_RGB).astype(np.float32)
    return _each(images, generators, lambda image, rng: image + _normal(rng, image.shape) @ mix.T)


def blur(images: np.ndarray, kernel: float, generators: Generators) -> np.ndarray:
    """Blur by a Gaussian of `kernel` pixels and sigma = kernel / 6, both scaled by side / 256 below 256 pixels."""
    kernel *= min(1.0, min(images.shape[1:3]) / REFERENCE)
    size = max(3, 2 * int(kernel / 2) + 1)
    return _each(images, generators, lambda image, _: cv2.GaussianBlur(image, (size, size), kernel / 6))


def pixelation(images: np.ndarray, factor: float, generators: Generators) -> np.ndarray:
    """Shrink by `factor` and enlarge again, linearly both times: what DeeperForensics calls JPEG."""
    height, width = images.shape[1:3]
    small = (max(1, int(width / factor)), max(1, int(height / factor)))
    return _each(images, generators, lambda image, _: cv2.resize(cv2.resize(image, small), (width, height)))


def jpeg(images: np.ndarray, quality: float, generators: Generators) -> np.ndarray:
    """Encode and decode each picture as JPEG."""
    return _each(images, generators, lambda image, _: recode(image, int(quality)))


def video(images: np.ndarray, crf: float, _: Generators) -> np.ndarray:
    """Encode the batch as **one clip**, in its order, with H.264 at constant rate factor `crf`, and decode it.

    Frames of several videos in one batch would be predicted from each other: pass one video at a time.
    """
    count, height, width = images.shape[:3]
    even = np.pad(images, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    decoded = coded(list(even), int(crf))
    _require(len(decoded) == count, f"{count} frames went into the encoder and {len(decoded)} came out")
    return np.stack(decoded)[:, :height, :width]


def gaussian_noise(images: np.ndarray, sigma: float, generators: Generators) -> np.ndarray:
    """Add Gaussian noise of standard deviation `sigma` (of a range of 1) to R, G and B."""
    return _each(images, generators, lambda image, rng: image + np.float32(255 * sigma) * _normal(rng, image.shape))


def salt_and_pepper(images: np.ndarray, share: float, generators: Generators) -> np.ndarray:
    """Set a `share` of the pixels to white or black, half each; all three channels together."""

    def sprinkle(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        draw = rng.random(image.shape[:2], dtype=np.float32)
        image = image.copy()
        image[draw < share] = 0
        image[draw < share / 2] = 255
        return image

    return _each(images, generators, sprinkle)


def gaussian_blur(images: np.ndarray, sigma: float, generators: Generators) -> np.ndarray:
    """Blur by a Gaussian of `sigma` pixels, cut at four sigma. Not scaled: PEL's is one pixel, whatever the size."""
    size = 2 * int(4 * sigma + 0.5) + 1
    return _each(images, generators, lambda image, _: cv2.GaussianBlur(image, (size, size), sigma))


@dataclass(frozen=True)
class Corruption:
    """A corruption and its five levels, mild to severe."""

    apply: Callable[[np.ndarray, float, Generators], np.ndarray]
    levels: tuple[float, float, float, float, float]


CORRUPTIONS: dict[str, Corruption] = {
    "saturation": Corruption(saturation, (0.4, 0.3, 0.2, 0.1, 0.0)),
    "contrast": Corruption(contrast, (0.85, 0.725, 0.6, 0.475, 0.35)),
    "blocks": Corruption(blocks, (16, 32, 48, 64, 80)),
    "noise": Corruption(ycbcr_noise, (0.001, 0.002, 0.005, 0.01, 0.05)),
    "blur": Corruption(blur, (7, 9, 13, 17, 21)),
    "pixelation": Corruption(pixelation, (2, 3, 4, 5, 6)),
    "video": Corruption(video, (30, 32, 35, 38, 40)),
    "jpeg": Corruption(jpeg, (80, 60, 40, 25, 10)),  # ours
    "gaussian-noise": Corruption(gaussian_noise, (0.005, 0.01, 0.02, 0.04, 0.08)),  # PEL's three: level 3
    "salt-and-pepper": Corruption(salt_and_pepper, (0.0025, 0.005, 0.01, 0.02, 0.04)),
    "gaussian-blur": Corruption(gaussian_blur, (0.25, 0.5, 1.0, 2.0, 4.0)),
}
DEEPER_FORENSICS = ("saturation", "contrast", "blocks", "noise", "blur", "pixelation", "video")
PEL, PEL_LEVEL = ("gaussian-noise", "salt-and-pepper", "gaussian-blur"), 3


def corrupt(images: np.ndarray, name: str, level: int, *, seed: int = 0, first: int = 0) -> np.ndarray:
    """Corrupt (N, H, W, 3) uint8 RGB pictures by `name`, one of `CORRUPTIONS`, at `level` 1 to 5; a new array.

    `first` is the index of the first picture in the whole data set: batches that say it are corrupted as the whole
    would be. (For "video", a batch is a clip.)
    """
    _require(
        images.ndim == 4 and images.shape[-1] == 3 and images.dtype == np.uint8,
        f"pictures of shape {images.shape} and type {images.dtype}; corruptions take (N, H, W, 3) uint8",
    )
    _require(name in CORRUPTIONS, f"unknown corruption {name!r}", f"Choose one of {', '.join(CORRUPTIONS)}")
    _require(level in range(1, 6), f"level {level} of {name!r}", "Levels run from 1 to 5")
    if not len(images):
        return images.copy()
    corruption = CORRUPTIONS[name]
    generators = [np.random.default_rng([seed, first + i]) for i in range(len(images))]
    return corruption.apply(images, corruption.levels[level - 1], generators)


def _each(images: np.ndarray, generators: Generators, change: Callable[[np.ndarray, Any], np.ndarray]) -> np.ndarray:
    """Change every picture; what comes out as floats is rounded and clipped."""
    result = np.empty_like(images)
    for image, rng, out in zip(images, generators, result, strict=True):
        changed = change(image, rng)
        out[...] = changed if changed.dtype == np.uint8 else np.rint(changed).clip(0, 255)
    return result


def _as_one_picture(images: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Change all pictures in one call, as one tall one: for what treats pixels one by one."""
    count, height, width, _ = images.shape
    return change(np.ascontiguousarray(images).reshape(count * height, width, 3)).reshape(images.shape)


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def _require(holds: bool, what: str, remedy: str = "") -> None:
    if not holds:
        raise WorkbookError(what, where="corruptions", remedy=remedy)
