"""A run's scores as artifacts: what is in them, and what is said of a set on which a metric has no value."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from dfrepro import params
from dfrepro.data.manifest import Face, FaceStore
from dfrepro.errors import WorkbookError
from dfrepro.evaluate import metrics, scores
from dfrepro.evaluate.embedding import neighbour_agreement
from dfrepro.evaluate.predict import predict
from dfrepro.jobs.evaluate import evaluate_run, some_people
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


def trained(folder, spec, constant: bool = False, surely: float = 0):
    """The checkpoint of a network as it is before its first step; `constant`: it says the same of every face; `surely`:
    it takes every face for a fake, with a margin of about that."""
    detector = backbone.build(spec).eval()
    if constant:
        classifier = detector.backbone.get_classifier()
        torch.nn.init.zeros_(classifier.weight)
        torch.nn.init.zeros_(classifier.bias)
    with torch.no_grad():
        detector.backbone.get_classifier().bias[1] += surely
    folder.mkdir()
    checkpoint.save(folder, detector, {"spec": spec, "faces": {}})
    return detector


@pytest.fixture
def spec():
    return params.load(scale="smoke").spec("erm-ffpp", 0)


def evaluated(tmp_path, spec, stores, constant=False, surely=0.0, **settings):
    detector = trained(tmp_path / "run", spec, constant, surely)
    inputs = Inputs(next(iter(stores.values())))
    settings = {"batch": 4, "frames": 3} | settings
    values = evaluate_run(tmp_path / "run", stores, inputs, tmp_path / "scores", **settings)
    return detector, values, json.loads((tmp_path / "scores" / "undefined.json").read_text())


def test_corruptions_are_tried_on_some_people_with_all_their_fakes(tmp_path, spec):
    manifest = pd.DataFrame(
        [(f"{n:03d}", "original", "") for n in range(10)]
        + [(f"{n:03d}_{9 - n:03d}", kind, "") for n in range(10) for kind in ("Deepfakes", "FaceSwap")],
        columns=["video", "manipulation", "identity"],
    )
    rows = np.arange(30)
    some = manifest.iloc[some_people(manifest, rows, 0.3)]
    assert sorted(set(some.video.str[:3])) == ["000", "004", "009"]
    assert some.groupby("manipulation").size().to_dict() == {"original": 3, "Deepfakes": 3, "FaceSwap": 3}
    assert np.array_equal(some_people(manifest, rows, 1.0), rows)
    named = manifest.assign(identity=["a"] * 15 + ["b"] * 15)
    assert np.array_equal(some_people(named, rows, 0.5), rows[:15])


def test_clean_faces_are_all_scored_where_few_are_corrupted(tmp_path, spec):
    stores = {OWN: write(tmp_path / "own", "ffpp", (0, 1))}
    evaluated(tmp_path, spec, stores, conditions=["blur-2"], corrupted=0.5)
    written = pd.read_parquet(tmp_path / "scores" / "scores.parquet")
    assert written.groupby("condition").size().to_dict() == {"blur-2": 6, "clean": 12, "shifted": 12}


def test_every_test_face_is_scored_and_the_runs_own_set_also_under_shift_and_corruptions(tmp_path, spec):
    stores = {OWN: write(tmp_path / "own", "ffpp", (0, 1)), "cdfv2": write(tmp_path / "cdf", "cdfv2", (0, 1))}
    detector, values, undefined = evaluated(tmp_path, spec, stores, conditions=["blur-2"])
    written = pd.read_parquet(tmp_path / "scores" / "scores.parquet")
    assert written.margin.dtype == np.float32
    assert written.groupby(["dataset", "condition"], sort=True).size().to_dict() == {
        ("cdfv2", "clean"): 12, ("ffpp", "blur-2"): 12, ("ffpp", "clean"): 12, ("ffpp", "shifted"): 12,
    }  # fmt: skip
    for name, store in stores.items():
        alone = predict(detector, store, np.arange(12), size=SEEN, batch=4).frames
        found = written[(written.dataset == alone.dataset[0]) & (written.condition == "clean")]
        assert np.array_equal(found.margin, alone.margin)
        assert values[name] == {"video_auc": metrics.video_auc(alone)}
    rows = pd.read_parquet(tmp_path / "scores" / "features.parquet")
    assert set(rows.condition) == {"clean", "shifted"}
    assert len(np.load(tmp_path / "scores" / "features.npy", allow_pickle=False)) == len(rows) == 24
    assert set(undefined) == {OWN, f"{OWN} shifted", f"{OWN} blur-2", "cdfv2"}
    assert not any(undefined.values())


def test_validation_faces_of_the_runs_own_set_are_scored_apart_whatever_it_is_tested_on(tmp_path, spec):
    own, other = write(tmp_path / "own", "ffpp", (0, 1), "val"), write(tmp_path / "cdf", "cdfv2", (0, 1))
    detector = trained(tmp_path / "run", spec)
    evaluate_run(tmp_path / "run", {"cdfv2": other}, Inputs(own), tmp_path / "scores", batch=4, frames=3)
    found = scores.read(tmp_path / "scores", scores.VALIDATION)
    alone = predict(detector, own, np.arange(12), size=SEEN, batch=4).frames
    assert found.margin.astype(np.float32).tolist() == alone.margin.astype(np.float32).tolist()
    assert set(scores.read(tmp_path / "scores").dataset) == {"cdfv2"}


def test_no_more_frames_of_a_video_are_scored_than_asked_for(tmp_path, spec):
    evaluated(tmp_path, spec, {OWN: write(tmp_path / "own", "ffpp", (0, 1))}, frames=2)
    written = pd.read_parquet(tmp_path / "scores" / "scores.parquet")
    assert set(written[written.condition == "clean"].groupby(["manipulation", "video"]).size()) == {2}


@pytest.mark.parametrize(("labels", "constant", "reason"), [
    ((0,), False, "all 2 labels are 0"), ((1,), False, "all 2 labels are 1"), ((0, 1), True, "all 4 scores are 0"),
])  # fmt: skip
def test_one_class_or_one_score_gives_no_auc_and_says_why(tmp_path, spec, labels, constant, reason):
    _, values, undefined = evaluated(tmp_path, spec, {OWN: write(tmp_path / "own", "ffpp", labels)}, constant)
    assert values == {}
    assert reason in undefined[OWN]["video_auc"]
    assert len(pd.read_parquet(tmp_path / "scores" / "scores.parquet")) == 2 * 6 * len(labels)


def test_a_detector_that_is_sure_of_everything_still_ranks_it(tmp_path, spec):
    """A sigmoid is 1 for all these margins: as probabilities they would be one score for all."""
    stores = {OWN: write(tmp_path / "own", "ffpp", (0, 1))}
    _, values, undefined = evaluated(tmp_path, spec, stores, surely=60.0)
    found = scores.read(tmp_path / "scores")
    assert found.margin.min() > 37
    assert found.margin.nunique() > 2
    assert not undefined[OWN]
    assert values[OWN]["video_auc"] == metrics.video_auc(found[found.condition == "clean"])


def test_tables_of_probabilities_are_read_as_margins(tmp_path):
    rows = pd.DataFrame({"video": ["a", "b", "c"], "score": [0.5, 1 / (1 + np.exp(-3.0)), 1.0]})
    rows.to_parquet(tmp_path / scores.NAME)
    assert scores.read(tmp_path).margin.tolist() == pytest.approx([0, 3, scores.LARGEST])


@pytest.mark.parametrize(("labels", "split"), [((), "test"), ((0, 1), "train")])
def test_a_set_without_test_faces_is_an_error_and_leaves_no_scores(tmp_path, spec, labels, split):
    with pytest.raises(WorkbookError, match="no face is left"):
        evaluated(tmp_path, spec, {OWN: write(tmp_path / "own", "ffpp", labels, split)})
    assert not (tmp_path / "scores").exists()


def test_separability_is_of_the_runs_own_reals_and_fakes_clean_and_shifted(tmp_path, spec):
    store = write(tmp_path / "own", "ffpp", (0, 1))
    of_set = spec | {"data": spec["data"] | {"manipulations": ["fake"]}}
    evaluated(tmp_path, of_set, {OWN: store})
    measured = pd.read_csv(tmp_path / "scores" / "measured.csv").set_index("metric")["value"]
    rows = pd.read_parquet(tmp_path / "scores" / "features.parquet")
    features = np.load(tmp_path / "scores" / "features.npy")
    videos = (rows.manipulation + "/" + rows.video).to_numpy()
    for condition, metric in (("clean", "separability"), ("shifted", "separability_shifted")):
        these = (rows.condition == condition).to_numpy()
        alone = neighbour_agreement(features[these], rows.label.to_numpy()[these], videos[these])
        if condition == "clean":  # standardised by themselves, as the function does on its own
            assert measured[metric] == pytest.approx(alone)
        assert 0 <= measured[metric] <= 1


def test_the_probes_positive_control_is_a_condition_by_name(tmp_path, spec):
    evaluated(tmp_path, spec, {OWN: write(tmp_path / "own", "ffpp", (0, 1))}, conditions=["strong-shift"])
    found = scores.read(tmp_path / "scores")
    by = {name: part.margin.to_numpy() for name, part in found.groupby("condition")}
    assert set(by) == {"clean", "shifted", "strong-shift"}
    assert np.abs(by["strong-shift"] - by["clean"]).mean() > np.abs(by["shifted"] - by["clean"]).mean()


def test_a_network_trained_with_pim_is_the_same_with_it_attached_idle_or_at_zero(tmp_path, spec):
    with_pim = spec | {"step": spec["step"] | {"alpha": 1.0}}
    evaluated(tmp_path, with_pim, {OWN: write(tmp_path / "own", "ffpp", (0, 1))})
    measured = pd.read_csv(tmp_path / "scores" / "measured.csv").set_index("metric")["value"]
    assert measured["inference_difference"] == measured["identity_difference"] == 0
    assert 0 < measured["mu_share"] < 1


def test_the_fakes_of_a_set_without_reals_are_scored_with_the_test_reals_of_another(tmp_path, spec):
    """DF40's reals are FF++'s: FIA-USA, Appendix G. Reals of its own, which some methods have, are left out."""
    own, fakes = write(tmp_path / "own", "ffpp", (0, 1)), write(tmp_path / "df40", "df40", (0, 1))
    _, values, undefined = evaluated(tmp_path, spec, {OWN: own, "df40": fakes}, reals={"df40": OWN})
    found = scores.read(tmp_path / "scores").query("condition == 'clean'")
    by = {name: part.set_index(["label", "video", "frame"]).margin for name, part in found.groupby("dataset")}
    pd.testing.assert_series_equal(by["df40"].loc[0], by["ffpp"].loc[0])
    assert len(by["df40"].loc[1]) == 6
    joined = pd.concat(
        [found.query("dataset == 'df40' and label == 1"), found.query("dataset == 'ffpp' and label == 0")]
    )
    assert values["df40"] == {"video_auc": metrics.video_auc(joined)}
    assert not any(undefined.values())
