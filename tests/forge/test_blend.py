"""The blend pixel by pixel, the affine draw, and the view that all members of a pair share."""

import numpy as np
import pytest
import scipy.ndimage

from dfrepro.errors import WorkbookError
from dfrepro.forge.blend import DrawView, Pair, PairTransform, View, blend, draw_affine, transform_points, warp
from dfrepro.forge.masks import Box, SoftMask, face_of


@pytest.mark.parametrize("ratio", [1.0, 0.75, 0.25])
def test_blend_is_the_weighted_mean_of_its_two_pictures_pixel_by_pixel(image, ratio):
    """FIA-USA, Eq. 1 (with SBI's ratio), in float64 and one pixel at a time."""
    rng = np.random.default_rng(0)
    box = Box(20, 35, 90, 130)
    mask = SoftMask(rng.random((95, 70), dtype=np.float32), box)
    mask.values[:10] = 0
    mask.values[-10:] = 1
    inside = rng.integers(0, 256, (95, 70, 3), dtype=np.uint8)
    blended = blend(inside, image, mask, ratio)
    full = mask.full(image.shape)
    for y in range(160):
        for x in range(160):
            weight = ratio * float(full[y, x])
            source = inside[y - box.y0, x - box.x0] if weight else image[y, x]
            exact = weight * source.astype(float) + (1 - weight) * image[y, x].astype(float)
            assert np.abs(blended[y, x] - exact).max() <= 0.5 + 1e-4


def test_outside_the_mask_the_blend_is_bit_identical(image):
    mask = SoftMask(np.ones((30, 30), np.float32), Box(50, 50, 80, 80))
    blended = blend(np.zeros((30, 30, 3), np.uint8), image, mask)
    outside = mask.full(image.shape) == 0
    np.testing.assert_array_equal(blended[outside], image[outside])
    assert (blended[~outside] == 0).all()


def test_the_affine_draw_stays_in_the_recipes_ranges(landmarks):
    face = face_of(landmarks)
    matrices = np.stack([draw_affine(face, np.random.default_rng(seed)) for seed in range(300)])
    scale = matrices[:, [0, 1], [0, 1]]
    assert (matrices[:, [0, 1], [1, 0]] == 0).all()
    assert 0.95 <= scale.min() < 0.955
    assert 1.047 < scale.max() <= 1 / 0.95
    assert np.abs(np.corrcoef(scale.T)[0, 1]) < 0.2  # x and y on their own
    centre = np.array([[face.x, face.y]])
    shift = np.abs([transform_points(matrix, centre)[0] - centre[0] for matrix in matrices]).max(0)
    np.testing.assert_allclose(shift, np.multiply((0.03, 0.015), face.frame), rtol=0.05)
    assert (shift <= np.multiply((0.03, 0.015), face.frame)).all()


def test_points_and_picture_move_together():
    """A bright dot is where its coordinates are mapped to, in the box's own pixels."""
    y, x = np.mgrid[:80, :90]
    picture = np.repeat((255 * np.exp(-((x - 40) ** 2 + (y - 33) ** 2) / 8))[..., None], 3, 2).astype(np.uint8)
    matrix = np.array([[1.05, 0, -3.2], [0, 0.96, 4.7]])
    box = Box(15, 10, 70, 60)
    moved = warp(picture, matrix, box)
    assert moved.shape == (50, 55, 3)
    found = np.array(scipy.ndimage.center_of_mass(moved[..., 0].astype(float)))[::-1] + np.array((box.x0, box.y0))
    np.testing.assert_allclose(found, transform_points(matrix, np.array([[40.0, 33.0]]))[0], atol=0.05)


def test_a_view_cuts_pictures_and_landmarks_alike(image, landmarks):
    """A mark painted at each landmark is found at the moved landmark."""
    marked = image.copy()
    x, y = np.rint(landmarks[30]).astype(int)
    marked[y - 1 : y + 2, x - 1 : x + 2] = (255, 0, 255)
    for flip in (False, True):
        view = View(flip, Box(12, 9, 150, 140), 64)
        cut = view.cut(marked)
        assert cut.shape == (131, 138, 3)
        assert cut.flags.c_contiguous
        at = np.rint(view.cut_landmarks(np.rint(landmarks), 160)[30]).astype(int)
        assert tuple(cut[at[1], at[0]]) == (255, 0, 255)


def test_a_view_is_resized_linearly_or_by_area_where_that_would_skip_pixels(image):
    for side, size in ((60, 80), (100, 70)):
        at = (np.arange(size) + 0.5) * side / size - 0.5
        grid = np.meshgrid(at, at, indexing="ij")
        channels = [scipy.ndimage.map_coordinates(image[:side, :side, c], grid, float, 1, "nearest") for c in range(3)]
        resized = View(False, Box(0, 0, side, side), size).resize(image[:side, :side])
        assert np.abs(resized - np.stack(channels, axis=-1)).max() <= 1
    means = image[:120, :120].reshape(40, 3, 40, 3, 3).mean((1, 3))
    assert np.abs(View(False, Box(0, 0, 120, 120), 40).resize(image[:120, :120]) - means).max() <= 0.5


def test_the_margin_is_sbis_unless_said_otherwise():
    """Its box crop leaves a quarter times U(.2, .8) of the face's box on each side."""
    np.testing.assert_allclose(DrawView(64).margin, np.multiply(0.25, (0.2, 0.8)))


def test_a_margin_of_none_cuts_without_resampling(image, landmarks):
    """Every window is a piece of the mirrored or unmirrored picture, and all places occur."""
    draw = DrawView(64, margin=None)
    corners = set()
    for seed in range(60):
        view = draw(landmarks, image.shape, np.random.default_rng(seed))
        cut = view.resize(view.cut(image))
        source = image[:, ::-1] if view.flip else image
        np.testing.assert_array_equal(cut, source[view.window.pixels])
        assert cut.shape == (64, 64, 3)
        corners.add((view.window.x0, view.window.y0))
    assert len(corners) > 50


def test_a_window_may_lie_at_either_end_of_a_crop_and_never_beyond(image, landmarks):
    draw = DrawView(159, margin=None)  # one pixel smaller than the crop
    windows = {draw(landmarks, image.shape, np.random.default_rng(seed)).window for seed in range(60)}
    assert windows == {Box(x, y, x + 159, y + 159) for x in (0, 1) for y in (0, 1)}


def test_margins_are_those_asked_for(landmarks):
    face = face_of(landmarks)
    side = max(face.width, face.height)
    for seed in range(50):
        view = DrawView(64, (0.05, 0.2))(landmarks, (160, 160, 3), np.random.default_rng(seed))
        x0, y0, x1, y1 = view.window
        x = 159 - face.x if view.flip else face.x
        margins = np.array([x - x0, x1 - 1 - x, face.y - y0, y1 - 1 - face.y]) / side - 0.5
        assert margins.min() > 0.05 - 1 / side
        assert margins.max() < 0.2 + 1 / side


def test_a_window_larger_than_the_stored_crop_is_an_error(landmarks):
    with pytest.raises(WorkbookError, match="window of 200 pixels"):
        DrawView(200, margin=None)(landmarks, (160, 160, 3), np.random.default_rng(0))


def test_a_pair_transform_replaces_the_picture_and_keeps_the_rest(image, landmarks):
    class Forge:
        needs = ("extra",)

        def __call__(self, image, landmarks, rng, *, extra):
            assert landmarks.shape == (81, 2)
            assert extra == "given"
            return Pair(image, image, np.zeros((160, 160), np.float32), 0.5)

    item = {"extra": "given", "image": image, "landmarks": landmarks.ravel().tolist(), "label": 0, "row": 17}
    made = PairTransform(Forge())(item, np.random.default_rng(0))
    assert set(made) == {"real", "fake", "mask", "ratio", "label", "row"}
    assert (made["row"], made["ratio"]) == (17, 0.5)
    assert "image" in item
