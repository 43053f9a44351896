"""What reviews of the code found: papers/*/findings.csv says what was done of each finding, and where."""

import re
from pathlib import Path

import pandas as pd
import pytest

from dfrepro.files import ROOT

FILES = sorted((ROOT / "papers").glob("*/findings.csv"))
FOUND = {"pim": 12, "fia_usa": 13, "pel_fpg": 13, "focus": 12, "peers": 7}  # how many each review numbered


def table(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, dtype=str, keep_default_na=False)


@pytest.mark.parametrize(("review", "number"), FOUND.items())
def test_every_numbered_finding_has_a_row(review, number):
    told = set(pd.concat(map(table, FILES))["review"])
    assert {f"{review} {n}" for n in range(1, number + 1)} <= told


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_no_row_is_open_and_what_it_points_at_is_there(file):
    rows, deviations = table(file), (file.parent / "DEVIATIONS.md").read_text(encoding="utf-8")
    assert (rows[["review", "finding", "done", "where"]] != "").all(axis=None)
    for place in (part for where in rows["where"] for part in where.split("; ")):
        for numbered in re.findall(r"\bD\d+\b", place):
            assert f"|{numbered}|" in deviations, place
        if "/" in place:
            assert (ROOT / place).exists(), place
