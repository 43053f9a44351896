"""The four outlines of a face that the self-blending recipe draws from, given its optional library.

The official code (Shiohara and Yamasaki, CVPR 2022) takes the convex hull of all landmarks, or, where a library of
masks of the Face X-ray kind can be imported, one of four with equal probability. Each is a union of convex hulls:

- "whole": jaw and mouth, both eyes with the brows, the ridge of the nose;
- "components": halves of jaw and cheeks, ridge, eyes and nose, all drawn down to the chin;
- "extended": the components, with the brows raised by half their distance from the eyes;
- "convex": the hull of all points, the forehead's among them where there are any.
"""

import cv2
import numpy as np

from dfrepro.errors import WorkbookError
from dfrepro.forge.masks import face_of, fill

SIDE = 256  # px of the raster on which hulls are united, for a face
PAD = 64  # px around it: brows and forehead rise above the box of the first 68 points
CHIN, NOSE = 8, [*range(31, 36)]

WHOLE = (
    [*range(17), *range(48, 68)],
    [27, 28, 29, 30, 33],
    [*range(17, 27), 0, 27, 16, 33],
)
COMPONENTS = (
    [*range(9), 17],
    [*range(8, 17), 26],
    [17, 18, 19, CHIN],
    [24, 25, 26, CHIN],
    [*range(19, 25), CHIN],
    [*range(17, 22), 27, *NOSE, CHIN],
    [*range(22, 27), 27, *NOSE, CHIN],
    [*range(27, 31), *NOSE],
)
KINDS = ("whole", "extended", "components", "convex")


def outline(landmarks: np.ndarray, kind: str) -> np.ndarray:
    """The border (n, 2) float32 of a mask of `kind`, one of `KINDS`, in the pixels of `landmarks` (68 | 81, 2)."""
    if kind not in KINDS:
        raise WorkbookError(f"unknown hull {kind!r}", where="SBI", remedy=f"One of {', '.join(KINDS)}")
    points = np.asarray(landmarks, np.float32)
    if kind == "convex":
        return cv2.convexHull(points)[:, 0]
    moved = _raised(points) if kind == "extended" else points
    parts = WHOLE if kind == "whole" else COMPONENTS
    return _union([cv2.convexHull(moved[part])[:, 0] for part in parts], landmarks)


def _raised(points: np.ndarray) -> np.ndarray:
    """The points with each brow moved away from its eye by half the distance between them."""
    beside_left, beside_right = (0.75 * points[eye] + 0.25 * points[jaw] for eye, jaw in ((36, 0), (45, 16)))
    left, right = np.vstack([beside_left, points[36:40]]), np.vstack([points[42:46], beside_right])  # below the brows
    raised = points.copy()
    raised[17:22] += (points[17:22] - left) / 2
    raised[22:27] += (points[22:27] - right) / 2
    return raised


def _union(polygons: list[np.ndarray], landmarks: np.ndarray) -> np.ndarray:
    """The outer border of overlapping polygons, to about half a 256th of the face."""
    face = face_of(landmarks)
    scale = SIDE / max(face.width, face.height)
    corner = np.array([face.x - face.width / 2, face.y - face.height / 2], np.float32) - PAD / scale
    raster = fill([(polygon - corner) * scale for polygon in polygons], (SIDE + 2 * PAD, SIDE + 2 * PAD))
    borders, _ = cv2.findContours(raster, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return max(borders, key=cv2.contourArea)[:, 0].astype(np.float32) / scale + corner
