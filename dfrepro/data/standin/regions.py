"""Where a forgery puts its pixels: soft masks from landmarks, and warps from one face's landmarks to another's."""

import cv2
import numpy as np

from dfrepro.data.standin.noise import Array

BROWS, JAW = slice(17, 27), slice(0, 17)
GRID = 8  # pixels between the points where a landmark warp is solved


def outline(region: str, points: Array) -> Array:
    """The polygon of a region ("hull", "inner", "face", "mouth", "lower", "box") from 81 landmarks, (N, 2) pixels."""
    if region == "hull":
        shape = points[:68]
    elif region == "face":
        shape = points
    elif region == "inner":
        centre = points[30]
        shape = np.concatenate([centre + 0.80 * (points[JAW] - centre), centre + 1.12 * (points[BROWS] - centre)])
    elif region == "mouth":
        shape = np.concatenate([points[[3, 5, 6, 7, 8, 9, 10, 11, 13]] * 0.85 + 0.15 * points[57], points[[31, 35]]])
    elif region == "lower":
        shape = np.concatenate([points[3:14] * 0.92 + 0.08 * points[57], points[[28, 31, 35]]])
    elif region == "box":
        low, high = points[[36, 45, 48, 54, 57]].min(0) - 6, points[[36, 45, 48, 54, 57]].max(0) + 6
        shape = np.array([low, [high[0], low[1]], high, [low[0], high[1]]])
    else:
        raise ValueError(f"unknown region {region!r}")
    return cv2.convexHull(shape.astype(np.float32))[:, 0]


def soft_mask(region: str, points: Array, size: int, feather: float) -> Array:
    """The region as alpha in 0 .. 1, (size, size) float32; `feather` is the width of its edge in pixels (0: hard).

    The edge lies inside the outline, so nothing outside the region changes.
    """
    polygon = np.round(outline(region, points) * 16).astype(np.int32)
    canvas = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(canvas, polygon, 255, cv2.LINE_AA, shift=4)
    if feather <= 0:
        return canvas.astype(np.float32) / 255
    width = 2 * int(feather) + 1
    shrunk = cv2.erode(canvas, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width)))
    return cv2.GaussianBlur(shrunk.astype(np.float32) / 255, (0, 0), feather / 2.2)


def landmark_warp(picture: Array, source: Array, target: Array) -> Array:
    """Warp `picture` so that its 68 landmarks `source` come to lie on `target` (thin-plate spline)."""
    height, width = picture.shape[:2]
    weights = _spline(target[:68], source[:68])
    xs, ys = (np.arange(GRID / 2 - 0.5, side, GRID) for side in (width, height))
    nodes = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)
    moved = (_basis(nodes, target[:68]) @ weights).reshape(len(ys), len(xs), 2).astype(np.float32)
    u, v = (cv2.resize(moved[..., i], (width, height), interpolation=cv2.INTER_LINEAR) for i in range(2))
    return cv2.remap(picture, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _basis(points: Array, centres: Array) -> Array:
    squared = ((points[:, None] - centres) ** 2).sum(-1)
    return np.concatenate([squared * np.log(squared + 1e-6), np.ones((len(points), 1)), points], 1)


def _spline(centres: Array, values: Array, *, stiffness: float = 50.0) -> Array:
    count = len(centres)
    system = np.zeros((count + 3, count + 3))
    system[:count] = _basis(centres, centres)
    system[:count, :count] += stiffness * np.eye(count)
    system[count:, :count] = system[:count, count:].T
    return np.linalg.solve(system, np.concatenate([values, np.zeros((3, 2))]))
