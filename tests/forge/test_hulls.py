"""The four outlines that self-blending draws from: unions of hulls, of the official masks' areas."""

import cv2
import numpy as np
import pytest
import scipy.spatial
import skimage.data

from dfrepro.data.landmarks import detect, load_predictor
from dfrepro.errors import WorkbookError
from dfrepro.forge.hulls import COMPONENTS, KINDS, WHOLE, _raised, outline
from dfrepro.forge.masks import face_of, flip_landmarks
from dfrepro.forge.sbi import SelfBlend


def area(kind: str, points: np.ndarray) -> float:
    """Of the outline, in boxes of the face."""
    face = face_of(points)
    return cv2.contourArea(outline(points, kind)) / (face.width * face.height)


@pytest.mark.parametrize(("kind", "parts"), [("whole", WHOLE), ("components", COMPONENTS)])
def test_an_outline_bounds_the_points_that_lie_in_any_of_its_hulls(landmarks, kind, parts):
    """By half-planes, on a grid: brute force."""
    y, x = np.mgrid[:160, :160]
    grid = np.stack([x, y], -1).reshape(-1, 2).astype(float)
    wide = [part for part in parts if np.ptp(landmarks[part], axis=0).min() > 1]  # the sketch's nose ridge is a line
    equations = [scipy.spatial.ConvexHull(landmarks[part]).equations for part in wide]
    inside = np.any([(grid @ e[:, :2].T + e[:, 2]).max(1) <= 0 for e in equations], axis=0)
    border = outline(landmarks, kind)
    distance = np.array([cv2.pointPolygonTest(border, tuple(point), True) for point in grid])  # inside: positive
    assert (distance[inside] > -0.5).all()
    assert (distance[~inside] < 0.5).all()


def test_the_convex_hull_is_scipys(landmarks):
    expected = scipy.spatial.ConvexHull(landmarks).volume  # in the plane: its area
    assert cv2.contourArea(outline(landmarks, "convex")) == pytest.approx(expected, rel=1e-5)


def test_extended_is_the_components_with_raised_brows(landmarks):
    """A brow's middle point rises by half of its distance from the eye's upper lid."""
    top = outline(landmarks, "extended")[:, 1].min()
    brow, lid = landmarks[19, 1], landmarks[37, 1]
    assert top == pytest.approx(brow - (lid - brow) / 2, abs=1)
    assert outline(landmarks, "components")[:, 1].min() == pytest.approx(landmarks[17:27, 1].min(), abs=1)


def test_brows_are_raised_alike_on_either_side(landmarks):
    points = (landmarks + np.random.default_rng(0).normal(0, 1.5, landmarks.shape)).astype(np.float32)
    mirrored = flip_landmarks(_raised(flip_landmarks(points, 160)), 160)
    np.testing.assert_allclose(mirrored[17:27], _raised(points)[17:27], atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mirrored_face_has_an_outline_of_the_same_area(landmarks, kind):
    points = landmarks + np.random.default_rng(0).normal(0, 1.5, landmarks.shape)
    mirrored = outline(flip_landmarks(points.astype(np.float32), 160), kind)
    assert cv2.contourArea(mirrored) == pytest.approx(
        cv2.contourArea(outline(points, kind)), rel=5e-3
    )  # drawn on a raster


def test_on_a_photograph_the_areas_are_the_official_masks():
    """Means over 13 real faces of the official code's masks: .805 .867 .803 1.050 of the face's box."""
    grey = cv2.cvtColor(skimage.data.astronaut(), cv2.COLOR_RGB2GRAY)
    points = load_predictor(None)(grey, detect(grey)[0].box)
    assert area("whole", points) == pytest.approx(0.805, abs=0.04)
    assert area("extended", points) == pytest.approx(0.867, abs=0.06)
    assert area("components", points) == pytest.approx(0.803, abs=0.04)
    assert area("convex", points) == pytest.approx(1.05, abs=0.12)  # a quarter of the official ones had no forehead


def test_the_four_are_drawn_equally_often_and_the_default_draws_none(image, landmarks, monkeypatch):
    from dfrepro.forge import sbi

    seen = []
    monkeypatch.setattr(sbi, "outline", lambda points, kind: seen.append(kind) or outline(points, kind))
    for seed in range(120):
        SelfBlend(64, hulls="four")(image, landmarks, np.random.default_rng(seed))
    assert set(seen) == set(KINDS)
    assert min(seen.count(kind) for kind in KINDS) > 15
    seen.clear()
    SelfBlend(64)(image, landmarks, np.random.default_rng(0))
    assert seen == ["convex"]


def test_an_unknown_hull_is_an_error(landmarks):
    with pytest.raises(WorkbookError, match="round"):
        outline(landmarks, "round")
    with pytest.raises(WorkbookError, match="round"):
        SelfBlend(64, hulls="round")
