"""What a run gains over its baseline, by hand: paired by seed, with Student's interval."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dfrepro.figures.pim.tables import CROSS, draw_sweep, gains


def scores(gain: float, seeds: int, run: str) -> pd.DataFrame:
    """Ten real and ten fake videos a set; the fakes' scores leave `right` of the pairs in order."""
    rows = []
    for seed in range(seeds):
        for dataset in CROSS:
            right = round(10 * (0.6 + gain + 0.1 * (seed % 2)))  # of ten fakes, above every real
            for label in (0, 1):
                for video in range(10):
                    score = 0.5 if label == 0 else 0.9 if video < right else 0.1
                    rows.append(
                        (run, seed, dataset, "fake" if label else "original", f"{label}{video}", 0, label, score)
                    )
    columns = ["run", "seed", "dataset", "manipulation", "video", "frame", "label", "score"]
    return pd.DataFrame(rows, columns=columns).assign(condition="clean")


def test_a_gain_is_the_mean_of_paired_differences_in_points():
    both = pd.concat([scores(0.0, 4, "erm-ffpp"), scores(0.2, 4, "pim-ffpp")])
    found = gains(both, ["pim-ffpp", "erm-ffpp", "absent"], "erm-ffpp")
    assert found.loc["pim-ffpp", "mean"] == pytest.approx(20)
    assert found.loc["pim-ffpp", ["low", "high"]].tolist() == pytest.approx([20, 20])  # every seed gains the same
    assert found.loc["erm-ffpp", "mean"] == 0
    assert found.loc["absent"].isna().all()


def test_the_interval_is_students_over_seeds():
    both = pd.concat([scores(0.0, 4, "erm-ffpp"), scores(0.2, 3, "pim-ffpp"), scores(0.3, 4, "pim-ffpp")[-80:]])
    found = gains(both, ["pim-ffpp"], "erm-ffpp").loc["pim-ffpp"]
    change = np.array([20.0, 20.0, 20.0, 30.0])
    low, high = stats.t.interval(0.95, 3, change.mean(), stats.sem(change))
    assert found.tolist() == pytest.approx([change.mean(), low, high])


def test_one_seed_has_no_interval():
    both = pd.concat([scores(0.0, 1, "erm-ffpp"), scores(0.2, 1, "pim-ffpp")])
    found = gains(both, ["pim-ffpp"], "erm-ffpp").loc["pim-ffpp"]
    assert found["mean"] == pytest.approx(20)
    assert np.isnan(found["low"])


def test_the_papers_change_and_ours_are_on_one_axis_and_start_at_zero():
    both = pd.concat([scores(0.0, 2, "erm-ffpp"), scores(0.2, 2, "pim-ffpp")])
    table = pd.DataFrame({"r": ["0", "0.1"], "run": ["erm-ffpp", "pim-ffpp"], "average (printed)": [76.04, 77.09]})
    (axis,) = draw_sweep({"r": (table, "r")}, "stand-in", both).axes
    printed, ours = axis.lines[0].get_ydata(), axis.lines[1].get_ydata()
    assert list(printed) == pytest.approx([0, 1.05])
    assert list(ours) == pytest.approx([0, 20])
