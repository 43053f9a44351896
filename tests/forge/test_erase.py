"""CutOut and noise: one hole, one field of noise, the same on both members of a pair."""

import numpy as np
import pytest
import scipy.stats

from dfrepro.forge.blend import Pair
from dfrepro.forge.erase import draw_cutout, draw_noise


def test_cutout_is_one_black_square_on_both_and_leaves_most_of_the_forgery():
    rng = np.random.default_rng(0)
    real, fake = rng.integers(1, 256, (2, 64, 64, 3), dtype=np.uint8)
    mask = np.zeros((64, 64), np.float32)
    mask[20:26, 20:30] = 1
    holes = 0
    for seed in range(200):
        cut = draw_cutout(Pair(real, fake, mask), np.random.default_rng(seed))
        hole = (cut.real == 0).all(-1)
        np.testing.assert_array_equal(hole, (cut.fake == 0).all(-1))
        np.testing.assert_array_equal(cut.real[~hole], real[~hole])
        np.testing.assert_array_equal(cut.fake[~hole], fake[~hole])
        np.testing.assert_array_equal(cut.mask, np.where(hole, 0, mask))
        assert cut.mask.sum() > 0.5 * mask.sum()
        if hole.any():
            holes += 1
            rows, columns = np.ptp(np.argwhere(hole), axis=0) + 1
            assert rows == columns == pytest.approx(np.sqrt(hole.sum()))
            assert 6 <= rows <= 20
    assert 80 <= holes <= 120


def test_a_hole_may_touch_the_pictures_edge_and_is_whole_there():
    real, forged = np.full((6, 6, 3), 9, np.uint8), np.ones((6, 6), np.float32)
    holes = set()
    for seed in range(1500):
        cut = draw_cutout(Pair(real, real, forged), np.random.default_rng(seed))
        rows, columns = np.nonzero((cut.real == 0).all(-1))
        if len(rows):
            side = int(np.ptp(rows)) + 1
            assert (len(rows), np.ptp(columns) + 1) == (side**2, side)
            holes.add((side, int(columns.min()), int(rows.min())))
    # a tenth to three tenths of the side, rounded, at every place
    assert holes == {(side, x, y) for side in (1, 2) for x in range(7 - side) for y in range(7 - side)}


def test_noise_is_gaussian_white_and_the_same_on_both():
    grey = np.full((380, 380, 3), 128, np.uint8)
    spreads = []
    for seed in range(60):
        pair = draw_noise(Pair(grey, grey.copy(), np.zeros((380, 380), np.float32)), np.random.default_rng(seed))
        np.testing.assert_array_equal(pair.real, pair.fake)
        noise = pair.real.astype(float) - 128
        spreads.append(noise.std())
        if noise.any():
            assert abs(noise.mean()) < 0.15
            assert abs(scipy.stats.kurtosis(noise.ravel())) < 0.6
            assert abs((noise[:, 1:] * noise[:, :-1]).mean() / noise.var()) < 0.03
    spreads = np.array(spreads)
    assert (spreads == 0).mean() == pytest.approx(0.5, abs=0.2)
    assert spreads[spreads > 0].min() > 0.8
    assert spreads.max() < 5.2


def test_noise_averaged_over_a_face_is_as_strong_in_a_small_picture_as_in_a_large_one():
    def spread(side: int) -> float:
        pair = Pair(*np.full((2, side, side, 3), 128, np.uint8), np.zeros((side, side), np.float32))
        return np.mean([draw_noise(pair, np.random.default_rng(seed)).real.std() for seed in range(40)])

    assert spread(190) == pytest.approx(spread(380) / 2, rel=0.1)


def test_the_ratio_of_the_blend_survives():
    pair = Pair(*np.full((2, 64, 64, 3), 128, np.uint8), np.zeros((64, 64), np.float32), ratio=0.25)
    assert {draw_noise(draw_cutout(pair, rng), rng).ratio for rng in map(np.random.default_rng, range(20))} == {0.25}
