"""The tables and pictures of protocols: what they say is in protocols.yaml, the claims and the measurements."""

import numpy as np
import pandas as pd
import pytest

from dfrepro.protocol import pictures
from dfrepro.protocol.declared import load
from dfrepro.report.gains import gains
from dfrepro.report.operating import reliability
from dfrepro.report.schema import NAMES

MOVES = pd.DataFrame(
    [("one frame", "cdfv2", -0.03, -0.05, -0.01), ("one frame", "all", -0.02, -0.04, 0.0),
     ("aligned", "cdfv2", 0.01, np.nan, np.nan), ("aligned", "all", 0.015, np.nan, np.nan)],
    columns=["protocol", "dataset", "value", "low", "high"],
)  # fmt: skip


def test_every_protocol_but_ours_is_declared_with_what_it_does_otherwise():
    table = pictures.declared()
    assert list(table.index) == [name for name in load() if name != "ours"]
    assert table.loc["one frame", "otherwise than ours"] == "frames: 1"
    assert "crop: oval, 0.125" in table.loc["sbi", "otherwise than ours"]
    assert table.loc["pel", "not done here"] == "detector: DSFD"


def test_gains_are_the_papers_printed_differences_of_auc():
    gained = gains().set_index("claim")["gain"]
    # FPG, Table 1: the mean over four sets of FPG over its printed runner-up is checked by its claims' own tests
    assert gained["PIM 16"] == pytest.approx(0.023475)
    assert "PIM 9" not in gained  # no effect is printed
    assert (pictures.summary(gains())["smallest"] <= pictures.summary(gains())["largest"]).all()


def test_the_picture_has_a_row_a_protocol_in_order_of_its_effect_and_every_gain():
    gained = gains()
    above, below = pictures.draw(MOVES, gained, "stand-in").axes
    assert [label.get_text() for label in above.get_yticklabels()] == ["one frame", "aligned"]
    drawn = np.concatenate([line.get_xdata() for line in below.lines if line.get_marker() == "D"])
    assert sorted(drawn) == pytest.approx(sorted(gained["gain"]))
    assert [label.get_text() for label in below.get_yticklabels()] == list(NAMES.values())


def test_calibration_curves_have_a_panel_a_set():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"dataset": "a", "manipulation": "x", "video": [str(i) for i in range(40)],
                          "label": [0, 1] * 20, "margin": rng.normal(0, 2, 40)})  # fmt: skip
    figure = pictures.calibration({"a": reliability(table), "b": reliability(table)}, "stand-in")
    assert [axis.get_title() for axis in figure.axes] == ["a", "b"]
