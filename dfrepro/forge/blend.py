"""Blending (Face X-ray's equation; FIA-USA, Eq. 1), the pair it makes, and the geometry both members share.

`inside` is what shows where the mask is 1, `outside` where it is 0. The papers' "source" and "target" are swapped
between SBI (source inside) and FIA-USA (target inside), so the words are not used here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import cv2
import numpy as np

from dfrepro.errors import WorkbookError
from dfrepro.forge.masks import Box, Face, SoftMask, face_of, flip_landmarks

AFFINE_SHIFT = (0.03, 0.015)  # of the recipe's frame, x and y
AFFINE_SCALE = (0.95, 1 / 0.95)


@dataclass(frozen=True)
class Pair:
    """A real face and the fake made of it, geometrically aligned and under the same photometric draw.

    `real`, `fake`: (S, S, 3) uint8 RGB. `mask`: (S, S) float32 in [0, 1], **before** `ratio`, the opacity of the
    blend: fake = ratio * mask * source + (1 - ratio * mask) * real. `source`: (S, S, 3) uint8, what was blended in,
    where it was asked for.
    """

    real: np.ndarray
    fake: np.ndarray
    mask: np.ndarray
    ratio: float = 1.0
    source: np.ndarray | None = None


class Forge(Protocol):
    """Anything that makes a pair of one stored face, such as `dfrepro.forge.sbi.SelfBlend`.

    `needs` names what it takes of an item, by keyword, beside the picture and its landmarks.
    """

    needs: ClassVar[tuple[str, ...]]

    def __call__(self, image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator, **needs: Any) -> Pair: ...


def blend(inside: np.ndarray, outside: np.ndarray, mask: SoftMask, ratio: float = 1.0) -> np.ndarray:
    """ratio * M * inside + (1 - ratio * M) * outside, rounded: (H, W, 3) uint8. FIA-USA's Eq. 1 with ratio 1.

    `inside` covers the mask's box only, (h, w, 3) uint8; `outside` is the whole picture and is not changed.
    """
    weight = mask.values if ratio == 1 else mask.values * np.float32(ratio)
    weight = cv2.merge([weight, weight, weight])  # (h, w, 3)
    result = outside.copy()
    patch = result[mask.box.pixels]
    change = cv2.multiply(weight, cv2.subtract(inside, patch, dtype=cv2.CV_32F))
    patch[...] = cv2.add(patch, change, dtype=cv2.CV_8U)  # rounds, once
    return result


def draw_affine(face: Face, rng: np.random.Generator) -> np.ndarray:
    """SBI's random translation and scaling about the face's centre: a (2, 3) float64 forward map of pixels."""
    scale = rng.uniform(*AFFINE_SCALE, 2)
    shift = rng.uniform(-1, 1, 2) * AFFINE_SHIFT * face.frame
    centre = np.array([face.x, face.y])
    return np.column_stack([np.diag(scale), centre - scale * centre + shift])


def transform_points(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map (n, 2) points by a (2, 3) affine matrix."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def warp(image: np.ndarray, matrix: np.ndarray, box: Box) -> np.ndarray:
    """The part of the affinely moved `image` that lies in `box`: (y1 - y0, x1 - x0, 3). Edges are replicated."""
    local = matrix - np.array([[0, 0, box.x0], [0, 0, box.y0]])
    size = (box.x1 - box.x0, box.y1 - box.y0)
    return cv2.warpAffine(image, local, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


@dataclass(frozen=True)
class View:
    """Mirror, window and output size: the geometry that all pictures of a pair share."""

    flip: bool
    window: Box  # in the mirrored picture
    size: int

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The window of `image` (H, W, ...), mirrored if need be, still in stored pixels."""
        x0, y0, x1, y1 = self.window
        if not self.flip:
            return np.ascontiguousarray(image[y0:y1, x0:x1])
        width = image.shape[1]
        return cv2.flip(image[y0:y1, width - x1 : width - x0], 1)

    def cut_landmarks(self, landmarks: np.ndarray, width: int) -> np.ndarray:
        """Landmarks of a picture `width` wide, in the window's pixels."""
        moved = flip_landmarks(landmarks, width) if self.flip else landmarks
        return moved - np.array((self.window.x0, self.window.y0), np.float32)

    def resize(self, image: np.ndarray) -> np.ndarray:
        """To (size, size, ...): linearly, as SBI does, or by area where that would skip pixels."""
        height, width = image.shape[:2]
        if (height, width) == (self.size, self.size):
            return image
        skips = max(height, width) > 2 * self.size
        how = cv2.INTER_AREA if skips else cv2.INTER_LINEAR  # by area costs six times as much
        return cv2.resize(image, (self.size, self.size), interpolation=how)


@dataclass(frozen=True)
class DrawView:
    """The training view: mirrored with p .5, then cropped around the face.

    With `margin` = (low, high), each side of the face's square box is widened by its own U(low, high) of the box and
    the window is resized to `size`; SBI's .25 U(.2, .8) is the default. With `margin` None, the window is `size`
    pixels wide at a uniform place and nothing is resampled.
    """

    size: int
    margin: tuple[float, float] | None = (0.05, 0.20)

    def __call__(self, landmarks: np.ndarray, shape: tuple[int, ...], rng: np.random.Generator) -> View:
        flip = rng.random() < 0.5
        if self.margin is None:
            return View(flip, self._window(shape, rng), self.size)
        seen = flip_landmarks(landmarks, shape[1]) if flip else landmarks
        return View(flip, self._around_face(seen, shape, rng), self.size)

    def _window(self, shape: tuple[int, ...], rng: np.random.Generator) -> Box:
        height, width = shape[:2]
        if min(height, width) < self.size:
            raise WorkbookError(
                f"a window of {self.size} pixels does not fit a stored crop of {width} x {height}",
                remedy="Store larger crops, or give a margin so that crops are resized",
            )
        x0, y0 = (int(rng.integers(side - self.size + 1)) for side in (width, height))
        return Box(x0, y0, x0 + self.size, y0 + self.size)

    def _around_face(self, landmarks: np.ndarray, shape: tuple[int, ...], rng: np.random.Generator) -> Box:
        assert self.margin is not None
        face = face_of(landmarks)
        side = max(face.width, face.height)
        left, top, right, bottom = (side * (0.5 + margin) for margin in rng.uniform(*self.margin, 4).tolist())
        x0, y0 = max(0, round(face.x - left)), max(0, round(face.y - top))
        x1, y1 = min(shape[1], round(face.x + right) + 1), min(shape[0], round(face.y + bottom) + 1)
        if min(x1 - x0, y1 - y0) < 8:
            raise WorkbookError(
                "the landmarks lie outside the picture", remedy="Landmarks must be in the pixels of the crop"
            )
        return Box(x0, y0, x1, y1)


@dataclass(frozen=True)
class PairTransform:
    """A forge as a data set's `transform(item, rng)`.

    Reads `image` (H, W, 3) uint8, `landmarks` (81, 2) and what the forge needs of the item, and replaces them by
    `real`, `fake` (S, S, 3) uint8, `mask` (S, S) float32 and `ratio`; other keys pass through.
    """

    forge: Forge

    def __call__(self, item: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        landmarks = np.asarray(item["landmarks"], np.float32).reshape(-1, 2)
        pair = self.forge(item["image"], landmarks, rng, **{key: item[key] for key in self.forge.needs})
        used = {"image", "landmarks", *self.forge.needs}
        kept = {key: value for key, value in item.items() if key not in used}
        made = {"real": pair.real, "fake": pair.fake, "mask": pair.mask, "ratio": np.float32(pair.ratio)}
        return kept | made | ({} if pair.source is None else {"source": pair.source})


Op = Callable[[np.ndarray], np.ndarray]  # (H, W, 3) uint8 -> the same, deterministic: its parameters are drawn


def apply(ops: list[Op], image: np.ndarray) -> np.ndarray:
    """Apply drawn operations in turn. The same list on two pictures is the same draw on both."""
    for op in ops:
        image = op(image)
    return image
