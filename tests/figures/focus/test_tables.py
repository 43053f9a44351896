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
