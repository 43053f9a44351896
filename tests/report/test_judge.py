"""Judging: on what is there, or on the committed study."""

import pandas as pd
import pytest

from dfrepro import places
from dfrepro.errors import WorkbookError
from dfrepro.files import read_json
from dfrepro.report import judge
from dfrepro.report.evidence import Evidence


def test_judging_a_study_that_is_not_there_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "STUDY", tmp_path)
    with pytest.raises(WorkbookError, match="no study is there"):
        judge.study()


def test_a_claim_that_the_study_has_not_come_to_has_the_former_studys_verdict_if_that_decided_it(tmp_path, monkeypatch):
    """Nothing of two studies is mixed in one verdict: it is of the one or of the other, and says so."""
    results = pd.DataFrame(
        [("pim-ffpp", 0, "ffpp", f"{name}_difference", 0.0) for name in ("identity", "inference")],
        columns=["run", "seed", "dataset", "metric", "value"],
    )
    monkeypatch.setattr(places, "FORMER", tmp_path / "former")
    monkeypatch.setattr(places, "STUDY", tmp_path / "study")
    monkeypatch.setattr(judge, "former_evidence", lambda: Evidence(results))
    monkeypatch.setattr(judge, "_evidence", lambda folder, about: Evidence(None))
    about = {"scale": "study", "grid": "full", "seeds": [1], "data": "standin"}
    verdicts = {each["title"]: each for each in judge.study(about)}
    assert verdicts["PIM 9"]["verdict"] == "confirmed"
    assert verdicts["PIM 9"]["former"] is True
    assert verdicts["PIM 1"]["verdict"] == "not run"
    written = read_json(tmp_path / "study" / "claims.json")
    assert written["counts"]["confirmed"] == 1
    monkeypatch.setattr(judge, "_evidence", lambda folder, about: Evidence(results.assign(value=1.0)))
    now = {each["title"]: each for each in judge.study(about)}["PIM 9"]
    assert now["verdict"] == "refuted"
    assert "former" not in now
