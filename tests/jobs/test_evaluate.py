"""A run's scores as artifacts: what is in them, and what is said of a set on which a metric has no value."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from dfrepro import params
from dfrepro.data.manifest import Face, FaceStore
from dfrepro.errors import WorkbookError
from dfrepro.evaluate import metrics
from dfrepro.evaluate.predict import predict
from dfrepro.jobs.evaluate import evaluate_run
from dfrepro.methods.pim import run as backbone
from dfrepro.train import checkpoint
from dfrepro.train.ingredients import Inputs

SIDE, SEEN = 40, 32  # stored pixels, and what a network sees of them with crop .1 out of margin .25
OWN = "ffpp-c23"


def write(path, dataset: str, labels: tuple[int, ...], split: str = "test") -> FaceStore:
    """Two videos of three faces for each of `labels`."""
    rng = np.random.default_rng(0)
    faces = (
        Face(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8), dataset, ("original", "fake")[label],
             f"{video}", frame, label, split, np.zeros((81, 2)))
        for label in labels for video in range(2) for frame in range(3)
    )  # fmt: skip
    return FaceStore.write(path, faces, SIDE, meta={"margin": 0.25})


def trained(folder, spec, constant: bool = False):
    """The checkpoint of a network as it is before its first step; `constant`: it says the same of every face."""
    detector = backbone.build(spec).eval()
    if constant:
        classifier = detector.backbone.get_classifier()
        torch.nn.init.zeros_(classifier.weight)
        torch.nn.init.zeros_(classifier.bias)
    folder.mkdir()
    checkpoint.save(folder, detector, {"spec": spec, "faces": {}})
    return detector


@pytest.fixture
def spec():
    return params.load(scale="smoke").spec("erm-ffpp", 0)


def evaluated(tmp_path, spec, stores, constant=False, **settings):
    detector = trained(tmp_path / "run", spec, constant)
    inputs = Inputs(next(iter(stores.values())))
    settings = {"batch": 4, "frames": 3} | settings
    values = evaluate_run(tmp_path / "run", stores, inputs, tmp_path / "scores", **settings)
    return detector, values, json.loads((tmp_path / "scores" / "undefined.json").read_text())


def test_every_test_face_is_scored_and_the_runs_own_set_also_under_shift_and_corruptions(tmp_path, spec):
    stores = {OWN: write(tmp_path / "own", "ffpp", (0, 1)), "cdfv2": write(tmp_path / "cdf", "cdfv2", (0, 1))}
    detector, values, undefined = evaluated(tmp_path, spec, stores, conditions=["blur-2"])
    scores = pd.read_parquet(tmp_path / "scores" / "scores.parquet")
    assert scores.groupby(["dataset", "condition"], sort=True).size().to_dict() == {
        ("cdfv2", "clean"): 12, ("ffpp", "blur-2"): 12, ("ffpp", "clean"): 12, ("ffpp", "shifted"): 12,
    }  # fmt: skip
    for name, store in stores.items():
        alone = predict(detector, store, np.arange(12), size=SEEN, batch=4).frames
        found = scores[(scores.dataset == alone.dataset[0]) & (scores.condition == "clean")]
        assert np.array_equal(found.score, alone.score)
        assert values[name] == {"video_auc": metrics.video_auc(alone)}
    rows = pd.read_parquet(tmp_path / "scores" / "features.parquet")
    assert set(rows.condition) == {"clean", "shifted"}
    assert len(np.load(tmp_path / "scores" / "features.npy", allow_pickle=False)) == len(rows) == 24
    assert set(undefined) == {OWN, f"{OWN} shifted", f"{OWN} blur-2", "cdfv2"}
    assert not any(undefined.values())


def test_no_more_frames_of_a_video_are_scored_than_asked_for(tmp_path, spec):
    evaluated(tmp_path, spec, {OWN: write(tmp_path / "own", "ffpp", (0, 1))}, frames=2)
    scores = pd.read_parquet(tmp_path / "scores" / "scores.parquet")
    assert set(scores[scores.condition == "clean"].groupby(["manipulation", "video"]).size()) == {2}


@pytest.mark.parametrize(("labels", "constant", "reason"), [
    ((0,), False, "all 2 labels are 0"), ((1,), False, "all 2 labels are 1"), ((0, 1), True, "all 4 scores are 0.5"),
])  # fmt: skip
def test_one_class_or_one_score_gives_no_auc_and_says_why(tmp_path, spec, labels, constant, reason):
    _, values, undefined = evaluated(tmp_path, spec, {OWN: write(tmp_path / "own", "ffpp", labels)}, constant)
    assert values == {}
    assert reason in undefined[OWN]["video_auc"]
    assert len(pd.read_parquet(tmp_path / "scores" / "scores.parquet")) == 2 * 6 * len(labels)


@pytest.mark.parametrize(("labels", "split"), [((), "test"), ((0, 1), "train")])
def test_a_set_without_test_faces_is_an_error_and_leaves_no_scores(tmp_path, spec, labels, split):
    with pytest.raises(WorkbookError, match="no face is left"):
        evaluated(tmp_path, spec, {OWN: write(tmp_path / "own", "ffpp", labels, split)})
    assert not (tmp_path / "scores").exists()
