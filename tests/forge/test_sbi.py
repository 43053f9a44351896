"""Self-blended pairs: what they must hold for every draw, and that a draw depends on its generator alone."""

import multiprocessing
import pickle

import numpy as np
import pytest

from dfrepro.errors import WorkbookError
from dfrepro.forge import sbi
from dfrepro.forge.blend import PairTransform, apply
from dfrepro.forge.sbi import RATIOS, SelfBlend

SEEDS = range(24)


def same(one, other) -> bool:
    pictures = ((one.real, other.real), (one.fake, other.fake), (one.mask, other.mask))
    return one.ratio == other.ratio and all(np.array_equal(a, b) for a, b in pictures)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pair_is_two_pictures_and_a_float_mask(image, landmarks, seed):
    pair = SelfBlend(96)(image, landmarks, np.random.default_rng(seed))
    for picture in (pair.real, pair.fake):
        assert (picture.shape, picture.dtype) == ((96, 96, 3), np.uint8)
        assert picture.flags.c_contiguous
    assert (pair.mask.shape, pair.mask.dtype) == ((96, 96), np.float32)
    assert pair.mask.min() >= 0
    assert 0.99 < pair.mask.max() <= 1 + 1e-6  # before the ratio, for losses that read regions from it
    assert pair.ratio in RATIOS
    assert (pair.real != pair.fake).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_outside_the_mask_real_and_fake_agree_after_all_transforms(image, landmarks, seed, monkeypatch):
    """Exactly so where pixels are treated one by one; JPEG spreads a difference over its blocks."""
    from dfrepro.forge import sbi

    draw = sbi.draw_joint_transform
    monkeypatch.setattr(sbi, "draw_joint_transform", lambda *a: [op for op in draw(*a) if op.func.__name__ != "jpeg"])
    pair = SelfBlend(96, margin=None)(image, landmarks, np.random.default_rng(seed))
    outside = pair.mask == 0
    assert outside.any()
    np.testing.assert_array_equal(pair.real[outside], pair.fake[outside])


@pytest.mark.parametrize("seed", SEEDS)
def test_with_jpeg_they_agree_beyond_the_blocks_that_the_mask_touches(image, landmarks, seed):
    pair = SelfBlend(144, margin=None)(image, landmarks, np.random.default_rng(seed))
    touched = pair.mask.reshape(9, 16, 9, 16).max((1, 3)) > 0
    near = np.pad(touched, 1)
    near = sum(near[y : y + 9, x : x + 9] for y in range(3) for x in range(3)) > 0  # chroma is interpolated
    outside = ~np.kron(near, np.ones((16, 16), bool))
    np.testing.assert_array_equal(pair.real[outside], pair.fake[outside])


@pytest.mark.parametrize("seed", SEEDS)
def test_the_fake_is_the_blend_of_its_source_and_real(image, landmarks, seed, monkeypatch):
    """fake = ratio M source + (1 - ratio M) real, before the joint transforms and at the stored resolution."""
    from dfrepro.forge import sbi

    monkeypatch.setattr(sbi, "draw_joint_transform", lambda *_: [])
    pair = SelfBlend(120, margin=None, with_source=True)(image, landmarks, np.random.default_rng(seed))
    weight = pair.ratio * pair.mask[..., None].astype(float)
    exact = weight * pair.source + (1 - weight) * pair.real
    assert np.abs(pair.fake - exact).max() <= 0.5 + 1e-4


def test_blending_ratios_are_the_official_recipes():
    assert RATIOS == (0.25, 0.5, 0.75, 1, 1, 1)


def test_real_and_fake_get_the_same_joint_draw(image, landmarks, monkeypatch):
    from dfrepro.forge import sbi

    drawn = []
    draw = sbi.draw_joint_transform

    def spy(*args):
        drawn.append(draw(*args))
        return drawn[-1]

    monkeypatch.setattr(sbi, "draw_joint_transform", spy)
    for seed in SEEDS:
        made = SelfBlend(120, margin=None)(image, landmarks, np.random.default_rng(seed))
        monkeypatch.setattr(sbi, "draw_joint_transform", lambda *args: (spy(*args), [])[1])
        plain = SelfBlend(120, margin=None)(image, landmarks, np.random.default_rng(seed))
        monkeypatch.setattr(sbi, "draw_joint_transform", spy)
        np.testing.assert_array_equal(made.real, apply(drawn[-2], plain.real))
        np.testing.assert_array_equal(made.fake, apply(drawn[-2], plain.fake))


def test_half_of_the_reals_are_left_as_they_are(image, landmarks, monkeypatch):
    from dfrepro.forge import sbi

    monkeypatch.setattr(sbi, "draw_joint_transform", lambda *_: [])
    untouched = 0
    for seed in range(100):
        pair = SelfBlend(160, margin=None)(image, landmarks, np.random.default_rng(seed))
        untouched += any(np.array_equal(pair.real, picture) for picture in (image, image[:, ::-1]))
    assert 35 <= untouched <= 65


def test_the_same_generator_gives_the_same_pair_and_another_gives_another(image, landmarks):
    forge = SelfBlend(96)
    assert same(forge(image, landmarks, np.random.default_rng(4)), forge(image, landmarks, np.random.default_rng(4)))
    assert not same(
        forge(image, landmarks, np.random.default_rng(4)), forge(image, landmarks, np.random.default_rng(5))
    )


def test_global_seeds_neither_matter_nor_move(image, landmarks):
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one = SelfBlend(96)(image, landmarks, np.random.default_rng(4))
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert same(one, SelfBlend(96)(image, landmarks, np.random.default_rng(4)))


def test_other_processes_make_the_same_pairs(image, landmarks):
    forge = SelfBlend(64)
    here = [forge(image, landmarks, np.random.default_rng([7, index])) for index in range(6)]
    jobs = [(forge, np.array(image), landmarks, [7, index]) for index in range(6)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        there = pool.map(make_one, jobs, chunksize=1)
    assert all(same(one, other) for one, other in zip(here, there, strict=True))


def make_one(job):
    forge, image, landmarks, seed = job
    return forge(image, landmarks, np.random.default_rng(seed))


def test_inputs_are_not_changed(image, landmarks):
    points = landmarks.copy()
    for seed in SEEDS:
        SelfBlend(96)(image, landmarks, np.random.default_rng(seed))  # the image is read-only
    np.testing.assert_array_equal(points, landmarks)


def test_it_runs_as_a_data_sets_transform(image, landmarks):
    transform = pickle.loads(pickle.dumps(PairTransform(SelfBlend(64, margin=None))))  # noqa: S301 our own bytes
    made = transform({"image": image, "landmarks": landmarks, "label": 0}, np.random.default_rng(0))
    assert {"real", "fake", "mask", "ratio", "label"} == set(made)


def test_small_crops_of_the_laptop_scale_work(image, landmarks):
    small, points = np.ascontiguousarray(image[::2, ::2]), landmarks / 2
    for seed in SEEDS:
        pair = SelfBlend(64, margin=None)(small, points, np.random.default_rng(seed))
        assert pair.mask.max() > 0.97
        assert (pair.real != pair.fake).any()


def test_with_the_other_papers_augmentation_only_what_follows_the_blend_is_another(image, landmarks, monkeypatch):
    """FIA-USA's control: the same self-blend, CutOut and noise in place of the joint colour and JPEG."""
    monkeypatch.setattr(sbi, "draw_joint_transform", lambda *_: [])
    plain = SelfBlend(96)(image, landmarks, np.random.default_rng(3))
    monkeypatch.setattr(sbi, "draw_cutout", lambda pair, _: pair)
    monkeypatch.setattr(sbi, "draw_noise", lambda pair, _: pair)
    other = SelfBlend(96, augment="fia-usa")(image, landmarks, np.random.default_rng(3))
    for name in ("real", "fake", "mask", "ratio"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(other, name))


def test_the_control_gets_holes_and_noise(image, landmarks):
    image, holes = np.full_like(image, 128), 0
    for seed in range(60):
        pair = SelfBlend(96, augment="fia-usa")(image, landmarks, np.random.default_rng(seed))
        black = (pair.real == 0).all(-1) & (pair.fake == 0).all(-1)
        holes += black.sum() > 9 * 9
        np.testing.assert_array_equal(pair.real[pair.mask == 0], pair.fake[pair.mask == 0])
    assert 10 < holes < 50


@pytest.mark.parametrize("wrong", [{"augment": "none"}, {"augment": "fia-usa", "with_source": True}])
def test_an_augmentation_that_cannot_be_is_refused(wrong):
    with pytest.raises(WorkbookError, match="augment"):
        SelfBlend(96, **wrong)
