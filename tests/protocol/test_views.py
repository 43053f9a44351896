"""How faces are cut and shown: against the rules' own definitions, and independent solutions."""

import cv2
import numpy as np
import pytest

from dfrepro.data.dataset import centre
from dfrepro.evaluate.corruptions import corrupt
from dfrepro.protocol.declared import Protocol
from dfrepro.protocol.views import FIVE, PLACES, View, aligned, oval, similarity

META, GIVEN = {"size": 60, "margin": 0.25}, {"crop": 0.1, "backbone": {"image_size": 32}}
FACES = np.random.default_rng(0).integers(0, 256, (2, 60, 60, 3), dtype=np.uint8)
POINTS = np.random.default_rng(1).uniform(15, 45, (2, 81, 2))


def show(**choices) -> np.ndarray:
    return View.of(Protocol(**choices)).show(FACES, POINTS, META, GIVEN)


def test_ours_is_the_centre_that_a_run_is_tested_on():
    assert np.array_equal(show(), centre(FACES, 48))  # 60 x 1.2 / 1.5


@pytest.mark.parametrize(("margin", "side"), [(0, 40), (0.25, 60)])
def test_a_margin_is_a_share_of_the_face(margin, side):
    assert np.array_equal(show(crop={"margin": margin}), centre(FACES, side))


def test_resizing_and_keeping_are_to_the_networks_side():
    expected = np.stack([cv2.resize(face, (32, 32), interpolation=cv2.INTER_NEAREST) for face in centre(FACES, 48)])
    assert np.array_equal(show(resize="nearest"), expected)
    assert show(stored=0.5).shape == (2, 16, 16, 3)
    assert show(stored=0.5, resize="cubic").shape == (2, 32, 32, 3)


def test_compression_is_of_the_crop():
    plain = show()
    strong, weak = show(compression="jpeg-10"), show(compression="jpeg-95")
    assert np.abs(strong.astype(int) - plain).mean() > np.abs(weak.astype(int) - plain).mean() > 0
    assert np.array_equal(show(compression="h264-40"), corrupt(plain, "video", 5))  # level 5 is CRF 40


def test_the_rectangle_round_all_points_is_stretched():
    face = np.zeros((60, 60, 3), np.uint8)
    face[20:40, 10:20] = 200  # 20 high, 10 wide
    points = np.array([[10, 20], [19, 39]] + [[15, 30]] * 79, float)
    assert (oval(face, points, 0, 32) == 200).all()
    with_margin = oval(face, points, 0.5, 32)[..., 0] > 100
    assert with_margin.sum() / 32**2 == pytest.approx(0.25, abs=0.05)
    outside = points - [15, 0]  # the picture's edge is repeated
    assert oval(face, outside, 0, 16).shape == (16, 16, 3)


def test_a_similarity_is_the_least_squares_solution():
    rng = np.random.default_rng(2)
    source, target = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    # unknowns a, b, s, t of x' = a x - b y + s, y' = b x + a y + t
    one, zero = np.ones(5), np.zeros(5)
    rows = np.concatenate([np.stack([source[:, 0], -source[:, 1], one, zero], 1),
                           np.stack([source[:, 1], source[:, 0], zero, one], 1)])  # fmt: skip
    a, b, s, t = np.linalg.lstsq(rows, np.concatenate([target[:, 0], target[:, 1]]), rcond=None)[0]
    np.testing.assert_allclose(similarity(source, target), [[a, -b, s], [b, a, t]], atol=1e-12)


def test_an_aligned_face_has_its_eyes_at_deepfakebenchs_places_however_it_was_turned():
    side, dot = 112, 4
    points = np.full((81, 2), 150.0)
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    points[list(FIVE)] = (PLACES - 56) @ turn.T * 1.5 + 150
    picture = np.zeros((300, 300, 3), np.uint8)
    for x, y in points[list(FIVE)]:
        cv2.circle(picture, (round(x), round(y)), dot, (255, 255, 255), -1)
    found = aligned(picture, points, 0.0, side)
    expected = (PLACES + 0.15 * 112) / 1.3  # scale 1.3: a margin of .15 a side, and the whole brought to 112
    for x, y in expected:
        assert found[round(y), round(x)].min() > 200
    assert (found[..., 0] > 128).mean() < 0.02


def test_views_are_equal_where_a_network_sees_the_same():
    ours = View.of(Protocol())
    assert View.of(Protocol(aggregate="max", key="folder", frames=3, average="probability")) == ours
    assert View.of(Protocol(compression="jpeg-60")) != ours
    together = [View.of(Protocol(compression="h264-30", frames=n)) for n in (4, 8)]
    assert together[0] != together[1]  # frames of a clip are predicted from each other
    assert View.of(Protocol(crop={"margin": 0.3})).is_wide(0.25)
    assert View.of(Protocol(crop={"rule": "oval"})).is_wide(0.25)
    assert not View.of(Protocol(crop={"margin": 0.25})).is_wide(0.25)
