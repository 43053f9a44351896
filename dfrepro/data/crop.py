"""The one crop rule of the workbook: a square around the 68 landmarks, with a margin, brought to a fixed size.

Square, centred on the bounding box of the first 68 landmarks, side = max(width, height) (1 + 2 margin), rounded to
whole pixels. Area averaging when shrinking, bicubic when enlarging. What lies outside the picture repeats its edge.
"""

import cv2
import numpy as np

MAX_BEYOND = 2.0  # a box wider than this many pictures comes from broken landmarks


def crop_box(landmarks: np.ndarray, margin: float) -> np.ndarray:
    """(4,) float64 x0, y0, x1, y1 of the square for `landmarks` (>= 68, 2); whole numbers, x1 and y1 exclusive."""
    low, high = landmarks[:68].min(axis=0), landmarks[:68].max(axis=0) + 1
    side = max(round(float((high - low).max()) * (1 + 2 * margin)), 1)
    corner = np.round((low + high - side) / 2)
    return np.concatenate([corner, corner + side])


def is_plausible(box: np.ndarray, height: int, width: int) -> bool:
    """Whether `box` meets the picture and is not absurdly larger."""
    meets = (box[:2] < (width, height)).all() and (box[2:] > 0).all()
    return bool(np.isfinite(box).all() and meets and box[2] - box[0] <= MAX_BEYOND * max(height, width))


def crop(picture: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    """`box` of `picture` (H, W[, 3]) uint8 as (size, size[, 3]) uint8."""
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = (int(v) for v in box)
    inside = picture[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    edges = (max(-y0, 0), max(y1 - height, 0), max(-x0, 0), max(x1 - width, 0))  # top, bottom, left, right
    if any(edges):
        inside = cv2.copyMakeBorder(inside, *edges, cv2.BORDER_REPLICATE)
    return _resized(inside, size, cv2.INTER_CUBIC)


def crop_mask(mask: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    """`box` of `mask` (H, W) uint8 as (size, size) uint8; nothing is manipulated outside the picture."""
    height, width = mask.shape
    x0, y0, x1, y1 = (int(v) for v in box)
    inside = mask[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    edges = (max(-y0, 0), max(y1 - height, 0), max(-x0, 0), max(x1 - width, 0))
    return _resized(cv2.copyMakeBorder(inside, *edges, cv2.BORDER_CONSTANT, value=0), size, cv2.INTER_LINEAR)


def to_crop(points: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    """Points (..., 2) of the picture in pixels of its crop; whole numbers are pixel centres on both sides."""
    scale = size / (box[2] - box[0])
    return (points - box[:2] + 0.5) * scale - 0.5


def to_source(points: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    """The inverse of `to_crop`."""
    scale = (box[2] - box[0]) / size
    return (points + 0.5) * scale - 0.5 + box[:2]


def _resized(square: np.ndarray, size: int, enlarging: int) -> np.ndarray:
    if square.shape[0] == size:
        return np.ascontiguousarray(square)
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if square.shape[0] > size else enlarging)
