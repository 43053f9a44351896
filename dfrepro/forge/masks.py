"""Blending masks from facial landmarks: SBI's soft hull and the five kinds of FIA-USA (Sec. 3.1, MTMS, Eq. 2).

The self-blending recipe (FIELD-NOTES, "SBI constants") warps a raster of the face by an affine map and an elastic
field, resizes it to U{192..256}^2 and blurs it twice. Here the same mask is made with one raster and one blur:

- the warp of a filled region is the filled warp of its boundary, so points are moved, not pixels;
- "blur, divide by the maximum, keep what is 1" is an erosion by the kernel's window, so it is computed as one;
- only the region's own box is rasterised, in the recipe's frame: it sees a crop of (2 w) x (2.4 h) around a face of
  w x h, so kernels have the recipe's size relative to the face, whatever the size and margin of the stored crop.

Left out: the erosion's and the blur's dependence on the crop's border, which a face crop does not reach.
"""

import math
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import cv2
import numpy as np

from dfrepro.data.landmarks import FOREHEAD
from dfrepro.errors import WorkbookError

# the 81 landmarks are iBUG's 68, then 13 of the forehead, of which FOREHEAD is the order along the hairline
JAW, LEFT_EYE, RIGHT_EYE, OUTER_LIPS = range(17), range(36, 42), range(42, 48), range(48, 60)
EYES = (*LEFT_EYE, *RIGHT_EYE)

MASK_KINDS: dict[str, tuple[Sequence[int] | None, ...]] = {  # one convex hull a part; None: all points
    "hull": (None,),
    "rectangle": (None,),  # of the four extreme points: the box around the face
    "eyes": (EYES,),  # M_e = H(K_eyes) is one hull, over the bridge of the nose
    "mouth": (OUTER_LIPS,),
    "eyes+mouth": (EYES, OUTER_LIPS),
}
MACRO, MICRO = ("hull", "rectangle"), ("eyes", "mouth", "eyes+mouth")

RASTER_SIZES = (192, 256)  # px, inclusive
KERNELS = range(5, 26, 2)  # px of the raster
SECOND_SIGMAS = (5, 45)  # px of the raster, inclusive
# the recipe's field, alpha 50 and sigma 7, is in pixels of its crop before the raster: of FF++'s videos, about 340 wide
RECIPE_CROP = 340
SHRINK = sum(RASTER_SIZES) / 2 / RECIPE_CROP
ELASTIC_ALPHA, ELASTIC_SIGMA = 50.0 * SHRINK**2, 7.0 * SHRINK  # px of the raster; the spread goes as alpha / sigma
FIELD_STRIDE = 4  # the elastic field is smooth over 4.6 px: every fourth pixel holds nearly all of it
FIELD_LIMIT = 2.6  # px, 3.4 standard deviations of the field: bounds how far a mask leaves its hull
SUBPIXEL = 4  # bits
MAX_ZOOM = 4.0  # an eye or a mouth is drawn on a raster that much finer, or its few pixels would show as steps


class Face(NamedTuple):
    """Bounding box of the first 68 landmarks: centre and extent, in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def frame(self) -> tuple[float, float]:
        """Width and height of the crop that SBI's constants refer to: margins w/2 a side, h above, 0.4 h below."""
        return 2.0 * self.width, 2.4 * self.height


class Box(NamedTuple):
    """Pixels [x0, x1) x [y0, y1)."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def pixels(self) -> tuple[slice, slice]:
        return slice(self.y0, self.y1), slice(self.x0, self.x1)


class SoftMask(NamedTuple):
    """A mask that is zero outside `box`: `values` (y1 - y0, x1 - x0) float32 in [0, 1]."""

    values: np.ndarray
    box: Box

    def full(self, shape: tuple[int, ...]) -> np.ndarray:
        """The mask as a picture: (H, W) float32."""
        picture = np.zeros(shape[:2], np.float32)
        picture[self.box.pixels] = self.values
        return picture


def face_of(landmarks: np.ndarray) -> Face:
    """The box of the first 68 of (68 | 81, 2) landmarks. Raises WorkbookError for unusable landmarks."""
    if landmarks.ndim != 2 or landmarks.shape[0] not in (68, 81) or landmarks.shape[1] != 2:
        raise WorkbookError(f"landmarks have shape {landmarks.shape}", remedy="Give (81, 2) or (68, 2) points")
    low, high = landmarks[:68].min(0), landmarks[:68].max(0)
    width, height = (float(side) for side in high - low)
    if not (width >= 2 and height >= 2):  # NaN fails too
        raise WorkbookError(
            f"the landmarks span {width:g} x {height:g} pixels",
            remedy="Extract this face again, or leave its row out",
        )
    return Face(float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2, width, height)


def _mirror_permutation() -> np.ndarray:
    mirror = np.arange(81)
    mirror[list(JAW)] = np.arange(16, -1, -1)
    pairs = [(17, 26), (18, 25), (19, 24), (20, 23), (21, 22), (31, 35), (32, 34)]  # brows, nostrils
    pairs += [(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]  # eyes
    pairs += [(48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67)]  # lips
    pairs += [*zip(FOREHEAD, reversed(FOREHEAD), strict=True)]
    for left, right in pairs:
        mirror[left], mirror[right] = right, left
    return mirror


MIRROR = _mirror_permutation()


def flip_landmarks(landmarks: np.ndarray, width: int) -> np.ndarray:
    """Landmarks (68 | 81, 2) of the mirrored picture of `width` pixels: point i is again the point named i."""
    flipped = landmarks[MIRROR[: len(landmarks)]].copy()
    flipped[:, 0] = width - 1 - flipped[:, 0]
    return flipped


def regions(landmarks: np.ndarray, kind: str = "hull", *, each_eye: bool = False) -> list[np.ndarray]:
    """The convex hulls (n, 2) float32 that make up a mask of `kind`, one of `MASK_KINDS`.

    A rectangle is the upright box through the four extreme points: FIA-USA's "rectangular approximation" of the face's
    contour (Sec. 3.1; "a square", App. B.2). `each_eye`: a hull for either eye, in place of one for both.
    """
    if kind not in MASK_KINDS:
        raise WorkbookError(f"unknown mask kind {kind!r}", remedy=f"Choose one of {', '.join(MASK_KINDS)}")
    points = np.asarray(landmarks, np.float32)
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points.min(0), points.max(0)
        return [np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float32)]
    parts = [
        one for part in MASK_KINDS[kind] for one in ((LEFT_EYE, RIGHT_EYE) if each_eye and part == EYES else (part,))
    ]
    return [cv2.convexHull(points if part is None else points[list(part)])[:, 0] for part in parts]


def hard_mask(parts: list[np.ndarray], shape: tuple[int, ...]) -> SoftMask:
    """Filled polygons `parts`, (n, 2) each in pixels of a picture of `shape`: a mask of 0 and 1, nothing softened."""
    box = _bounding_box(parts, pad=np.zeros(2))
    filled = fill([part - box[:2] for part in parts], (box.y1 - box.y0, box.x1 - box.x0))
    return _in_picture(filled.astype(np.float32), box, shape)


def soft_mask(
    parts: list[np.ndarray], face: Face, shape: tuple[int, ...], rng: np.random.Generator, elastic: bool = True
) -> SoftMask:
    """Fill, jitter, erode and blur a region of a picture.

    `parts` are closed polygons (n, 2) in pixels, `shape` the picture's (H, W, ...). Each part is softened by kernels
    of its own size, and has its maximum of 1 in the picture or beyond its border (before the resizing to the picture's
    pixels). The mask ends within `FIELD_LIMIT` plus half a blur kernel of its region.
    """
    scale = rng.integers(RASTER_SIZES[0], RASTER_SIZES[1] + 1, 2) / face.frame  # raster px per picture px
    kernels = draw_kernels(rng)
    sizes = [_relative_size(part, face) for part in parts]
    box = _bounding_box(parts, pad=(FIELD_LIMIT + max(sizes) * kernels.second / 2 + 1) / scale)
    extent = box.x1 - box.x0, box.y1 - box.y0
    width, height = (math.ceil(side) for side in extent * scale)
    scale = (width, height) / np.array(extent)
    polygons = [_resized(boundary(part, 2 / scale.max()) - box[:2], scale) for part in parts]
    if elastic:
        field = elastic_field((height, width), rng)
        polygons = [_displaced(polygon, field) for polygon in polygons]
    raster = _soft_raster(polygons, sizes, (height, width), kernels)
    how = cv2.INTER_AREA if raster.shape[1] > 2 * extent[0] else cv2.INTER_LINEAR
    values = cv2.resize(raster, extent, interpolation=how)
    return _in_picture(np.minimum(values, 1, out=values), box, shape)  # a mean of ones may round up


class Kernels(NamedTuple):
    """The two blurs of the recipe, in raster pixels; `sigma` is the second's."""

    first: int
    second: int
    sigma: float

    def scaled(self, by: float) -> "Kernels":
        return Kernels(odd(self.first * by), odd(self.second * by), self.sigma * by)


def draw_kernels(rng: np.random.Generator) -> Kernels:
    first, second = (KERNELS[i] for i in rng.integers(len(KERNELS), size=2))
    return Kernels(first, second, float(rng.integers(SECOND_SIGMAS[0], SECOND_SIGMAS[1] + 1)))


def _soft_raster(
    polygons: list[np.ndarray], sizes: list[float], shape: tuple[int, int], kernels: Kernels
) -> np.ndarray:
    """The union of softened polygons, drawn finer where parts are small: kernels then keep the recipe's size there."""
    zoom = min(MAX_ZOOM, 1 / min(sizes))
    rows, columns = (math.ceil(side * zoom) for side in shape)
    finer = np.array((columns, rows)) / shape[::-1]
    parts = (
        soften(fill([_resized(polygon, finer)], (rows, columns)), *kernels.scaled(size * zoom))
        for polygon, size in zip(polygons, sizes, strict=True)
    )
    return reduce(np.maximum, parts)


def fill(polygons: list[np.ndarray], shape: Sequence[int]) -> np.ndarray:
    """Union of filled polygons, (H, W) uint8 in {0, 1}; a pixel that an outline touches is inside: never empty."""
    raster = np.zeros((int(shape[0]), int(shape[1])), np.uint8)
    for polygon in polygons:
        points = np.rint(polygon * (1 << SUBPIXEL)).astype(np.int32)
        cv2.fillPoly(raster, [points], 1, shift=SUBPIXEL)  # one at a time: together, overlaps would be holes
    return raster


def soften(mask: np.ndarray, k1: int, k2: int, sigma: float) -> np.ndarray:
    """Erode `mask` (H, W) by a k1 x k1 window, blur by a k2 x k2 Gaussian, scale to a maximum of 1: float32.

    The recipe writes the erosion as a first blur of which only the ones are kept. A blurred pixel is 1 exactly where
    the whole window is, so this is the same, but it does not rest on a sum of floats being 1. (In uint8 the blur
    rounds everything above one half up to 1, and the erosion vanishes.) A region too thin for k1 is eroded by the
    largest window that leaves some of it.
    """
    inside = (mask >= 1).view(np.uint8)
    core = cv2.erode(inside, np.ones((k1, k1), np.uint8), borderType=cv2.BORDER_REPLICATE)
    while k1 > 1 and not core.any():
        k1 -= 2
        core = cv2.erode(inside, np.ones((k1, k1), np.uint8), borderType=cv2.BORDER_REPLICATE)
    soft = cv2.GaussianBlur(core.astype(np.float32), (k2, k2), sigma, borderType=cv2.BORDER_REPLICATE)
    return np.divide(soft, soft.max(), out=soft)


def elastic_field(shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Displacements in raster pixels for every `FIELD_STRIDE`-th pixel of (H, W): (H/4 + 2, W/4 + 2, 2) float32.

    Smoothed uniform noise, as in the recipe. Its standard deviation falls as 1/sigma counted in samples, so that on
    the coarse grid alpha shrinks with sigma.
    """
    rows, columns = (int(side) // FIELD_STRIDE + 2 for side in shape)
    noise = rng.random((rows, columns, 2), dtype=np.float32) * 2 - 1
    smooth = cv2.GaussianBlur(noise, (0, 0), ELASTIC_SIGMA / FIELD_STRIDE)
    return np.clip(smooth * (ELASTIC_ALPHA / FIELD_STRIDE), -FIELD_LIMIT, FIELD_LIMIT)


def boundary(polygon: np.ndarray, spacing: float) -> np.ndarray:
    """The closed polygon (n, 2) resampled to points at most `spacing` apart: (m, 2) float64."""
    x, y = closed = np.concatenate([polygon, polygon[:1]]).astype(np.float64).T.copy()  # (2, n + 1)
    length = np.zeros(closed.shape[1])
    np.hypot(*(closed[:, 1:] - closed[:, :-1])).cumsum(out=length[1:])
    at = np.concatenate([length[:-1], np.arange(0.0, length[-1], spacing)])
    at.sort()  # corners stay
    points = np.empty((len(at), 2))
    points[:, 0], points[:, 1] = np.interp(at, length, x), np.interp(at, length, y)
    return points


def odd(kernel: float) -> int:
    """The odd integer nearest to `kernel`, at least 1."""
    return max(1, 2 * int(kernel / 2) + 1)


def _displaced(polygon: np.ndarray, field: np.ndarray) -> np.ndarray:
    points = polygon.astype(np.float32)  # (m, 2)
    x, y = np.ascontiguousarray(points.T / np.float32(FIELD_STRIDE))[:, None]  # (1, m) each
    return points + cv2.remap(field, x, y, cv2.INTER_LINEAR)[0]


def _resized(points: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Points of a picture that is resized by `scale`: pixel centres lie on whole numbers before and after."""
    return (points + 0.5) * scale - 0.5


def _relative_size(part: np.ndarray, face: Face) -> float:
    """Side of a part relative to a face's hull, in (0, 1]: kernels shrink with an eye or a mouth."""
    area = cv2.contourArea(part.astype(np.float32))
    return min(max(math.sqrt(area / (0.75 * face.width * face.height)), 0.02), 1.0)


def _bounding_box(parts: list[np.ndarray], pad: np.ndarray) -> Box:
    points = parts[0] if len(parts) == 1 else np.concatenate(parts)
    low, high = np.floor(points.min(0) - pad), np.ceil(points.max(0) + pad) + 1
    return Box(int(low[0]), int(low[1]), int(high[0]), int(high[1]))


def _in_picture(values: np.ndarray, box: Box, shape: tuple[int, ...]) -> SoftMask:
    height, width = shape[:2]
    inner = Box(max(box.x0, 0), max(box.y0, 0), min(box.x1, width), min(box.y1, height))
    if inner.x0 >= inner.x1 or inner.y0 >= inner.y1:
        raise WorkbookError(
            "the landmarks lie outside the picture",
            where=f"region {tuple(box)} of a picture of {width} x {height}",
            remedy="Landmarks must be in the pixels of the crop",
        )
    cut = values[inner.y0 - box.y0 : inner.y1 - box.y0, inner.x0 - box.x0 : inner.x1 - box.x0]
    return SoftMask(np.ascontiguousarray(cut), inner)
