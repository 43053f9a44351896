"""Photometric operations against albumentations, Pillow-free definitions and each other."""

from collections import Counter

import cv2
import numpy as np
import pytest
import scipy.ndimage

from dfrepro.forge.blend import apply
from dfrepro.forge.colour import (
    brightness_contrast,
    downscale,
    draw_joint_transform,
    draw_source_transform,
    hsv_shift,
    jpeg,
    rgb_shift,
    sharpen,
)


def test_rgb_shift_adds_and_saturates(image):
    expected = np.rint(image + np.array([18.3, -7.6, 2.2])).clip(0, 255)
    np.testing.assert_array_equal(rgb_shift(image, (18.3, -7.6, 2.2)), expected)


def test_brightness_contrast_is_affine_and_saturates(image):
    expected = np.rint(1.3 * image.astype(float) - 0.2 * 255).clip(0, 255)
    assert np.abs(brightness_contrast(image, -0.2, 0.3) - expected).max() <= 1
    np.testing.assert_array_equal(brightness_contrast(image, 0, 0), image)


@pytest.mark.parametrize("shift", [(-0.2, -0.2, -0.2), (0.3, 0.3, 0.3), (-0.2, 0.3, -0.1), (-12.0, 20.0, -9.0)])
def test_hsv_shift_rounds_down_in_eight_bit_units(image, shift):
    """The official recipe's arithmetic, pixel by pixel: whole units of OpenCV's HSV, hue modulo 180."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(float) + shift
    hsv[..., 0] %= 180
    expected = cv2.cvtColor(np.floor(hsv).clip(0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB)
    np.testing.assert_array_equal(hsv_shift(image, shift), expected)


def test_downscale_repeats_interpolated_samples(image):
    small = image[::4, ::4]
    expected = cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(downscale(image, 4), expected)


def test_sharpen_mixes_with_a_laplacian(image):
    laplacian = np.full((3, 3), -1.0)
    laplacian[1, 1] = 8 + 0.7
    picture = image.astype(float)
    edges = np.stack([scipy.ndimage.correlate(picture[..., c], laplacian, mode="mirror") for c in range(3)], axis=-1)
    expected = np.rint(0.6 * picture + 0.4 * edges).clip(0, 255)
    assert np.abs(sharpen(image, 0.4, 0.7) - expected).max() <= 1


def test_jpeg_keeps_channels_in_order_and_loses_more_at_low_quality(image):
    error = [np.abs(jpeg(image, quality).astype(float) - image).mean(axis=(0, 1)) for quality in (100, 70, 40)]
    assert (error[0] < error[1]).all()
    assert (error[1] < error[2]).all()
    assert error[2].max() < 12
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    assert np.abs(jpeg(red, 95).astype(int) - red).max() < 4


def test_a_draw_applied_twice_is_the_same_and_changes_no_input(image):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        ops = draw_source_transform(rng) + draw_joint_transform(rng)
        np.testing.assert_array_equal(apply(ops, image), apply(ops, image))  # the fixture is read-only


def test_the_source_transform_always_shifts_hsv_and_light_and_one_frequency():
    names = [[op.func.__name__ for op in draw_source_transform(np.random.default_rng(seed))] for seed in range(400)]
    assert all(drawn[-3:-1] == ["hsv_shift", "brightness_contrast"] for drawn in names)
    share = {name: np.mean([name in drawn for drawn in names]) for name in ("rgb_shift", "downscale", "sharpen")}
    assert share == pytest.approx({"rgb_shift": 0.3, "downscale": 0.5, "sharpen": 0.5}, abs=0.08)


def test_joint_transforms_have_their_probabilities_and_ranges():
    draws = [draw_joint_transform(np.random.default_rng(seed)) for seed in range(600)]
    expected = {"rgb_shift": 0.3, "hsv_shift": 0.3, "brightness_contrast": 0.3, "jpeg": 0.5}
    share = {name: np.mean([any(op.func.__name__ == name for op in draw) for draw in draws]) for name in expected}
    assert share == pytest.approx(expected, abs=0.07)
    qualities = [op.keywords["quality"] for draw in draws for op in draw if op.func is jpeg]
    assert min(qualities) >= 40
    assert max(qualities) <= 100
    assert max(qualities) - min(qualities) > 50


@pytest.mark.parametrize(
    ("draw", "limits"),
    [
        (draw_source_transform, {"rgb_shift": 20, "hsv_shift": 0.3, "brightness": 0.1, "contrast": 0.1}),
        (draw_joint_transform, {"rgb_shift": 20, "hsv_shift": 0.3, "brightness": 0.3, "contrast": 0.3}),
    ],
)
def test_shifts_reach_the_recipes_limits_and_go_no_further(draw, limits):
    """FIELD-NOTES, "SBI constants"; on either side, in each channel."""
    rng, drawn = np.random.default_rng(0), {name: [] for name in limits}
    for op in (op for _ in range(2000) for op in draw(rng)):
        if "shift" in op.keywords:
            drawn[op.func.__name__].append(op.keywords["shift"])
        elif op.func is brightness_contrast:
            for name, value in op.keywords.items():
                drawn[name].append([value])
    for name, limit in limits.items():
        assert np.max(drawn[name], axis=0) == pytest.approx(limit, rel=0.03)
        assert np.min(drawn[name], axis=0) == pytest.approx(-limit, rel=0.03)
        assert np.abs(drawn[name]).max() <= limit


def test_the_source_is_sharpened_within_the_recipes_limits():
    """Alpha of .2 to .5, lightness of .5 to 1 (FIELD-NOTES)."""
    rng = np.random.default_rng(0)
    drawn = [op.keywords for _ in range(1000) for op in draw_source_transform(rng) if op.func is sharpen]
    alpha, lightness = ([op[name] for op in drawn] for name in ("alpha", "lightness"))
    assert (min(alpha), max(alpha)) == pytest.approx((0.2, 0.5), abs=0.01)
    assert (min(lightness), max(lightness)) == pytest.approx((0.5, 1), abs=0.01)


def test_transforms_are_drawn_as_often_as_the_recipe_says():
    rng, n = np.random.default_rng(0), 4000
    expected = {
        draw_source_transform: {
            "rgb_shift": 0.3, "hsv_shift": 1, "brightness_contrast": 1, "downscale": 0.5, "sharpen": 0.5,
        },
        draw_joint_transform: {"rgb_shift": 0.3, "hsv_shift": 0.3, "brightness_contrast": 0.3, "jpeg": 0.5},
    }  # fmt: skip
    for draw, shares in expected.items():
        drawn = Counter(op.func.__name__ for _ in range(n) for op in draw(rng))
        assert {name: times / n for name, times in drawn.items()} == pytest.approx(shares, abs=0.03)
