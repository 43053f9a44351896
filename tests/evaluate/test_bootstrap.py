"""Intervals: what they cover, what they resample, and that pairing is worth something."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from dfrepro.errors import WorkbookError
from dfrepro.evaluate.bootstrap import interval, paired_difference
from dfrepro.evaluate.metrics import Undefined, accuracy, auc, video_auc


def frames(seed: int, n: int = 60, gain: float = 1.0, per_video: int = 3, dataset: str = "cdf", noise: float = 0.1):
    """`n` videos, half fake, whose difficulty depends on `seed` alone; `gain` is how far fakes stand out."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(0, 1, n)
    rows = []
    for video in range(n):
        label = video % 2
        for frame in range(per_video):
            score = 1 / (1 + np.exp(-(difficulty[video] + gain * label + noise * rng.normal())))
            rows.append((dataset, "fake" if label else "original", f"{video:03d}", frame, label, score))
    return pd.DataFrame(rows, columns=["dataset", "manipulation", "video", "frame", "label", "score"])


def test_the_value_is_the_metric_and_lies_in_the_interval():
    table = frames(0)
    found = interval(table, n=500)
    assert found.value == video_auc(table)
    assert found.low < found.value < found.high
    assert (found.n_videos, found.n_seeds, found.level) == (60, 1, 0.95)


def test_the_same_seed_gives_the_same_interval_and_another_another():
    table = frames(0)
    assert interval(table, seed=1) == interval(table, seed=1)
    assert interval(table, seed=1) != interval(table, seed=2)


def test_auc_by_counts_is_auc_by_copies():
    """Counts as weights against scikit-learn on the copies, on the same draws."""
    table = frames(0)
    fast = interval(table, auc, n=200)
    slow = interval(table, roc_auc_score, n=200)
    assert (fast.low, fast.high) == pytest.approx((slow.low, slow.high), abs=1e-12)


def test_the_interval_covers_as_often_as_it_says():
    """The true AUC of two unit normals one apart is Φ(1/√2) = .760."""
    covered = [
        (found := interval(frames(seed, n=80, per_video=1, noise=0), n=300, seed=seed)).low < 0.7602 < found.high
        for seed in range(120)
    ]
    assert 0.87 <= np.mean(covered) <= 1


def test_frames_of_a_video_are_no_independent_samples():
    """The same videos with four times the frames are not known any better."""
    few, many = (interval(frames(0, per_video=k, noise=0), n=500) for k in (1, 4))
    assert few.high - few.low == pytest.approx(many.high - many.low, abs=1e-12)


def test_more_videos_make_it_narrower():
    """As the root of their number."""
    few, many = ([interval(frames(seed, n=n), n=300) for seed in range(4)] for n in (100, 1600))
    widths = [np.mean([found.high - found.low for found in intervals]) for intervals in (few, many)]
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.2)


def test_classes_keep_their_sizes():
    """Accuracy of a detector that calls all fake is the share of fakes, in every resample."""
    table = frames(0).assign(score=0.9)
    found = interval(table, accuracy, n=100)
    assert found.low == found.value == found.high == 0.5


def test_several_sets_are_averaged_each_with_its_own_videos():
    a, b = frames(0, dataset="a"), frames(1, dataset="b", gain=3.0)
    both = interval(pd.concat([a, b]), n=400)
    assert both.value == pytest.approx((video_auc(a) + video_auc(b)) / 2)
    alone = interval(a, n=400)
    assert both.high - both.low < alone.high - alone.low


def test_an_undefined_metric_is_an_error_here_too():
    table = frames(0)
    with pytest.raises(Undefined):
        interval(table[table["label"] == 1])
    with pytest.raises(Undefined):
        interval(table.assign(score=0.5))
    with pytest.raises(WorkbookError):
        interval(table[:0])


def arms(seeds: int, gain: float, spread: float = 0.0):
    """`seeds` pairs of arms on the same videos: gain 1 and `gain`, both moved alike by the seed's luck."""
    rng = np.random.default_rng(9)
    luck = spread * rng.normal(size=seeds)
    theirs = [frames(0, gain=1.0 + luck[i]) for i in range(seeds)]
    return [frames(0, gain=gain + luck[i]) for i in range(seeds)], theirs


def test_a_paired_difference_is_the_mean_over_seeds():
    ours, theirs = arms(3, 1.5, spread=0.3)
    found = paired_difference(ours, theirs, n=300)
    assert found.value == pytest.approx(np.mean([video_auc(a) - video_auc(b) for a, b in zip(ours, theirs)]))
    assert found.low < found.value < found.high
    assert found.excludes_zero
    assert found.n_seeds == 3


def test_an_arm_against_itself_differs_by_nothing():
    ours, _ = arms(3, 1.0, spread=0.3)
    found = paired_difference(ours, ours, n=100)
    assert (found.value, found.low, found.high) == (0, 0, 0)
    assert not found.excludes_zero


def test_the_sign_follows_the_arms():
    ours, theirs = arms(2, 1.5)
    forth, back = paired_difference(ours, theirs, n=200), paired_difference(theirs, ours, n=200)
    assert (back.value, back.low, back.high) == pytest.approx((-forth.value, -forth.high, -forth.low))


def test_pairing_over_videos_is_narrower_than_two_intervals():
    ours, theirs = arms(1, 1.2)
    paired = paired_difference(ours, theirs, n=500)
    alone = [interval(arm[0], n=500) for arm in (ours, theirs)]
    assert paired.high - paired.low < 0.5 * sum(found.high - found.low for found in alone)


def test_seeds_that_disagree_widen_the_interval():
    rng = np.random.default_rng(3)
    theirs = [frames(0) for _ in range(5)]
    calm = paired_difference([frames(0, gain=1.5) for _ in range(5)], theirs, n=500)
    wild = paired_difference([frames(0, gain=1.5 + rng.normal()) for _ in range(5)], theirs, n=500)
    assert wild.high - wild.low > 2 * (calm.high - calm.low)


def test_arms_on_different_videos_or_unpaired_seeds_are_refused():
    ours, theirs = arms(2, 1.5)
    with pytest.raises(WorkbookError, match="seeds"):
        paired_difference(ours, theirs[:1])
    with pytest.raises(WorkbookError, match="different videos"):
        paired_difference(ours, [theirs[0], theirs[1].iloc[6:]])
    with pytest.raises(WorkbookError, match="seeds"):
        paired_difference([], [])
