"""What the data's notebook says of the sets at its end: numbers of the evidence, and the band that each was set to."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from dfrepro.figures import datasheet
from dfrepro.report import plots
from dfrepro.report.calibration import CLEAN
from dfrepro.report.evidence import Evidence

SETS = ["ffpp", "cdfv2", "wdf"]


def studied(**values) -> pd.DataFrame:
    rows = [("erm-ffpp", seed, test, "video_auc", value) for test, value in values.items() for seed in range(5)]
    evidence = Evidence(pd.DataFrame(rows, columns=["run", "seed", "dataset", "metric", "value"]))
    return datasheet.calibration("erm-ffpp", SETS, {"study": evidence})


@pytest.fixture
def bands(monkeypatch):
    """FF++ was set to [.9, 1], CDF to [.7, .8]."""
    rows = [("erm-ffpp", "", CLEAN, "ffpp", 0.9, 1.0), ("erm-ffpp", "", CLEAN, "cdfv2", 0.7, 0.8)]
    table = pd.DataFrame(rows, columns=["run", "manipulation", "condition", "test", "low", "high"])
    monkeypatch.setattr(datasheet, "cells", lambda: table)


def test_a_set_outside_its_band_is_told_against_ourselves(bands):
    told = datasheet.conclusion(studied(ffpp=0.95, cdfv2=0.6, wdf=0.65)).data
    assert "`erm-ffpp` ranks videos with an AUC of 0.950 [" in told
    assert "between 0.600 [" in told
    assert "and 0.650 [" in told
    assert "Against ourselves: outside the band that it was set to lies 0.600 [" in told
    assert "on WDF" not in told.split("Against ourselves")[1]  # it has no band


def test_where_all_lie_in_their_bands_it_says_so(bands):
    told = datasheet.conclusion(studied(ffpp=0.95, cdfv2=0.75)).data
    assert "Each lies in the band that it was set to" in told
    assert "Against ourselves" not in told


def test_without_a_number_it_says_that_nobody_measured_it(bands):
    assert datasheet.conclusion(studied()).data == "Neither study has measured the baseline."


@pytest.mark.parametrize(
    ("auc", "title"), [(0.55, "No short cut tells the fakes"), (0.7, "Beyond the allowed band: x")]
)
def test_the_title_of_the_short_cuts_says_what_is_seen(auc, title):
    with plt.rc_context():
        plots.theme()
        assert datasheet.draw_controls({"video_auc": {"x": auc}}).axes[0].get_title(loc="left") == title
