"""Hulls, fills, erosion and blur against brute force, and what every mask must hold."""

import cv2
import numpy as np
import pytest
import scipy.ndimage
import scipy.spatial

from dfrepro.errors import WorkbookError
from dfrepro.forge import masks
from dfrepro.forge.masks import (
    FIELD_LIMIT,
    FIELD_STRIDE,
    FOREHEAD,
    MASK_KINDS,
    MICRO,
    MIRROR,
    Kernels,
    _relative_size,
    boundary,
    draw_kernels,
    elastic_field,
    face_of,
    fill,
    flip_landmarks,
    hard_mask,
    odd,
    regions,
    soft_mask,
    soften,
)


def distance_to_hull(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Signed distance of every pixel centre to the hull's half-planes, negative inside: brute force, (H, W)."""
    equations = scipy.spatial.ConvexHull(points).equations  # normal . x + offset <= 0 inside
    y, x = np.mgrid[: shape[0], : shape[1]]
    grid = np.stack([x, y], axis=-1)
    return (grid @ equations[:, :2].T + equations[:, 2]).max(-1)


@pytest.mark.parametrize("seed", range(20))
def test_a_filled_hull_is_the_points_inside_every_half_plane(seed):
    points = np.random.default_rng(seed).uniform(5, 95, (81, 2)).astype(np.float32)
    filled = fill(regions(points), (100, 100)).astype(bool)
    distance = distance_to_hull(points, (100, 100))
    assert filled[distance <= -1 / 16].all()  # corners are rounded to sixteenths
    assert not filled[distance > 1].any()  # the outline's own pixels count as inside


def test_the_hull_holds_all_landmarks_and_the_forehead_matters(landmarks):
    with_forehead, without = (fill(regions(points), (160, 160)) for points in (landmarks, landmarks[:68]))
    x, y = np.rint(landmarks).astype(int).T
    near = cv2.dilate(with_forehead, np.ones((3, 3), np.uint8))  # a corner of the hull between pixels
    assert near[y, x].all()
    assert with_forehead.sum() > 1.2 * without.sum()
    assert (with_forehead >= without).all()


def test_a_mirrored_face_has_its_parts_where_they_belong(landmarks):
    """The schematic face is symmetric about x = .5 of the crop, so mirroring with renaming returns it."""
    np.testing.assert_allclose(flip_landmarks(landmarks, 161), landmarks, atol=1e-3)
    np.testing.assert_array_equal(flip_landmarks(landmarks[:68], 161), flip_landmarks(landmarks, 161)[:68])


def test_mirroring_twice_is_the_identity_and_names_are_a_permutation():
    points = np.random.default_rng(0).uniform(0, 99, (81, 2)).astype(np.float32)
    np.testing.assert_allclose(flip_landmarks(flip_landmarks(points, 100), 100), points, atol=1e-4)
    assert sorted(MIRROR) == list(range(81))
    assert (MIRROR[:68] < 68).all()


def test_the_face_is_the_box_of_the_first_68_points_and_its_frame_the_recipes_crop():
    """SBI's crop has margins of w / 2 on either side, h above and .4 h below."""
    points = np.full((81, 2), 50.0)
    points[[3, 40]] = (20, 30), (80, 90)
    points[70] = (0, 0)  # the forehead is not part of it
    face = face_of(points)
    assert face == (50, 60, 60, 60)
    assert face.frame == (2 * 60, 2.4 * 60)


def test_the_forehead_runs_along_the_hairline(landmarks):
    x = landmarks[list(FOREHEAD), 0]
    assert (np.diff(x) > 0).all()
    assert sorted(FOREHEAD) == list(range(68, 81))


@pytest.mark.parametrize(("k1", "k2", "sigma"), [(5, 25, 45), (25, 5, 5), (13, 13, 20), (1, 1, 5)])
def test_soften_is_two_blurs_with_only_the_ones_kept_between(k1, k2, sigma, landmarks):
    """Against the recipe as written, in float64 with SciPy; what is 1 is judged with a tolerance there."""
    mask = fill(regions(landmarks), (160, 160))

    def gaussian(picture: np.ndarray, size: int, sigma: float) -> np.ndarray:
        weights = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * sigma**2))
        for axis in (0, 1):
            picture = scipy.ndimage.correlate1d(picture, weights / weights.sum(), axis=axis, mode="nearest")
        return picture

    blurred = gaussian(mask.astype(float), k1, 0.3 * ((k1 - 1) * 0.5 - 1) + 0.8)  # OpenCV's sigma for sigma = 0
    kept = np.where(blurred / blurred.max() > 1 - 1e-9, 1.0, 0.0)
    expected = gaussian(kept, k2, sigma)
    np.testing.assert_allclose(soften(mask, k1, k2, sigma), expected / expected.max(), atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_uint8_trap_the_erosion_is_not_rounded_away(dtype, landmarks):
    mask = fill(regions(landmarks), (160, 160))
    eroded = soften(mask.astype(dtype), 15, 1, 5) > 0
    assert eroded.sum() == scipy.ndimage.binary_erosion(mask, np.ones((15, 15))).sum()
    # the recipe in uint8: the blur rounds to 0 or 1, and a Gaussian's half-height lies on the old edge
    rounded = cv2.GaussianBlur(mask, (15, 15), 0)
    assert eroded.sum() < 0.8 * mask.sum() < 0.8 * 1.02 * (rounded >= 1).sum()


def test_every_kernel_and_sigma_of_the_recipe_is_drawn_and_no_other():
    """Odd 5 to 25, twice, and a sigma of 5 to 45 (FIELD-NOTES, "SBI constants")."""
    rng = np.random.default_rng(0)
    first, second, sigma = map(set, zip(*(draw_kernels(rng) for _ in range(2000))))
    assert first == second == set(range(5, 26, 2))
    assert sigma == set(range(5, 46))


def test_the_raster_and_the_elastic_field_are_the_recipes():
    """SBI: a raster of 192 to 256, an elastic field of alpha 50 and sigma 7 in pixels of a crop some 340 wide."""
    assert masks.RASTER_SIZES == (192, 256)
    shrink = 224 / 340
    assert pytest.approx((50 * shrink**2, 7 * shrink)) == (masks.ELASTIC_ALPHA, masks.ELASTIC_SIGMA)


def test_a_region_too_thin_for_its_kernel_is_eroded_by_the_largest_odd_window_that_leaves_some():
    strip = np.zeros((40, 40), np.uint8)
    strip[:, 18:22] = 1
    np.testing.assert_array_equal(soften(strip, 11, 5, 2.0), soften(strip, 3, 5, 2.0))


def test_boxes_hold_their_points_and_no_more():
    assert masks._bounding_box([np.array([[2.0, 3.0], [5.0, 7.0]])], np.zeros(2)) == (2, 3, 6, 8)
    assert masks._bounding_box([np.array([[2.5, 3.0]]), np.array([[5.0, 7.5]])], np.ones(2)) == (1, 2, 7, 10)


def test_a_pixels_centre_stays_its_centre_when_a_picture_is_resized():
    """The middle of the first of two pixels that one becomes lies a quarter of the old pixel before its middle."""
    np.testing.assert_allclose(masks._resized(np.array([[0.0, 1.0]]), np.array([2.0, 0.5])), [[0.5, 0.25]])


def test_erosion_never_empties_a_mask():
    thin = np.zeros((40, 60), np.uint8)
    thin[20:23, 10:50] = 1
    soft = soften(thin, 25, 5, 5)
    assert soft.max() == 1
    assert soft[21, 30] == 1


@pytest.mark.parametrize("seed", range(12))
def test_a_masks_box_reaches_no_farther_than_half_its_blur_and_the_field(seed, landmarks, monkeypatch):
    monkeypatch.setattr(masks, "draw_kernels", lambda rng: Kernels(5, 25, 10.0))
    face, parts = face_of(landmarks), regions(landmarks)
    box = soft_mask(parts, face, (400, 400), np.random.default_rng(seed)).box
    reach = (FIELD_LIMIT + 25 / 2 + 1) * np.array(face.frame) / 192 + 1  # of the coarsest raster, in pixels
    low, high = parts[0].min(0) - reach, parts[0].max(0) + reach + 1
    assert (np.array(box[:2]) >= np.maximum(low, 0)).all()
    assert (np.array(box[2:]) <= high).all()


@pytest.mark.parametrize("kind", MASK_KINDS)
@pytest.mark.parametrize("seed", range(12))
def test_masks_are_never_empty_and_end_within_the_blur_of_their_region(kind, seed, landmarks):
    face, parts = face_of(landmarks), regions(landmarks, kind)
    mask = soft_mask(parts, face, (160, 160), np.random.default_rng(seed))
    picture = mask.full((160, 160))
    assert picture.dtype == np.float32
    assert picture.min() >= 0
    assert 0.6 < picture.max() <= 1  # 1 on the mask's own raster; an eye loses some of it to the picture's pixels
    outside = np.min([distance_to_hull(part, (160, 160)) for part in parts], axis=0)
    widest = (FIELD_LIMIT + 12) * max(face.frame) / 192 + 2  # half of the largest kernel, in the picture's pixels
    assert picture[outside > widest].max(initial=0) == 0


def test_the_widest_blur_of_the_farthest_displaced_region_ends_within_the_masks_box(landmarks, monkeypatch):
    """Drawn large, so that a pixel of the recipe's raster is several of the picture's."""
    monkeypatch.setattr(masks, "draw_kernels", lambda _: Kernels(5, 25, 45.0))
    monkeypatch.setattr(masks, "elastic_field", lambda shape, _: field(shape))

    def field(shape: tuple[int, int]) -> np.ndarray:
        return np.full((shape[0] // FIELD_STRIDE + 2, shape[1] // FIELD_STRIDE + 2, 2), FIELD_LIMIT, np.float32)

    points = landmarks * 5 + 300
    mask = soft_mask(regions(points), face_of(points), (1400, 1400), np.random.default_rng(0))
    assert max(mask.box.x1, mask.box.y1) < 1400
    assert mask.values[-1].max() == mask.values[:, -1].max() == 0


def test_kernels_are_those_of_a_face_whose_hull_fills_three_quarters_of_its_box(landmarks):
    """The recipe's face, without the forehead: an ellipse would fill pi / 4 of the box, a brow line cuts its top."""
    face = face_of(landmarks)
    (hull,) = regions(landmarks[:68])
    filled = cv2.contourArea(hull) / (face.width * face.height)
    assert filled == pytest.approx(0.75, abs=0.05)
    assert _relative_size(hull, face) == pytest.approx(1, abs=0.03)
    centre = np.array([face.x, face.y], np.float32)
    for scale in (0.5, 0.25):
        assert _relative_size(centre + scale * (hull - centre), face) == pytest.approx(scale, rel=0.03)


def test_the_channels_of_a_picture_do_not_matter_to_its_mask(landmarks):
    flat, coloured = (
        soft_mask(regions(landmarks), face_of(landmarks), shape, np.random.default_rng(0))
        for shape in ((160, 160), (160, 160, 3))
    )
    assert flat.box == coloured.box
    np.testing.assert_array_equal(flat.values, coloured.values)


@pytest.mark.parametrize("kind", [kind for kind in MASK_KINDS if kind != "hull"])
def test_small_regions_get_small_kernels(kind, landmarks):
    """An eye under kernels made for a face would be a blur as wide as the face is."""
    masks = [
        soft_mask(
            regions(landmarks, kind, each_eye=True), face_of(landmarks), (160, 160), np.random.default_rng(seed)
        ).full((160, 160))
        for seed in range(20)
    ]
    region = fill(regions(landmarks, kind, each_eye=True), (160, 160))
    area = np.array([mask.sum() for mask in masks]) / region.sum()
    assert area.min() > 0.25
    assert area.max() < 2.0


def test_the_eyes_are_one_hull_over_the_bridge_of_the_nose_or_one_an_eye(landmarks):
    """M_e = H(K_eyes): the smallest convex region with all twelve points in it, found by brute force."""
    (hull,) = regions(landmarks, "eyes")
    filled = fill([hull], (160, 160)).astype(bool)
    distance = distance_to_hull(landmarks[36:48], (160, 160))
    assert filled[distance <= -1 / 16].all()
    assert not filled[distance > 1].any()
    x, y = landmarks[36:48].mean(0).astype(int)  # between the eyes
    assert filled[y, x]
    each = fill(regions(landmarks, "eyes", each_eye=True), (160, 160))
    assert scipy.ndimage.label(each)[1] == 2
    assert each[y, x] == 0
    assert len(regions(landmarks, "eyes+mouth", each_eye=True)) == 1 + len(regions(landmarks, "eyes+mouth")) == 3


@pytest.mark.parametrize("kind", MICRO)
def test_a_hard_mask_is_0_and_1_and_its_hulls_and_nothing_else(kind, landmarks):
    parts = regions(landmarks + 0.37, kind)
    picture = hard_mask(parts, (160, 160, 3)).full((160, 160))
    assert set(np.unique(picture)) == {0, 1}
    distance = np.min([distance_to_hull(part, (160, 160)) for part in parts], axis=0)
    assert picture[distance <= -1 / 16].all()
    assert not picture[distance > 1].any()


def test_a_hard_mask_may_leave_the_picture_but_not_lie_outside(landmarks):
    beyond = regions(landmarks - (60, 0), "eyes")
    assert hard_mask(beyond, (160, 160)).box.x0 == 0
    with pytest.raises(WorkbookError, match="outside the picture"):
        hard_mask(regions(landmarks + 1000, "eyes"), (160, 160))


def test_eyes_and_mouth_is_the_union(landmarks):
    shape = (160, 160)
    union = fill(regions(landmarks, "eyes"), shape) | fill(regions(landmarks, "mouth"), shape)
    np.testing.assert_array_equal(fill(regions(landmarks, "eyes+mouth"), shape), union)


def test_the_rectangle_is_upright_and_holds_every_landmark_and_no_more(landmarks):
    """The approximation of the face's contour: it holds the hull, and every side of it touches a landmark."""
    points = landmarks + np.random.default_rng(0).normal(0, 1, landmarks.shape).astype(np.float32)
    (corners,) = regions(points, "rectangle")
    assert corners.shape == (4, 2)
    assert {tuple(corner) for corner in corners} == {
        (x, y) for x in (min(points[:, 0]), max(points[:, 0])) for y in (min(points[:, 1]), max(points[:, 1]))
    }
    assert (fill([corners], (160, 160)) >= fill(regions(points), (160, 160))).all()


def test_overlapping_parts_have_no_hole():
    square = np.array([[10, 10], [40, 10], [40, 40], [10, 40]], np.float32)
    filled = fill([square, square + 10], (64, 64))
    assert filled[25, 25] == 1
    assert filled.sum() == 2 * 31**2 - 21**2


def test_masks_scale_with_the_crop():
    """The same draw on a face twice as large gives the same mask, twice as large."""
    from_small, from_large = (
        soft_mask(regions(points), face_of(points), (side, side), np.random.default_rng(5)).full((side, side))
        for side, points in ((100, _face(100)), (200, _face(200)))
    )
    halved = cv2.resize(from_large, (100, 100), interpolation=cv2.INTER_AREA)
    assert np.abs(halved - from_small).mean() < 0.01


def published_mask(landmarks: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """The recipe's mask as published, in float32, and its hull's area.

    A crop with margins of w/2 a side, h above and .4 h below; its raster is warped, resized and blurred twice.
    """
    low, high = landmarks[:68].min(0), landmarks[:68].max(0)
    width, height = high - low
    crop = np.array([2 * width, 2.4 * height])
    hull = cv2.convexHull(np.rint((landmarks - low + (width / 2, height)) * 256 / crop).astype(np.int32))
    mask = cv2.fillConvexPoly(np.zeros((256, 256), np.float32), hull, 1.0)
    x, y = np.meshgrid(np.arange(256.0), np.arange(256.0))
    dx, dy = (50 * scipy.ndimage.gaussian_filter(rng.uniform(-1, 1, (256, 256)), 7) for _ in range(2))
    mask = cv2.remap(mask, np.float32(x + dx), np.float32(y + dy), cv2.INTER_NEAREST)
    mask = cv2.resize(mask, tuple(int(side) for side in rng.integers(192, 257, 2)), interpolation=cv2.INTER_NEAREST)
    k1, k2 = (int(kernel) for kernel in rng.choice(np.arange(5, 26, 2), 2))
    mask = cv2.GaussianBlur(mask, (k1, k1), 0)
    mask = np.where(mask / mask.max() > 1 - 1e-5, np.float32(1), np.float32(0))
    mask = cv2.GaussianBlur(mask, (k2, k2), float(rng.integers(5, 46)))
    return cv2.resize(mask / mask.max(), (256, 256)), cv2.fillConvexPoly(np.zeros((256, 256)), hull, 1.0).sum()


@pytest.mark.parametrize("side", [80, 160, 320])
def test_masks_are_distributed_as_the_published_ones_at_any_size_of_crop(side, landmarks):
    """Area and width of the soft rim, both relative to the hull, over many draws."""
    points = landmarks * (side / 160)
    hull = cv2.contourArea(regions(points)[0])
    ours, published = [], []
    for seed in range(150):
        mask = soft_mask(regions(points), face_of(points), (side, side), np.random.default_rng(seed)).values
        ours.append((mask.sum() / hull, ((mask > 0.1) & (mask < 0.9)).sum() / hull))
        mask, area = published_mask(landmarks, np.random.default_rng(seed + 1000))
        published.append((mask.sum() / area, ((mask > 0.1) & (mask < 0.9)).sum() / area))
    np.testing.assert_allclose(np.mean(ours, axis=0), np.mean(published, axis=0), rtol=0.06)
    np.testing.assert_allclose(np.std(ours, axis=0), np.std(published, axis=0), rtol=0.2)


def test_a_warped_boundary_bounds_the_warped_region(landmarks):
    """Against pulling every pixel back through the inverse of the same field, found by fixed-point iteration."""
    field = elastic_field((160, 160), np.random.default_rng(3))
    y, x = np.mgrid[:160, :160].astype(np.float32)
    dense = cv2.remap(field, x / FIELD_STRIDE, y / FIELD_STRIDE, cv2.INTER_LINEAR)
    back = np.stack([x, y], axis=-1)
    for _ in range(30):
        back = np.stack([x, y], -1) - cv2.remap(dense, back[..., 0], back[..., 1], cv2.INTER_LINEAR)
    hull = fill(regions(landmarks), (160, 160)).astype(np.float32)
    expected = cv2.remap(hull, back[..., 0], back[..., 1], cv2.INTER_LINEAR) > 0.5

    points = boundary(regions(landmarks)[0], 1.0).astype(np.float32)
    moves = cv2.remap(field, points[None] / FIELD_STRIDE, None, cv2.INTER_LINEAR)[0]
    warped = fill([points + moves], (160, 160)).astype(bool)
    assert (warped & expected).sum() / (warped | expected).sum() > 0.985


def test_the_coarse_field_has_the_spread_and_smoothness_of_the_full_one():
    """Against SciPy's field at every pixel of the recipe's crop, alpha 50 and sigma 7, brought to the raster."""
    rng = np.random.default_rng(0)
    coarse = np.stack([elastic_field((256, 256), rng)[..., 0][:64, :64] for _ in range(12)])
    full = np.stack([50 * scipy.ndimage.gaussian_filter(rng.uniform(-1, 1, (340, 340)), 7) for _ in range(12)])
    assert coarse.std() / 224 == pytest.approx(full.std() / 340, rel=0.08)  # of the crop's width
    lag = 12  # px of the crop: 8 px of the raster

    def correlation(fields: np.ndarray, shift: int) -> float:
        return float((fields[:, shift:] * fields[:, :-shift]).mean() / fields.var())

    assert correlation(coarse, 8 // FIELD_STRIDE) == pytest.approx(correlation(full, lag), abs=0.08)


@pytest.mark.parametrize("spacing", [3, 4, 50])
def test_a_resampled_boundary_keeps_corners_and_spacing(spacing):
    square = np.array([[0, 0], [10, 0], [10, 7], [0, 7]], np.float32)
    points = boundary(square, spacing)
    assert {(0, 0), (10, 0), (10, 7), (0, 7)} <= {tuple(point) for point in points}
    assert np.hypot(*np.diff(np.vstack([points, points[:1]]), axis=0).T).max() <= spacing


@pytest.mark.parametrize(("kernel", "expected"), [(0.3, 1), (1.9, 1), (2.1, 3), (5, 5), (24.9, 25), (25, 25)])
def test_kernels_are_odd(kernel, expected):
    assert odd(kernel) == expected


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((81, 2), np.float32), "span 0 x 0"),
        (np.full((81, 2), np.nan, np.float32), "span nan"),
        (np.zeros((5, 2), np.float32), "(81, 2)"),
    ],
)
def test_unusable_landmarks_are_an_error(points, message):
    with pytest.raises(WorkbookError) as caught:
        face_of(points)
    assert message in str(caught.value)


def test_landmarks_outside_the_picture_are_an_error(landmarks):
    away = landmarks + 1000
    with pytest.raises(WorkbookError, match="outside the picture"):
        soft_mask(regions(away), face_of(away), (160, 160), np.random.default_rng(0))


def test_an_unknown_kind_lists_the_known_ones(landmarks):
    with pytest.raises(WorkbookError, match="hull, rectangle, eyes"):
        regions(landmarks, "nose")


def _face(side: int) -> np.ndarray:
    from_unit = np.random.default_rng(1).uniform(0.25, 0.75, (81, 2))
    return (from_unit * side + (side - 1) / 2 - (side * 0.5 - 0.5)).astype(np.float32)
