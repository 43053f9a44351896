"""Neighbour agreement says how far classes are apart; frames of one video and unequal classes do not fool it."""

import numpy as np
import pandas as pd

from dfrepro.evaluate.embedding import joint, neighbour_agreement


def clouds(gap: float, n: int = 60, seed: int = 0):
    """n faces, four a video, half real, whose classes are `gap` apart in each of six features."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) // 4) % 2
    features = rng.standard_normal((n, 6))
    features += gap * labels[:, None]
    return features, labels, np.arange(n) // 4


def test_far_classes_agree_and_one_cloud_does_not():
    assert neighbour_agreement(*clouds(50.0)) == 1.0
    mixed = [neighbour_agreement(*clouds(0.0, 200, seed)) for seed in range(5)]
    assert abs(np.mean(mixed) - 0.5) < 0.05


def test_frames_of_the_same_video_do_not_count():
    features, labels, videos = clouds(0.0, 200)
    tight = features + 1000 * np.random.default_rng(1).standard_normal((50, 6))[videos]  # every video its own island
    assert abs(neighbour_agreement(tight, labels, videos) - 0.5) < 0.15


def test_unequal_classes_do_not_move_the_middle():
    rng = np.random.default_rng(0)
    labels = np.r_[np.zeros(40, int), np.ones(360, int)]
    agreements = [neighbour_agreement(rng.standard_normal((400, 6)), labels, np.arange(400)) for _ in range(5)]
    assert abs(np.mean(agreements) - 0.5) < 0.06


def test_it_equals_a_loop():
    features, labels, videos = clouds(1.0, 40, 3)
    scaled = (features - features.mean(0)) / features.std(0)
    own = []
    for i in range(40):
        order = [j for j in np.argsort(np.linalg.norm(scaled - scaled[i], axis=1)) if videos[j] != videos[i]][:10]
        own.append(np.mean([labels[j] == labels[i] for j in order]))  # classes are equally many: weights are equal
    expected = np.mean([np.mean(np.array(own)[labels == label]) for label in (0, 1)])
    assert np.isclose(neighbour_agreement(features, labels, videos), expected)


def test_unequal_classes_are_weighted_so_that_each_votes_alike():
    """Against a loop: a neighbour of the rarer class has as many votes as the other class has faces."""
    features, labels, videos = clouds(1.0, 36, 3)
    labels = np.where(np.arange(36) < 12, labels, 1)  # few reals, many fakes
    scaled = (features - features.mean(0)) / features.std(0)
    votes = {label: (labels != label).sum() for label in (0, 1)}
    own = []
    for i in range(36):
        order = [j for j in np.argsort(np.linalg.norm(scaled - scaled[i], axis=1)) if videos[j] != videos[i]][:10]
        cast = [votes[labels[j]] for j in order]
        own.append(sum(v for v, j in zip(cast, order) if labels[j] == labels[i]) / sum(cast))
    expected = np.mean([np.mean(np.array(own)[labels == label]) for label in (0, 1)])
    assert np.isclose(neighbour_agreement(features, labels, videos), expected)


def test_a_joint_embedding_keeps_every_row_and_is_the_same_for_a_seed():
    features, labels, _ = clouds(5.0)
    frames = {
        "clean": (pd.DataFrame({"label": labels}), features),
        "shifted": (pd.DataFrame({"label": labels}), features + 1),
    }
    one, two = joint(frames, seed=0), joint(frames, seed=0)
    assert list(one.condition.value_counts()) == [60, 60]
    assert one[["x", "y"]].equals(two[["x", "y"]])
