"""Runs next to each other: AUCs are the metric's, differences are paired, and what was not tested says so."""

import re

import numpy as np
import pandas as pd
import pytest

from dfrepro.evaluate import metrics
from dfrepro.report.compare import NOTHING, compare, tell


@pytest.fixture
def comparison(planted_scores):
    own = planted_scores({"base": 0.5, "good": 2.5, "same": 0.5}, seeds=2, dataset="ffpp-c23")
    other = planted_scores({"base": 0.5, "good": 0.4}, seeds=2, dataset="cdfv2")
    return compare(pd.concat([own, other]), {}, {})


def test_an_auc_is_the_mean_over_seeds_and_lies_in_its_interval(comparison):
    scores = comparison.scores
    for row in comparison.table.itertuples():
        part = scores[(scores["run"] == row.run) & (scores["dataset"] == row.test)]
        assert row.auc == pytest.approx(np.mean([metrics.video_auc(one) for _, one in part.groupby("seed")]))
        assert 0 <= row.low < row.auc < row.high <= 1
        assert row.seeds == 2


def test_the_first_run_is_what_the_others_are_compared_with(comparison):
    table = comparison.table.set_index(["run", "test"])
    assert table.loc["base", "difference"].isna().all()
    assert table.loc[("good", "ffpp-c23"), "difference_low"] > 0
    assert abs(table.loc[("same", "ffpp-c23"), "difference"]) < 0.05
    assert table.loc[("same", "ffpp-c23"), "difference_low"] < 0 < table.loc[("same", "ffpp-c23"), "difference_high"]


def test_a_set_that_a_run_was_not_tested_on_is_a_dash(comparison):
    board = comparison.leaderboard()
    assert list(board.index) == ["base", "good", "same"]
    assert list(board.columns) == ["ffpp-c23", "cdfv2"]
    assert board.loc["same", "cdfv2"] == NOTHING
    assert board.loc["good", "ffpp-c23"].count("[") == 2  # its AUC's interval, and its difference's


def test_a_cell_shows_auc_difference_and_their_intervals_on_lines_of_their_own(comparison):
    page = comparison._repr_html_()
    assert "\\n" not in page
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page)
    number = r"[-+]?\d\.\d{3}<br><small>\[[-+]?\d\.\d{3}, [-+]?\d\.\d{3}\]</small>"
    assert [len(re.findall(number, cell)) for cell in cells] == [0, 1, 1, 0, 2, 2, 0, 2, 0]  # a run's name, two sets
    assert all(cell.count("<br>") in (0, 1, 3) for cell in cells)
    assert "the difference to base" in page


def test_what_was_found_is_said_in_a_sentence_a_run(comparison):
    good, same = tell(comparison)
    assert good == "good against base: better on ffpp-c23; not told apart on 1 of 2 sets"
    assert same == "same against base: not told apart on 1 of 1 sets"


def test_runs_without_a_set_in_common_are_not_compared(planted_scores):
    one = planted_scores({"base": 1.0}, dataset="dfdc")
    other = planted_scores({"good": 1.0}, dataset="cdfv2")
    found = compare(pd.concat([one, other]), {}, {})
    assert found.table["difference"].isna().all()
    assert tell(found) == ["good against base: no test set in common"]
