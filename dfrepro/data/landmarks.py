"""The field's face detector (dlib HOG) on reduced copies, and 81 landmarks from whichever predictor is at hand.

The papers use `shape_predictor_81_face_landmarks.dat`, which its users download; with its path given, it is used.
Without it the 68-point predictor of the package face-recognition-models is, and 13 forehead points are added by
geometry (`extend_forehead`). The manifest says which: "81" or "68+13".

Points are in pixels of the picture given, a whole number being a pixel's centre. Image left is the side of point 0.
"""

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from dfrepro.errors import WorkbookError

LANDMARKS = 81
FOREHEAD = (77, 75, 76, 68, 69, 70, 71, 80, 72, 73, 79, 74, 78)  # order along the hull, from point 0's temple to 16's
LEVELS = (640, 1280, 1920)  # long sides searched, each only where the one before found no face at all
MAX_ENLARGE = 2.0  # beyond it a face is too small to be worth finding
WINDOW = 2.2  # side of the window searched around a known face, in faces
WINDOW_FACE = 110  # a known face is brought to this width: HOG's own window is 80
HAIRLINE = 0.8  # brows to hairline, in distances of brows to nose base; set on real portraits by eye
SMALLEST = 32  # pictures below this side hold no face that HOG could see
PACKAGE, MODEL = "face_recognition_models", "models/shape_predictor_68_face_landmarks.dat"


@dataclass(frozen=True)
class Detection:
    """`box` (4,) float64: x0, y0, x1, y1 in pixels of the picture; `score`: HOG's margin above its threshold."""

    box: np.ndarray
    score: float


def detect(grey: np.ndarray) -> list[Detection]:
    """All faces of `grey` (H, W) uint8 by one HOG pass on a copy of at most 640 pixels, largest first."""
    return _at(grey, min(1.0, LEVELS[0] / max(grey.shape)))


def detect_harder(grey: np.ndarray) -> list[Detection]:
    """What `detect` finds on larger copies (1280, then 1920; small pictures up to twice enlarged): small faces."""
    tried = min(1.0, LEVELS[0] / max(grey.shape))
    for long_side in LEVELS[1:]:
        scale = min(MAX_ENLARGE, long_side / max(grey.shape))
        if scale > tried and (found := _at(grey, scale)):
            return found
        tried = max(tried, scale)
    return []


def detect_near(grey: np.ndarray, box: np.ndarray) -> list[Detection]:
    """Faces of `grey` in a small window around a known `box`, brought to the size the detector likes."""
    half = _side(box) * WINDOW / 2
    centre = (box[:2] + box[2:]) / 2
    x0, y0 = np.maximum(np.floor(centre - half), 0).astype(int)
    x1, y1 = np.ceil(centre + half).astype(int)
    window = grey[y0 : max(y1, 0), x0 : max(x1, 0)]
    if not window.size:
        return []
    scale = WINDOW_FACE / _side(box)
    return _hog(_scaled(window, scale), scale, np.array([x0, y0], float))


def _at(grey: np.ndarray, scale: float) -> list[Detection]:
    return sorted(_hog(_scaled(grey, scale), scale, np.zeros(2)), key=lambda d: (-_side(d.box), tuple(d.box)))


def _hog(grey: np.ndarray, scale: float, origin: np.ndarray) -> list[Detection]:
    if min(grey.shape) < SMALLEST:
        return []
    rectangles, scores, _ = _detector().run(grey, 0, 0.0)
    boxes = [np.array([r.left(), r.top(), r.right() + 1, r.bottom() + 1]) / scale for r in rectangles]
    return [Detection(box + np.tile(origin, 2), float(score)) for box, score in zip(boxes, scores, strict=True)]


def _scaled(grey: np.ndarray, scale: float) -> np.ndarray:
    height, width = (max(round(side * scale), 1) for side in grey.shape)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.ascontiguousarray(grey if scale == 1 else cv2.resize(grey, (width, height), interpolation=way))


def _side(box: np.ndarray) -> float:
    return float(max(box[2] - box[0], box[3] - box[1]))


@lru_cache(maxsize=1)
def _detector():
    import dlib

    return dlib.get_frontal_face_detector()


class Predictor:
    """81 landmarks of a detected face. `name` ("81" | "68+13") goes into the manifest."""

    def __init__(self, path: Path | None = None):
        import dlib

        file = path if path is not None else bundled_predictor()
        if not file.is_file():
            raise WorkbookError("no such predictor", where=file, remedy="Give the path of the .dat file, or none")
        try:
            self._shape = dlib.shape_predictor(str(file))
        except RuntimeError as error:
            raise WorkbookError(f"not a dlib predictor ({error})", where=file, remedy="Download it again") from error
        points = self._shape(np.zeros((64, 64), np.uint8), dlib.rectangle(0, 0, 63, 63)).num_parts
        if points not in (68, 81):
            raise WorkbookError(f"predicts {points} points", where=file, remedy="Take one of 68 or of 81 points")
        self.name = "81" if points == 81 else "68+13"

    def __call__(self, grey: np.ndarray, box: np.ndarray) -> np.ndarray:
        """(81, 2) float64 of the face in `box` (4,) of `grey` (H, W) uint8."""
        import dlib

        x0, y0, x1, y1 = (round(float(v)) for v in box)
        shape = self._shape(grey, dlib.rectangle(x0, y0, x1 - 1, y1 - 1))
        points = np.array([(p.x, p.y) for p in shape.parts()], float)
        return points if self.name == "81" else extend_forehead(points)


@lru_cache(maxsize=2)
def load_predictor(path: Path | None = None) -> Predictor:
    """The predictor of this process: 100 MB, so it is loaded once."""
    return Predictor(path)


def bundled_predictor() -> Path:
    """The 68-point predictor's file, found without importing its package (which wants the retired pkg_resources)."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (file := Path(folder) / MODEL).is_file():
            return file
    remedy = "Install face-recognition-models, or give the path of shape_predictor_81_face_landmarks.dat"
    raise WorkbookError("no landmark predictor at hand", where=PACKAGE, remedy=remedy)


def extend_forehead(points: np.ndarray) -> np.ndarray:
    """Add the 13 forehead points to 68: (68, 2) -> (81, 2), by the rule of thirds.

    Hairline to brows is nearly as far as brows to the base of the nose (`HAIRLINE`). The points lie, evenly in angle,
    on two quarter ellipses that meet above the brows' inner ends and end above the temples (points 0 and 16). Each
    half has its temple's distance to the face's midline as its axis, so a turned head keeps its foreshortened
    side. Equivariant to shift, turn and scale.
    """
    temples = points[[0, 16]]
    brows = points[[21, 22]].mean(axis=0)  # their inner ends: on the midline of a turned head too
    nose_base = points[33]
    across = _unit(temples[1] - temples[0])
    up = _unit(brows - nose_base)
    apex = brows + up * HAIRLINE * np.linalg.norm(brows - nose_base)
    centre = temples[0] + across * np.dot(brows - temples[0], across)  # where the midline meets the temples' line
    angles = np.linspace(0, np.pi, len(FOREHEAD) + 2)[1:-1]  # without the temples themselves
    axis = np.where(angles[:, None] < np.pi / 2, temples[0] - centre, centre - temples[1])  # (13, 2)
    arc = centre + np.cos(angles)[:, None] * axis + np.sin(angles)[:, None] * (apex - centre)
    full = np.concatenate([points, np.empty((13, 2))])
    full[list(FOREHEAD)] = arc
    return full


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)
