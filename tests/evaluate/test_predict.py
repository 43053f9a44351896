"""Scoring: every face once, in order, whatever the size of the batch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dfrepro.data.manifest import Face, FaceStore
from dfrepro.errors import WorkbookError
from dfrepro.evaluate.corruptions import corrupt
from dfrepro.evaluate.predict import predict, predict_under
from dfrepro.evaluate.probe import Corrupted, StatisticShift
from dfrepro.nets.detector import Backbone, Output, build_detector


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FaceStore:
    path: Path = tmp_path_factory.mktemp("faces") / "store"
    rng = np.random.default_rng(0)
    faces = (
        Face(
            rng.integers(0, 256, (40, 40, 3), dtype=np.uint8), "cdf", ("original", "fake")[i % 2], f"{i // 4}", i,
            i % 2, "test", np.zeros((81, 2)), identities=(f"p{i // 4}", "q")[: 1 + i % 2],
        )
        for i in range(22)
    )  # fmt: skip
    return FaceStore.write(path, faces, 40)


@pytest.fixture(scope="module")
def detector():
    return build_detector(Backbone("test_resnet", 32), seed=0)


def test_scores_are_those_of_the_central_pixels_one_by_one(store, detector):
    rows = np.array([3, 20, 7, 8])
    frames, features = predict(detector, store, rows, size=32, batch=3)
    detector.eval()
    for row, margin, feature in zip(rows, frames["margin"], features):
        image = torch.from_numpy(store.faces[row][4:36, 4:36].copy()).permute(2, 0, 1)[None]
        with torch.no_grad():
            output = detector(image)
        assert margin == pytest.approx(float(output.margins), abs=1e-5)
        np.testing.assert_allclose(feature, output.features[0], atol=1e-5)


def test_rows_keep_their_order_and_their_names(store, detector):
    rows = np.array([5, 1, 14])
    frames, features = predict(detector, store, rows, size=32)
    assert list(frames["row"]) == [5, 1, 14]
    assert list(frames["frame"]) == [5, 1, 14]
    assert list(frames["video"]) == ["1", "0", "3"]
    names = ["dataset", "manipulation", "video", "frame", "label", "split", "row", "identity", "source", "margin"]
    assert list(frames.columns)[: len(names)] == names
    assert frames[["identity", "source"]].to_numpy().tolist() == [["p1", "q"], ["p0", "q"], ["p3", ""]]
    assert features.shape == (3, 96)
    assert features.dtype == np.float32


def test_of_more_people_than_two_the_first_are_target_and_source(tmp_path, detector):
    face = np.zeros((32, 32, 3), np.uint8)
    many = Face(face, "x", "fake", "v", 0, 1, "test", np.zeros((81, 2)), identities=("a", "b", "c"))
    frames, _ = predict(detector, FaceStore.write(tmp_path / "store", [many], 32), np.array([0]), size=32)
    assert frames[["identity", "source"]].to_numpy().tolist() == [["a", "b"]]


@pytest.mark.parametrize("batch", [1, 7, 22, 100])
def test_the_size_of_the_batch_changes_nothing(store, detector, batch):
    rows = np.arange(22)
    margins = predict(detector, store, rows, size=32, batch=batch).frames["margin"]
    np.testing.assert_allclose(margins, predict(detector, store, rows, size=32, batch=8).frames["margin"], atol=1e-5)


def test_every_face_passes_once(store):
    class Counting(nn.Module):
        seen = 0

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            assert not self.training
            assert not torch.is_grad_enabled()
            self.seen += len(x)
            logits = torch.stack([-x.float().mean((1, 2, 3)), x.float().mean((1, 2, 3))], 1)
            return Output(logits, logits, x)

    counting = Counting()
    predict(counting.train(), store, np.arange(22), size=32, batch=5)
    assert counting.seen == 22
    assert counting.training  # as it was


def test_probes_see_the_same_faces_as_the_detector_alone(store, detector):
    rows = np.arange(10)
    shift = StatisticShift()
    found = predict_under(detector, store, rows, {"clean": None, "shifted": shift}, size=32)
    for name, probe in (("clean", None), ("shifted", shift)):
        alone = predict(detector, store, rows, size=32, probe=probe)
        assert found[name].frames.equals(alone.frames)
        assert np.array_equal(found[name].features, alone.features)
    assert not np.allclose(found["clean"].features, found["shifted"].features)


def test_each_video_of_a_batch_is_compressed_as_a_clip_of_its_own(store, detector):
    """Also behind the first batch. A video here is two reals or two fakes."""
    rows = np.array([0, 2, 1, 3, 4, 6, 5, 7, 8, 10])
    features = predict(detector, store, rows, size=32, probe=Corrupted("video", 5), batch=4).features
    clips = np.concatenate([corrupt(store.faces[rows[i : i + 2]][:, 4:36, 4:36], "video", 5) for i in range(0, 10, 2)])
    detector.eval()
    with torch.no_grad():
        expected = detector(torch.from_numpy(clips).permute(0, 3, 1, 2)).features
    np.testing.assert_allclose(features, expected, atol=1e-5)


def test_corruptions_are_applied_at_the_size_that_the_network_sees(store, detector):
    """One pixel of blur is one of its 32, not one of the 40 that are stored."""
    rows, probe = np.array([2, 9]), {"blurred": Corrupted("gaussian-blur", 3)}
    seen = predict_under(detector, store, rows, probe, size=40, corrupted_at=32)["blurred"]
    images = torch.from_numpy(store.faces[rows].copy()).permute(0, 3, 1, 2).float()
    small = torch.nn.functional.interpolate(images, (32, 32), mode="bilinear", antialias=True).round().byte()
    blurred = corrupt(np.ascontiguousarray(small.permute(0, 2, 3, 1).numpy()), "gaussian-blur", 3)
    with torch.no_grad():
        expected = detector.eval()(torch.from_numpy(blurred).permute(0, 3, 1, 2)).features
    np.testing.assert_allclose(seen.features, expected, atol=1e-5)
    other = predict_under(detector, store, rows, probe, size=40)["blurred"]
    assert np.abs(other.features - seen.features).max() > 1e-3


def test_no_rows_give_empty_tables(store, detector):
    frames, features = predict(detector, store, np.array([], int), size=32)
    assert len(frames) == len(features) == 0
    assert "margin" in frames


def test_a_score_that_is_not_finite_is_named(store):
    broken = build_detector(Backbone("test_resnet", 32), seed=0)
    with torch.no_grad():
        broken.backbone.fc.bias.fill_(float("nan"))
    with pytest.raises(WorkbookError, match="cdf/original/0/0"):
        predict(broken, store, np.arange(4), size=32)


def test_a_window_larger_than_the_faces_is_refused(store, detector):
    with pytest.raises(WorkbookError, match="48 px"):
        predict(detector, store, np.arange(4), size=48)
