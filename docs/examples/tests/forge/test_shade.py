"""Shade: a picture loses light, and no more than it is told."""

import numpy as np

from dfrepro.forge.shade import Shade

WHITE = np.full((20, 24, 3), 255, np.uint8)


def test_the_same_draw_gives_the_same_picture():
    one, other = (Shade()({"image": WHITE}, np.random.default_rng(3))["image"] for _ in range(2))
    assert np.array_equal(one, other)
    assert not np.array_equal(one, Shade()({"image": WHITE}, np.random.default_rng(4))["image"])


def test_no_pixel_gets_brighter_or_loses_more_than_the_depth():
    rng, before = np.random.default_rng(0), WHITE.copy()
    darkest = [int(Shade(depth=0.4)({"image": WHITE}, rng)["image"].min()) for _ in range(50)]
    assert 0.6 * 255 - 1 <= min(darkest) < 0.7 * 255
    assert max(darkest) <= 255
    assert np.array_equal(WHITE, before)
