"""Corruptions against their definitions, written out slowly or taken from scikit-image and SciPy."""

import numpy as np
import pytest
import scipy.ndimage
import skimage.color
import skimage.data
from skimage.color.colorconv import ycbcr_from_rgb

from dfrepro.errors import WorkbookError
from dfrepro.evaluate.corruptions import (
    CORRUPTIONS,
    DEEPER_FORENSICS,
    PEL,
    PEL_LEVEL,
    YCBCR_TO_RGB,
    block_count,
    contrast,
    corrupt,
)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Three crops of a real photograph, (3, 64, 72, 3) uint8."""
    picture = skimage.data.astronaut()
    return np.stack([picture[y : y + 64, x : x + 72] for y, x in ((40, 180), (90, 200), (200, 100))])


def test_levels_are_deeper_forensics():
    """Its published table; where PEL gives one value and no levels, ours is a sweep by factors of two."""
    levels = {name: CORRUPTIONS[name].levels for name in DEEPER_FORENSICS}
    assert levels == {
        "saturation": (0.4, 0.3, 0.2, 0.1, 0),
        "contrast": (0.85, 0.725, 0.6, 0.475, 0.35),
        "blocks": (16, 32, 48, 64, 80),
        "noise": (0.001, 0.002, 0.005, 0.01, 0.05),
        "blur": (7, 9, 13, 17, 21),
        "pixelation": (2, 3, 4, 5, 6),
        "video": (30, 32, 35, 38, 40),
    }
    assert CORRUPTIONS["jpeg"].levels == (80, 60, 40, 25, 10)
    for name in PEL:
        np.testing.assert_allclose(np.diff(np.log2(CORRUPTIONS[name].levels)), 1)


@pytest.mark.parametrize("level", range(1, 6))
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_changes_a_copy_and_repeats_itself(images, name, level):
    before = images.copy()
    first, second = corrupt(images, name, level, seed=3), corrupt(images, name, level, seed=3)
    assert (first.shape, first.dtype) == (images.shape, np.uint8)
    assert not np.shares_memory(first, images)
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(first, second)
    if (name, level) != ("gaussian-blur", 1):  # a quarter of a pixel may round to nothing
        assert all((a != b).any() for a, b in zip(first, images))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_read_only_memory_map_is_accepted(images, name):
    frozen = images.copy()
    frozen.flags.writeable = False
    corrupt(frozen, name, 3)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_damage_grows_with_the_level(images, name):
    damage = [np.square(corrupt(images, name, level).astype(float) - images).mean() for level in range(1, 6)]
    assert damage == sorted(damage)
    assert damage[4] > damage[0]


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name != "video"])
def test_a_batch_of_any_size_is_corrupted_alike(images, name):
    whole = corrupt(images, name, 4, seed=7)
    split = [corrupt(images[i : i + 1], name, 4, seed=7, first=i) for i in range(len(images))]
    np.testing.assert_array_equal(whole, np.concatenate(split))


@pytest.mark.parametrize("name", ["blocks", "noise", "gaussian-noise", "salt-and-pepper"])
def test_seeds_and_pictures_get_draws_of_their_own(images, name):
    same = np.repeat(images[:1], 2, axis=0)
    one, other = corrupt(same, name, 3, seed=0), corrupt(same, name, 3, seed=1)
    assert (one[0] != one[1]).any()
    assert (one != other).any()


@pytest.mark.parametrize("level", range(1, 6))
def test_saturation_scales_chroma_in_ycbcr(images, level):
    factor = CORRUPTIONS["saturation"].levels[level - 1]
    ycbcr = skimage.color.rgb2ycbcr(images)
    ycbcr[..., 1:] = 128 + factor * (ycbcr[..., 1:] - 128)
    expected = 255 * skimage.color.ycbcr2rgb(ycbcr).clip(0, 1)
    assert np.abs(corrupt(images, "saturation", level) - expected).max() < 0.8  # OpenCV: 10-bit coefficients


def test_contrast_is_a_product(images):
    np.testing.assert_array_equal(corrupt(images, "contrast", 3), np.rint(images * 0.6).astype(np.uint8))


@pytest.mark.parametrize(
    ("side", "expected"), [(64, 3), (128, 12), (255, 48), (256, 48), (300, 48), (511, 48), (512, 96)]
)
def test_there_are_blocks_at_every_size(side, expected):
    """The original's floor(side / 256) is zero below 256 pixels."""
    assert block_count(48, side, side) == expected


def test_blocks_are_grey_squares_and_nothing_else_changes(images):
    corrupted = corrupt(images, "blocks", 5)
    for before, after in zip(images, corrupted):
        changed = (before != after).any(-1)
        assert (after[changed] == 128).all()
        grey = (after == 128).all(-1)
        squares = scipy.ndimage.binary_opening(grey, np.ones((8, 8)))
        assert (squares | ~changed).all()  # every changed pixel lies in a whole square of 8 x 8
        assert 64 <= squares.sum() <= 64 * block_count(80, 64, 72)


def test_a_picture_of_one_block_is_covered_by_it():
    assert (corrupt(np.zeros((3, 8, 8, 3), np.uint8), "blocks", 5) == 128).all()


def test_more_contrast_is_cut_at_white(images):
    brighter = contrast(images, 1.5, ())
    np.testing.assert_array_equal(brighter, np.rint(images * 1.5).clip(max=255).astype(np.uint8))


def test_studio_swing_ycbcr_becomes_rgb_as_in_scikit_image():
    expected = 255 * np.linalg.inv(ycbcr_from_rgb)
    np.testing.assert_allclose(YCBCR_TO_RGB, expected, atol=2e-4)  # BT.601's constants are printed to three digits


def test_noise_on_black_and_white_is_cut_at_the_ends_of_the_range():
    ends = np.zeros((2, 64, 64, 3), np.uint8)
    ends[1] = 255
    for name in ("noise", "gaussian-noise"):
        black, white = corrupt(ends, name, 5)
        assert (black == 0).mean() == pytest.approx(0.5, abs=0.05)
        assert (white == 255).mean() == pytest.approx(0.5, abs=0.05)


def test_noise_is_what_the_generator_of_the_seed_and_the_picture_draws(images):
    """(seed, index) -> one normal draw a pixel and channel: in R, G and B, or in Y, Cb and Cr."""
    draws = np.stack([np.random.default_rng([5, 7 + i]).standard_normal(images[0].shape, np.float32) for i in range(3)])
    to_rgb = 255 * np.linalg.inv(ycbcr_from_rgb)
    expected = {"gaussian-noise": 255 * 0.02 * draws, "noise": 255 * np.sqrt(0.005) * draws @ to_rgb.T}
    for name, noise in expected.items():
        assert np.abs(corrupt(images, name, 3, seed=5, first=7) - (images + noise).clip(0, 255)).max() <= 0.52


@pytest.mark.parametrize("level", range(1, 6))
def test_noise_has_its_variance_in_y_cb_and_cr(level):
    """On mid-grey, where the mild levels hardly clip. Chroma is in studio swing, as in the original."""
    grey = np.full((4, 96, 96, 3), 128, np.uint8)
    noisy = skimage.color.rgb2ycbcr(corrupt(grey, "noise", level)) - skimage.color.rgb2ycbcr(grey)
    sigma = 255 * np.sqrt(CORRUPTIONS["noise"].levels[level - 1])
    if level < 4:
        rounding = 1 / 12 * np.square(ycbcr_from_rgb / 255).sum(1)
        np.testing.assert_allclose(noisy.reshape(-1, 3).std(0), np.sqrt(sigma**2 + rounding), rtol=0.03)
    correlation = np.corrcoef(noisy.reshape(-1, 3).T) - np.eye(3)
    assert np.abs(correlation).max() < (0.02 if level < 4 else 0.2)


@pytest.mark.parametrize("level", range(1, 6))
def test_blur_below_256_pixels_is_a_gaussian_scaled_with_the_picture(images, level):
    kernel = CORRUPTIONS["blur"].levels[level - 1] * 64 / 256
    size = max(3, 2 * int(kernel / 2) + 1)
    x = np.arange(size) - size // 2
    weights = np.exp(-(x**2) / (2 * (kernel / 6) ** 2))
    weights /= weights.sum()
    expected = images.astype(float)
    for axis in (1, 2):
        expected = scipy.ndimage.correlate1d(expected, weights, axis=axis, mode="mirror")
    assert np.abs(corrupt(images, "blur", level) - expected).max() < 1.5  # OpenCV's weights have 8 bits


@pytest.mark.parametrize("side", [256, 380, 512])
def test_blur_from_256_pixels_on_has_the_published_kernels(side):
    impulse = np.zeros((1, side, side, 3), np.uint8)
    impulse[:, side // 2, :] = 255  # a line, so that 8 bits hold the profile
    for level, kernel in enumerate((7, 9, 13, 17, 21), start=1):
        profile = corrupt(impulse, "blur", level)[0, :, side // 2, 0].astype(float)
        assert np.count_nonzero(profile) <= kernel
        spread = np.sqrt((profile * (np.arange(side) - side // 2) ** 2).sum() / profile.sum())
        assert spread == pytest.approx(kernel / 6, rel=0.06)


def test_pixelation_by_two_averages_and_interpolates():
    """Linear shrinking by 2 takes the mean of 2 x 2 pixels; enlarging mixes neighbours 3 : 1."""
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    small = images.reshape(2, 8, 2, 8, 2, 3).mean((2, 4))
    expected = small
    for axis in (1, 2):
        at = (np.arange(16) + 0.5) / 2 - 0.5
        low = np.floor(at).astype(int)
        shape = [1] * 4
        shape[axis] = 16
        weight = (at - low).reshape(shape)
        expected = (1 - weight) * expected.take(low.clip(0, 7), axis) + weight * expected.take(
            (low + 1).clip(0, 7), axis
        )
    assert np.abs(corrupt(images, "pixelation", 1) - expected).max() <= 1.5


def test_a_picture_smaller_than_a_pixelated_pixel_is_one_colour():
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3), dtype=np.uint8)
    small = corrupt(images, "pixelation", 5)
    assert (small == small[:, :1, :1]).all()


def test_jpeg_treats_colour_channels_in_their_order():
    """JPEG keeps luma better than chroma, so a swap of R and B shows on a pure colour pattern."""
    images = np.zeros((1, 32, 32, 3), np.uint8)
    images[:, ::2, ::2, 0] = 255  # red dots of one pixel: little luma, most is lost
    blue = images[..., ::-1].copy()
    kept = [
        corrupt(picture, "jpeg", 1).astype(float).mean((0, 1, 2)) @ (0.299, 0.587, 0.114) for picture in (images, blue)
    ]
    assert kept[0] > 2 * kept[1]


def test_video_is_coded_in_order_and_may_have_odd_sides():
    clip = np.stack([np.full((33, 47, 3), value, np.uint8) for value in (30, 90, 150, 210)])
    coded = corrupt(clip, "video", 5)
    assert coded.shape == clip.shape
    assert np.abs(coded.mean((1, 2, 3)) - (30, 90, 150, 210)).max() < 4


def test_pel_levels_are_the_specifications():
    levels = {
        name: CORRUPTIONS[name].levels[PEL_LEVEL - 1] for name in ("gaussian-noise", "salt-and-pepper", "gaussian-blur")
    }
    assert levels == {"gaussian-noise": 0.02, "salt-and-pepper": 0.01, "gaussian-blur": 1.0}


def test_gaussian_noise_has_its_sigma():
    grey = np.full((2, 128, 128, 3), 128, np.uint8)
    noise = corrupt(grey, "gaussian-noise", 3).astype(float) - 128
    assert noise.std() == pytest.approx(np.sqrt((0.02 * 255) ** 2 + 1 / 12), rel=0.01)
    assert abs(noise.mean()) < 0.1


def test_salt_and_pepper_hits_its_share_of_pixels_half_white_half_black():
    grey = np.full((4, 256, 256, 3), 128, np.uint8)
    noisy = corrupt(grey, "salt-and-pepper", 3)
    white, black = ((noisy == value).all(-1).mean() for value in (255, 0))
    assert (white, black) == pytest.approx((0.005, 0.005), rel=0.1)
    assert ((noisy == 128).all(-1).mean() + white + black) == 1  # channels change together


def test_gaussian_blur_is_scipys(images):
    expected = scipy.ndimage.gaussian_filter(images.astype(float), (0, 1, 1, 0), mode="mirror")
    assert np.abs(corrupt(images, "gaussian-blur", 3) - expected).max() <= 1


def test_errors_name_the_remedy(images):
    with pytest.raises(WorkbookError, match="saturation, contrast"):
        corrupt(images, "fog", 1)
    with pytest.raises(WorkbookError, match="from 1 to 5"):
        corrupt(images, "blur", 0)
    with pytest.raises(WorkbookError, match="uint8"):
        corrupt(images.astype(np.float32), "blur", 1)
