"""A plain detector's run: what is measured beside its scores."""

import pytest

from dfrepro import params
from dfrepro.errors import WorkbookError
from dfrepro.jobs.kinds import method_of


def test_every_declared_run_has_recipes_for_its_kind():
    p = params.load(scale="smoke")
    for run in p.runs:
        found = method_of(p.spec(run, 0))
        assert callable(found.build)
        assert callable(found.prepare)


def test_an_unknown_kind_is_an_error_that_names_the_run():
    spec = params.load(scale="smoke").spec("erm-df", 0)
    with pytest.raises(WorkbookError, match="erm-df: detector.kind is .oracle."):
        method_of(spec | {"detector": {"kind": "oracle"}})
