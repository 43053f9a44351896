"""Judging: on what is there, or on the committed study."""

import pytest

from dfrepro import places
from dfrepro.errors import WorkbookError
from dfrepro.report import judge


def test_judging_a_study_that_is_not_there_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "STUDY", tmp_path)
    with pytest.raises(WorkbookError, match="no study is there"):
        judge.study()
