"""What a run gains over its baseline, by hand: paired by seed, the paper's, the study's and ours on one axis."""

import pandas as pd
import pytest

from dfrepro.figures.pim.motivation import cross_manipulation, draw_shift_harm
from dfrepro.figures.pim.tables import CROSS, draw_grid, draw_sweep, gains
from dfrepro.report.beside import beside
from dfrepro.report.evidence import Evidence


def evidence(values: dict[str, list[float]], tests=CROSS, metric: str = "video_auc") -> Evidence:
    rows = [(run, seed, test, metric, value)
            for run, each in values.items() for seed, value in enumerate(each) for test in tests]  # fmt: skip
    return Evidence(pd.DataFrame(rows, columns=["run", "seed", "dataset", "metric", "value"]))


def test_a_gain_is_that_of_paired_seeds_and_a_run_that_is_absent_has_none():
    found = gains(evidence({"erm-ffpp": [0.5, 0.7, 0.5], "pim-ffpp": [0.6, 0.8]}), ["pim-ffpp", "erm-ffpp", "absent"])
    assert set(found) == {"pim-ffpp"}
    assert found["pim-ffpp"].seeds == (0, 1)
    assert found["pim-ffpp"].mean == pytest.approx(0.1, abs=0.01)  # on the probit scale, from a baseline near .6


def test_equal_gains_have_an_interval_without_width():
    low, high = gains(evidence({"erm-ffpp": [0.5, 0.5], "pim-ffpp": [0.6, 0.6]}), ["pim-ffpp"])["pim-ffpp"].interval()
    assert (low, high) == pytest.approx((0.1, 0.1))


def test_the_papers_change_and_ours_are_on_one_axis():
    measured = {"study": evidence({"erm-ffpp": [0.5, 0.5], "pim-ffpp": [0.6, 0.7]}), "here": evidence({})}
    cells = beside("pim", "T6", measured)
    (axis,) = draw_sweep({"r": (cells, "r")}, "stand-in", measured).axes
    drawn = {line.get_marker(): [] for line in axis.lines}
    for line in axis.lines:
        drawn[line.get_marker()] += [float(y) for y in line.get_ydata()]
    assert pytest.approx(87.34 - 0) not in drawn["D"]
    printed = cells[(cells["source"] == "paper") & (cells["column"] == "average")].set_index("run")["value"]
    assert drawn["D"][0] == pytest.approx(printed[printed.index != "erm-ffpp"].iloc[0] - printed["erm-ffpp"])
    assert {10.0, 20.0} <= {round(y, 6) for y in drawn["o"]}  # a dot a seed, in points


def test_a_panel_of_the_grid_is_drawn_for_each_source_that_has_a_value():
    for measured, panels in (({}, 1), ({"study": evidence({"pim-ffpp": [0.6, 0.7]})}, 2)):
        figure = draw_grid({"Trained on FF++": beside("pim", "T8", measured)}, "stand-in")
        titles = [axis.get_title() for axis in figure.axes]
        assert len(titles) == panels
        assert titles[0] == "Trained on FF++: paper (FF++)"


def test_table_i_is_a_square_a_source():
    tables = cross_manipulation(
        beside("pim", "T1", {"here": evidence({"erm-df": [0.9]}, tests=["ffpp/FaceSwap"])}), "stand-in"
    )
    assert list(tables) == ["paper (FF++)", "this clone (stand-in)"]
    assert tables["paper (FF++)"].shape == (4, 4)
    assert tables["this clone (stand-in)"].loc["DF", "FS"] == 0.9


def test_the_shift_is_drawn_from_before_to_after():
    rows = [("erm-df", seed, "ffpp/Deepfakes", "accuracy", value, condition)
            for condition, values in (("clean", (1.0, 0.9)), ("shifted", (0.6, 0.5)))
            for seed, value in enumerate(values)]  # fmt: skip
    study = Evidence(pd.DataFrame(rows, columns=["run", "seed", "dataset", "metric", "value", "condition"]))
    axis = draw_shift_harm(beside("pim", "T2", {"study": study}), "stand-in").axes[0]
    paths = [tuple(line.get_xdata()) for line in axis.lines if line.get_linestyle() == ":"]
    assert any(path == pytest.approx((0.95, 0.55)) for path in paths if len(path) == 2)
