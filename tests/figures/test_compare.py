"""Figures of compared runs: what is drawn is what was measured, for any number of runs, seeds and sets."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from dfrepro.evaluate import metrics
from dfrepro.figures import compare as figures
from dfrepro.report.compare import compare


@pytest.fixture
def comparison(planted_scores):
    own = planted_scores({"base": 0.5, "good": 2.5}, seeds=2, dataset="ffpp-c23")
    fakes = (own["label"] == 1).to_numpy()
    own.loc[fakes, "manipulation"] = np.where(own.loc[fakes, "video"].str[1:].astype(int) < 20, "Deepfakes", "FaceSwap")
    other = planted_scores({"base": 0.5}, dataset="cdfv2")
    history = pd.DataFrame({"epoch": [1, 2, 3], "loss": [0.7, 0.6, 0.5], "validation": [np.nan, 0.6, 0.8]})
    yield compare(pd.concat([own, other]), {("base", 0): history, ("good", 0): history.drop(columns="validation")}, {})
    plt.close("all")


def test_the_area_under_a_drawn_roc_is_the_auc_of_its_run_on_its_set(comparison):
    figure = figures.roc(comparison)
    videos = metrics.video_scores(comparison.scores, by=("run", "seed"))
    for axis, test in zip(figure.axes, comparison.tests):
        there = videos[videos["dataset"] == test].groupby(["run", "seed"])
        wanted = sorted(roc_auc_score(part["label"], part["margin"]) for _, part in there)
        areas = sorted(np.trapezoid(line.get_ydata(), line.get_xdata()) for line in axis.lines[:-1])  # the last: chance
        assert areas == pytest.approx(wanted)
        assert len(set(wanted)) == len(wanted)


def test_the_area_under_a_drawn_precision_is_the_average_precision(comparison):
    videos = metrics.video_scores(comparison.scores, by=("run", "seed"))
    for axis, test in zip(figures.precision_recall(comparison).axes, comparison.tests):
        there = videos[videos["dataset"] == test].groupby(["run", "seed"])
        wanted = sorted(average_precision_score(part["label"], part["margin"]) for _, part in there)
        areas = sorted(-(np.diff(line.get_xdata()) * line.get_ydata()[:-1]).sum() for line in axis.lines[:-1])
        assert areas == pytest.approx(wanted)
        share = videos.loc[videos["dataset"] == test, "label"].mean()
        assert set(axis.lines[-1].get_ydata()) == {share}


def test_every_figure_is_drawn_and_saved_as_picture_and_as_vectors(comparison, tmp_path):
    paths = figures.save(figures.every(comparison), tmp_path)
    drawn = {"leaderboard", "roc", "precision-recall", "scores", "manipulations", "curves"}
    assert {path.name for path in paths} == {f"{name}.{kind}" for name in drawn for kind in ("png", "svg")}
    assert all(path.stat().st_size > 2000 for path in paths)


def test_points_of_the_leaderboard_are_the_aucs(comparison):
    figure = figures.leaderboard(comparison)
    own = figure.axes[0]
    drawn = [line.get_xdata()[0] for line in own.lines if line.get_marker() == "o"]
    assert drawn == comparison.table.loc[comparison.table["test"] == "ffpp-c23", "auc"].tolist()
    assert [label.get_text() for label in own.get_yticklabels()] == ["base", "good"]


def test_a_bar_is_one_manipulation_against_all_reals(comparison):
    bars = figures.manipulations(comparison).axes[0].patches
    scores = comparison.scores
    part = scores[(scores["run"] == "good") & (scores["dataset"] == "ffpp-c23")]
    part = part[(part["label"] == 0) | (part["manipulation"] == "FaceSwap")]
    expected = np.mean([metrics.video_auc(one) for _, one in part.groupby("seed")])
    assert bars[3].get_height() == pytest.approx(expected)


def test_only_epochs_that_were_validated_are_drawn(comparison):
    _, validation = figures.curves(comparison).axes
    (line, chance) = validation.lines
    assert line.get_xdata().tolist() == [2, 3]
    assert chance.get_linestyle() == "--"


def test_a_run_that_was_not_tested_on_a_set_has_no_curve_there(comparison):
    own, other = figures.roc(comparison).axes[:2]
    assert [line.get_label() for line in own.lines if not line.get_label().startswith("_")] == ["base", "good"]
    assert [line.get_label() for line in other.lines if not line.get_label().startswith("_")] == ["base"]
