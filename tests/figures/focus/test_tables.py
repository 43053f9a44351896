"""FoCus' tables and figures draw what they are given, and say what was not run."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from dfrepro.figures.focus import tables as focus
from dfrepro.report.evidence import Evidence

matplotlib.use("Agg")


def measured(**values) -> dict[str, Evidence]:
    rows = [(f"focus-map-{kind}", seed, "ffpp", "map_auc", value + seed / 10)
            for kind, value in values.items() for seed in (0, 1)]  # fmt: skip
    return {"here": Evidence(pd.DataFrame(rows, columns=["run", "seed", "dataset", "metric", "value"]))}


def test_the_direct_table_has_the_mean_over_seeds_and_knows_what_was_not_made():
    cells = focus.direct(measured(focus=0.2, attention=0.1))
    auc = cells[cells.column == "pixel AUC"].set_index("maps").value
    assert auc.to_dict() == pytest.approx({"FoCus": 0.25, "attention": 0.15})
    assert "Grad-CAM" in cells.attrs["rows"]


def test_the_direct_figure_has_a_row_a_kind_that_was_made_and_starts_at_zero():
    cells = focus.direct(measured(focus=0.2, attention=0.1))
    figure = focus.draw_direct(cells, "stand-in")
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["FoCus", "attention"]
    assert figure.axes[0].get_xlim() == (0, 1)


def faces(run: str, dataset: str, seeds=(0, 1)) -> pd.DataFrame:
    """A real and a fake video each, told apart by every seed."""
    rows = [(run, s, dataset, "fake" if y else "original", f"v{y}", 0, "clean", y, 4.0 * y - 2) for s in seeds
            for y in (0, 1)]  # fmt: skip
    columns = ["run", "seed", "dataset", "manipulation", "video", "frame", "condition", "label", "margin"]
    return pd.DataFrame(rows, columns=columns)


def test_aucs_are_of_frames_and_leave_out_what_was_not_run():
    cells = focus.frame_aucs({"here": Evidence(None, faces("a", "ffpp"))}, {"1": "a", "8": "missing"}, "K")
    assert cells[["K", "column", "value", "seeds"]].to_numpy().tolist() == [["1", "FF++", 1.0, 2]]
    assert focus.draw_k(cells, "stand-in") is None


def test_a_mask_is_outlined_where_it_has_an_edge():
    masks = np.zeros((2, 16, 16), np.uint8)
    masks[0, 4:9, 4:9] = 255
    maps = {"one": np.random.default_rng(0).random((2, 16, 16))}
    figure = focus.draw_maps(np.zeros((2, 16, 16, 3), np.uint8), ["DF", "real"], maps, masks)
    outlined = [len(axis.collections) for axis in figure.axes[:4]]
    assert outlined == [1, 0, 1, 0]
    assert figure.axes[2].images[1].get_clim() == (0, maps["one"].max())


def test_table_i_has_both_halves_in_percent():
    cells = focus.within({"here": Evidence(None, faces("focus-eval-focus-hq", "ffpp"))})
    assert cells[["maps", "column", "value"]].to_numpy().tolist() == [
        ["FoCus, HQ", "accuracy", 100.0], ["FoCus, HQ", "AUC", 100.0],
    ]  # fmt: skip


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
