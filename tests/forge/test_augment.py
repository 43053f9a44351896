"""PIM's augmentation: reproducible from the generator alone, one draw independent of another."""

import multiprocessing

import numpy as np
import pytest

from dfrepro.forge.augment import Augment  # first: it keeps albumentations off the network

import albumentations  # isort: skip


@pytest.fixture(scope="module")
def augment() -> Augment:
    return Augment()


def test_the_generator_alone_decides(augment, image):
    first = [augment({"image": image}, np.random.default_rng(seed))["image"] for seed in range(20)]
    again = [Augment()({"image": image}, np.random.default_rng(seed))["image"] for seed in reversed(range(20))]
    for one, other in zip(first, reversed(again), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({picture.tobytes() for picture in first}) > 15


def test_other_processes_draw_the_same(augment, image):
    here = [augment({"image": image}, np.random.default_rng([3, index]))["image"] for index in range(8)]
    jobs = [(augment, np.array(image), [3, index]) for index in range(8)]
    with multiprocessing.get_context("fork").Pool(2) as pool:  # a spawned one imports albumentations for seconds
        there = pool.map(augment_one, jobs, chunksize=1)
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one, other)


def augment_one(job):
    augment, image, seed = job
    return augment({"image": image}, np.random.default_rng(seed))["image"]


def test_the_shared_seed_trap_transforms_fire_independently(augment, image):
    """albumentations' own seeding gives equal generators to all transforms, which then fire together."""
    grey = np.full((16, 16, 3), 100, np.uint8)
    grey[:, :8] = 120  # a flip shows, and so does noise
    fired = []
    for seed in range(400):
        pair = augment({"image": grey, "mask": np.tile(np.arange(16.0), (16, 1))}, np.random.default_rng(seed))
        flipped = pair["mask"][0, 0] == 15
        left = pair["image"][4:12, 10:14] if flipped else pair["image"][4:12, 2:6]
        tinted = np.ptp(left.reshape(-1, 3).mean(0)) > 4  # by an RGB shift: grey has no hue
        noisy = left[..., 0].std() > 2
        fired.append((flipped, tinted, noisy))
    flipped, tinted, noisy = np.array(fired, float).T
    assert flipped.mean() == pytest.approx(0.5, abs=0.08)
    assert 0.15 < tinted.mean() < 0.4
    assert noisy.mean() == pytest.approx(0.3, abs=0.1)
    assert np.abs(np.corrcoef(fired, rowvar=False) - np.eye(3)).max() < 0.2


def test_limits_are_sbis_and_elsewhere_the_librarys_own(augment):
    """FIELD-NOTES, "SBI constants": RGB shifts of +-20, JPEG of 40 to 100."""
    ours = {type(transform).__name__: transform for transform in augment.compose.transforms}
    rgb = ours["RGBShift"]
    assert rgb.r_shift_limit == rgb.g_shift_limit == rgb.b_shift_limit == (-20, 20)
    assert ours["ImageCompression"].quality_range == (40, 100)
    hsv, light = albumentations.HueSaturationValue(), albumentations.RandomBrightnessContrast()
    for name in ("hue_shift_limit", "sat_shift_limit", "val_shift_limit"):
        assert getattr(ours["HueSaturationValue"], name) == getattr(hsv, name)
    for name in ("brightness_limit", "contrast_limit"):
        assert getattr(ours["RandomBrightnessContrast"], name) == getattr(light, name)


def test_shape_and_type_are_kept_and_the_input_is_not_changed(augment, image):
    before = image.copy()
    for seed in range(20):
        made = augment({"image": image, "label": 1}, np.random.default_rng(seed))
        assert (made["image"].shape, made["image"].dtype, made["label"]) == (image.shape, np.uint8, 1)
    np.testing.assert_array_equal(image, before)


def test_landmarks_do_not_survive_a_flip_unmoved(augment, image, landmarks):
    assert "landmarks" not in augment({"image": image, "landmarks": landmarks}, np.random.default_rng(0))


def test_without_the_flip_nothing_moves(image):
    mask = np.tile(np.arange(160, dtype=np.float32), (160, 1))
    for seed in range(20):
        made = Augment(flip=False)({"image": image, "mask": mask}, np.random.default_rng(seed))
        np.testing.assert_array_equal(made["mask"], mask)
