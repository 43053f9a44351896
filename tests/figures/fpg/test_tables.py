"""FPG's tables and figures: what is drawn is what was measured, and what was not run says so."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from dfrepro.figures.fpg import tables as fpg
from dfrepro.report.evidence import Evidence
from dfrepro.report.schema import load_claims


def rows(run: str, values: dict[tuple[str, str], float]) -> list[dict]:
    return [
        {"run": run, "seed": 0, "dataset": dataset, "metric": metric, "value": value}
        for (dataset, metric), value in values.items()
    ]


def test_a_curve_starts_at_the_clean_test_set_and_has_its_interval(planted_scores):
    clean = planted_scores({"fpg-full": 2.0}, dataset="ffpp")
    blurred = planted_scores({"fpg-full": 0.3}, dataset="ffpp").assign(condition="blur-5")
    curves = fpg.corruption_curves({"here": Evidence(None, pd.concat([clean, blurred]))}, "fpg-full")
    blur = curves[curves.corruption == "blur"].set_index("level")
    assert blur.index.tolist() == [0, 5]
    assert blur.value[5] < blur.value[0]
    assert ((curves.low <= curves.value) & (curves.value <= curves.high)).all()
    figure = fpg.draw_corruptions(curves, "stand-in")
    assert len(figure.axes) == len(fpg.CORRUPTIONS)
    plt.close(figure)


def test_saliency_stands_beside_what_a_uniform_map_would_get():
    measured = pd.DataFrame(
        rows("fpg-full", {("dfd", "saliency_inside"): 0.7, ("dfd", "mask_share"): 0.4, ("dfd", "saliency_empty"): 0.1})
    )
    cells = fpg.saliency_table({"here": Evidence(measured)}, {"FPG": "fpg-full", "control": "fpg-random-sign"})
    found = cells.set_index("column").value.to_dict()
    assert found == {"DFD: inside the mask": 0.7, "DFD: a uniform map": 0.4, "DFD: empty maps": 0.1}
    assert cells.attrs["rows"] == ["FPG", "control"]


def test_cost_is_counted_in_steps_of_what_was_run():
    ends = {"fpg-plain": (100, 0.9), "fpg-full": (100, 0.95), "fpg-third": (15, 0.8)}
    histories = {
        run: pd.DataFrame({"step": [1, steps], "validation": [0.5, auc]}) for run, (steps, auc) in ends.items()
    }
    table = fpg.cost_table({run: run for run in (*ends, "fpg-ms")}, histories).set_index("run")
    assert table.loc["fpg-third"].tolist() == [15, 0.15, 0.8]
    assert table.loc["fpg-full", "steps / baseline's"] == 1
    assert "fpg-ms" not in table.index
    assert np.isnan(fpg.cost_table({"fpg-full": "FPG"}, {"fpg-full": histories["fpg-full"]})["steps / baseline's"][0])


def test_saliency_is_judged_on_the_unseen_set_that_has_masks():
    (claim,) = [claim for claim in load_claims() if claim.id == "P0-C4"]
    assert [(cell.of.test, cell.over.run) for cell in claim.primary] == [(("dfd",), "fpg-plain")]
    assert [cell.of.test for cell in claim.cells if cell.test == "shown"] == [("ffpp",)]


def test_the_true_mask_is_outlined_where_there_is_one():
    faces = np.zeros((2, 16, 16, 3), np.uint8)
    masks = np.full((2, 16, 16), np.nan)
    masks[0] = 0
    masks[0, 4:12, 4:12] = 1
    figure = fpg.draw_saliency(faces, ["DFD", "CDF"], masks, {"FPG": np.random.default_rng(0).random((2, 16, 16))})
    outlined = [bool(axis.collections) for axis in figure.axes]
    assert outlined == [False, False, True, False]
    plt.close(figure)


@pytest.mark.parametrize("n", [1, 3])
def test_the_perturbations_have_a_row_each(n):
    one = type("One", (), {"signs": np.ones((8, 8)), "change": np.ones((8, 8, 3))})()
    figure = fpg.draw_perturbations(np.zeros((8, 8, 3), np.uint8), {str(i): one for i in range(n)})
    assert len(figure.axes) == 3 * n
    plt.close(figure)
