"""How a face is shown to a network under a protocol: cut, kept, compressed and resized, out of a store's crop."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from dfrepro.data.dataset import centre
from dfrepro.evaluate.corruptions import jpeg, video
from dfrepro.protocol.declared import Protocol
from dfrepro.train.draws import window

METHODS = {
    "area": cv2.INTER_AREA,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "nearest": cv2.INTER_NEAREST,
}
# DeepfakeBench, preprocessing/preprocess.py, img_align_crop: points of the 68 and where they go in 112 x 112 pixels
FIVE = (37, 44, 30, 49, 55)  # an eye, the other, nose, both corners of the mouth
PLACES = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
ALIGNED_SIDE, ALIGNED_SCALE = 112, 1.3


@dataclass(frozen=True)
class View:
    """What decides a network's score of one face. Two protocols with equal views share it.

    `margin` None: that of the run's training, out of which `side`, the network's input, follows.
    """

    rule: str
    margin: float | None
    resize: str
    stored: float
    compression: str
    clip: int  # frames of a clip that are compressed together; 0 where each face is by itself

    @classmethod
    def of(cls, protocol: Protocol) -> "View":
        crop, together = protocol.crop, protocol.compression.startswith("h264")
        return cls(
            crop.rule, crop.margin, protocol.resize, protocol.stored, protocol.compression,
            (protocol.frames if protocol.spread == "equal" else -protocol.frames) if together else 0,
        )  # fmt: skip

    @property
    def name(self) -> str:
        """Of a file."""
        parts = (self.rule, self.margin, self.resize, self.stored or "whole", self.compression or "plain", self.clip)
        return "_".join(map(str, parts))

    def is_wide(self, stored_margin: float) -> bool:
        """Whether it may need more of the picture than a store with this margin has."""
        return self.rule != "landmarks" or (self.margin or 0.0) > stored_margin

    def show(self, faces: np.ndarray, landmarks: np.ndarray, meta: dict[str, Any], spec: dict[str, Any]) -> np.ndarray:
        """Stored crops (B, S, S, 3) uint8 of one video and their landmarks (B, 81, 2) -> (B, T, T, 3) for the network.

        meta: the store's; spec: the run's. T is what the rule cuts where the network resizes by itself.
        """
        side: int = spec["backbone"]["image_size"]
        kept = round(self.stored * side) if self.stored else 0
        if self.rule == "landmarks":
            shown = centre(faces, window(spec if self.margin is None else {"crop": self.margin}, meta))
            if kept:
                shown = resized(shown, kept, "cubic" if shown.shape[1] < kept else "area")
        else:
            cut = oval if self.rule == "oval" else aligned
            margin = spec["crop"] if self.margin is None else self.margin
            shown = np.stack([cut(face, points, margin, kept or side) for face, points in zip(faces, landmarks)])
        shown = compressed(shown, self.compression)
        return shown if self.resize == "network" else resized(shown, side, self.resize)


def oval(face: np.ndarray, points: np.ndarray, margin: float, side: int) -> np.ndarray:
    """The upright rectangle round all 81 `points`, the forehead's included, with `margin` of its width and height a
    side, stretched to (side, side, 3): what SBI's code does with a detector's box. Outside repeats the edge."""
    low, high = points.min(axis=0), points.max(axis=0) + 1
    reach = margin * (high - low)
    x0, y0 = np.floor(low - reach).astype(int)
    x1, y1 = np.ceil(high + reach).astype(int)
    pad = max(-x0, -y0, x1 - face.shape[1], y1 - face.shape[0], 0)
    around = cv2.copyMakeBorder(face, pad, pad, pad, pad, cv2.BORDER_REPLICATE) if pad else face
    return cv2.resize(around[y0 + pad : y1 + pad, x0 + pad : x1 + pad], (side, side), interpolation=cv2.INTER_LINEAR)


def aligned(face: np.ndarray, points: np.ndarray, margin: float, side: int) -> np.ndarray:
    """Eyes, nose and mouth brought to DeepfakeBench's places by the nearest similarity: (side, side, 3).

    `margin` is not used: the rule has its scale. Outside of the stored crop is black, as in the original.
    """
    border = (ALIGNED_SCALE - 1) * ALIGNED_SIDE / 2
    places = (PLACES + border) * side / (ALIGNED_SIDE * ALIGNED_SCALE)
    return cv2.warpAffine(face, similarity(points[list(FIVE)], places), (side, side), flags=cv2.INTER_LINEAR)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(2, 3): the rotation, scale and shift without a mirror that bring points (N, 2) nearest to `target` (N, 2)."""
    z, w = source @ [1, 1j], target @ [1, 1j]
    turn = np.vdot(z - z.mean(), w - w.mean()) / np.vdot(z - z.mean(), z - z.mean()).real
    shift = w.mean() - turn * z.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def resized(faces: np.ndarray, side: int, method: str) -> np.ndarray:
    """Faces (B, S, S, 3) uint8 at (B, side, side, 3), by one of `METHODS`."""
    if faces.shape[1] == side:
        return faces
    return np.stack([cv2.resize(face, (side, side), interpolation=METHODS[method]) for face in faces])


def compressed(faces: np.ndarray, how: str) -> np.ndarray:
    """Faces (B, S, S, 3) through "jpeg-QUALITY" each, or through "h264-CRF" as one clip; "" as they are."""
    if not how:
        return faces
    kind, _, level = how.partition("-")
    change: Callable[..., np.ndarray] = jpeg if kind == "jpeg" else video
    return change(faces, float(level), [np.random.default_rng(0)] * len(faces))
