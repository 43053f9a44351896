"""Validation in a training: the metric's value, on few faces of the training's own set, and no weight is moved."""

import math

import numpy as np
import pandas as pd
import pytest
from torch import nn

from dfrepro import params
from dfrepro.data.dataset import FaceDataset, select
from dfrepro.data.manifest import FaceStore
from dfrepro.evaluate import metrics
from dfrepro.evaluate.predict import predict
from dfrepro.nets.detector import Backbone, build_detector, evaluating
from dfrepro.nets.losses import CrossEntropy
from dfrepro.train.fit import LOOKS, Objective, TrainConfig, fit
from dfrepro.train.steps import StepRule
from dfrepro.train.validation import in_domain, some

GIVEN = {"data": {"manipulations": ["Deepfakes", "FaceSwap"]}, "crop": 0.25}
DROPPING = Backbone("test_resnet", 32, {"drop_rate": 0.2})  # with batch norm and dropout


def train(store, out, validate, epochs=2, **changes) -> pd.DataFrame:
    objective = Objective(CrossEntropy(), StepRule(alpha=0.5, beta=0.5), validate=validate)
    about = {"epochs": epochs, "batch": 8, "frames": 1, "optimiser": "sgd", "lr": 0.05, "seed": 3}
    config = TrainConfig(**about, accelerator="cpu", threads=1, **changes)
    data = FaceDataset(store, select(store.manifest, split="train"), size=32, seed=3, draws=16)
    fit(build_detector(DROPPING, seed=1), data, objective, config, out)
    return pd.read_csv(out / "history.csv")


def test_the_value_is_the_metrics_on_the_same_faces(store):
    detector = build_detector(DROPPING, seed=1)
    rows = select(store.manifest, split="val")
    frames, _ = predict(detector, store, rows, size=40)
    assert in_domain(GIVEN, store, None)(detector) == pytest.approx(metrics.video_auc(frames), abs=1e-12)


def test_fakes_are_those_of_the_run(store):
    seen = []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = build_detector(DROPPING, seed=1)

        def forward(self, images):
            seen.append(len(images))
            return self.inner(images)

    in_domain(GIVEN | {"data": {"manipulations": ["FaceSwap"]}}, store, None)(Spy())
    assert sum(seen) == 8  # 4 frames of one video, real and FaceSwap


def test_pim_sam_batch_norm_and_dropout_end_in_the_same_weights_with_and_without(store, tmp_path):
    without = train(store, tmp_path / "without", None)
    history = train(store, tmp_path / "with", in_domain(GIVEN, store, 6))
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("with", "without"))
    assert one == other
    assert history["validation"].between(0, 1).all()
    pd.testing.assert_frame_equal(history.drop(columns="validation"), without)


def test_a_long_training_is_looked_at_a_dozen_times_and_at_its_end(store, tmp_path):
    epochs = 2 * LOOKS + 5
    history = train(store, tmp_path / "run", in_domain(GIVEN, store, 6), epochs=epochs)
    looked = history.loc[history["validation"].notna(), "epoch"]
    assert len(history) == epochs
    assert looked.tolist() == [*range(3, epochs, 3), epochs]


def test_weights_that_validation_chooses_are_looked_at_after_every_epoch(store, tmp_path):
    history = train(store, tmp_path / "run", in_domain(GIVEN, store, None), epochs=LOOKS + 2, select="best_validation")
    assert history["validation"].notna().all()


def test_few_faces_are_spread_over_videos_and_frames():
    n, frames = 30, 8
    keys = [(m, f"{v:03d}", f) for m in ("original", "Deepfakes") for v in range(n) for f in range(frames)]
    manifest = pd.DataFrame(keys, columns=["manipulation", "video", "frame"]).assign(dataset="ffpp")
    store = FaceStore.__new__(FaceStore)
    object.__setattr__(store, "manifest", manifest)
    rows = np.arange(len(manifest))
    chosen = manifest.iloc[some(store, rows, 2 * 60)]
    assert len(chosen) == 120
    assert chosen.groupby(["manipulation", "video"])["frame"].agg(list).map(tuple).unique().tolist() == [(0, 7)]
    few = manifest.iloc[some(store, rows, 20)]
    assert few["manipulation"].value_counts().to_dict() == {"original": 10, "Deepfakes": 10}
    assert len(some(store, rows, 10**6)) == len(rows)


@pytest.mark.parametrize("kept", [{"train", "test"}, {"train"}])
def test_a_set_without_validation_videos_is_not_validated(store, kept):
    part = FaceStore.__new__(FaceStore)
    object.__setattr__(part, "manifest", store.manifest[store.manifest["split"].isin(kept)])
    assert in_domain(GIVEN, part, 100) is None


def test_a_split_of_reals_alone_is_not_validated(store):
    reals = FaceStore.__new__(FaceStore)
    object.__setattr__(reals, "manifest", store.manifest[store.manifest["label"] == 0])
    assert in_domain(GIVEN | {"data": {"manipulations": []}}, reals, 100) is None


def test_a_module_that_is_kept_in_evaluation_mode_stays_there():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout())
    network[0].eval()
    with evaluating(network):
        assert not any(module.training for module in network.modules())
    assert [module.training for module in network.modules()] == [True, False, True]


def test_a_network_that_is_broken_gives_no_number(store):
    detector = build_detector(DROPPING, seed=1)
    nn.init.constant_(detector.backbone.get_classifier().weight, math.nan)
    assert math.isnan(in_domain(GIVEN, store, None)(detector))


def test_every_scale_validates_unless_told_not_to():
    p = params.load(scale="smoke", grid="full")
    assert {p.training(run).validation for run in p.runs} == {144}
