"""FoCus' tables and figures draw what they are given, and say what was not run."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from dfrepro.figures.focus import tables as focus

matplotlib.use("Agg")


def measured(**values):
    rows = [(f"focus-map-{kind}", seed, "map_auc", value + seed) for kind, value in values.items() for seed in (0, 1)]
    return pd.DataFrame(rows, columns=["run", "seed", "metric", "value"])


def test_the_direct_table_is_the_mean_over_seeds_and_names_what_was_not_made():
    table = focus.direct(measured(focus=0.2, attention=0.1))
    assert table.map_auc["FoCus"] == pytest.approx(0.7)
    assert table.map_auc["attention"] == pytest.approx(0.6)
    assert (table.loc["Grad-CAM"] == "not run").all()
    assert table.map_mass_real["FoCus"] == ""


def test_aucs_are_of_frames_by_seed_and_leave_out_what_was_not_run():
    rows = [("a", s, "ffpp", "clean", y, y if s else 1 - y) for s in (0, 1) for y in (0, 1)]
    rows += [("a", 0, "ffpp", "blur-1", 0, 0.0), ("b", 0, "ffpp", "clean", 0, 0.0)]
    scores = pd.DataFrame(rows, columns=["run", "seed", "dataset", "condition", "label", "score"])
    table = focus.frame_aucs(scores, {1: "a", 8: "missing"})
    assert table.index.tolist() == [1]
    assert table.ffpp[1] == pytest.approx(0.5)
    assert focus.draw_k(table) is None


def test_a_mask_is_outlined_where_it_has_an_edge():
    masks = np.zeros((2, 16, 16), np.uint8)
    masks[0, 4:9, 4:9] = 255
    maps = {"one": np.random.default_rng(0).random((2, 16, 16))}
    figure = focus.draw_maps(np.zeros((2, 16, 16, 3), np.uint8), ["DF", "real"], maps, masks)
    outlined = [len(axis.collections) for axis in figure.axes[:4]]
    assert outlined == [1, 0, 1, 0]
    assert figure.axes[2].images[1].get_clim() == (0, maps["one"].max())


def test_table_i_has_both_halves_in_percent_and_names_what_was_not_run():
    rows = [("focus-eval-focus-hq", seed, "ffpp", "clean", y, 0.9 * y + 0.05) for seed in (0, 1) for y in (0, 1)]
    rows += [("focus-eval-focus-hq", 0, "wdf", "clean", 1, 0.0)]
    table = focus.within(pd.DataFrame(rows, columns=["run", "seed", "dataset", "condition", "label", "score"]))
    assert table.loc["FoCus", "HQ AUC"] == 100
    assert table.loc["FoCus", "LQ AUC"] == table.loc["true masks", "HQ Acc"] == "not run"


def test_figure_9_has_a_row_a_model_and_a_colour_a_manipulation():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.random((16, 2)), columns=["x", "y"]).assign(
        model=["baseline", "FoCus"] * 8, dataset=["ffpp"] * 8 + ["wdf"] * 8,
        manipulation=["original", "original", "Deepfakes", "Deepfakes", "FaceSwap", "FaceSwap", "original", "original"]
        + ["fake"] * 8, label=[0, 0, 1, 1, 1, 1, 0, 0] + [1] * 8,
    )  # fmt: skip
    figure = focus.draw_features(rows)
    assert [axis.get_title(loc="center") for axis in figure.axes] == [
        "baseline: FF++", "baseline: WDF", "FoCus: FF++", "FoCus: WDF",
    ]  # fmt: skip
    colours = {tuple(points.get_facecolor()[0]) for points in figure.axes[0].collections}
    assert len(colours) == 3


def test_figure_11_draws_each_lambda_that_was_run():
    curves = pd.DataFrame({"lam": [0.1, 0.1, 1.0], "epoch": [1, 2, 1], "cls": [0.7, 0.5, 0.6], "loc": [1.4, 1.2, 1.3]})
    assert len(focus.draw_losses(curves).axes) == 2
    assert focus.draw_losses(curves[:0]) is None
