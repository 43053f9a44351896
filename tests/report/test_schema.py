"""What claims.yaml may say: the primary contrast, gates, controls, and the errors that name a mistake."""

import numpy as np
import pytest

from dfrepro.errors import WorkbookError
from dfrepro.report.evidence import Evidence
from dfrepro.report.schema import load_claims
from dfrepro.report.verdict import judge

CLAIM = {"id": "P1-C4", "source": "Table IV", "statement": "a beats b", "test": ["cdfv2", "wdf"], "metric": "video_auc",
         "positive_control": {"none": "planted"},
         "cells": [{"of": "a", "over": "b", "printed": 0.1}]}  # fmt: skip


def load(papers, **more):
    (claim,) = load_claims(papers([CLAIM | more]))
    return claim


def test_a_claim_is_called_by_its_papers_name(papers):
    assert load(papers).title == "PIM 4"


def test_the_primary_contrast_is_of_all_cells_but_those_shown_or_set_aside(papers):
    cells = [{"of": "a", "over": ["b", "c", "d"]}, {"of": "a", "over": "e", "primary": False},
             {"of": "a", "over": "f", "kind": "shown"}]  # fmt: skip
    assert [cell.over.run for cell in load(papers, cells=cells).primary] == ["b", "c", "d"]


@pytest.mark.parametrize("odd", [{"metric": "log_loss"}, {"kind": "equivalence", "margin": 0.01}])
def test_a_cell_that_has_no_mean_with_the_others_is_set_aside_by_the_claim_itself(papers, odd):
    cells = [{"of": "a", "over": "b"}, {"of": "a", "over": "c", "name": "odd one"} | odd]
    with pytest.raises(WorkbookError, match="cell odd one has no mean with a over b: set `primary: false`"):
        load(papers, cells=cells)
    assert len(load(papers, cells=[cells[0], cells[1] | {"primary": False}]).primary) == 1


def test_exact_cells_may_be_of_several_metrics(papers):
    cells = [{"of": "a", "over": 0.0, "name": "x"}, {"of": "a", "over": 0.0, "name": "y", "metric": "other"}]
    assert len(load(papers, kind="exact", cells=cells).primary) == 2


def planted_share(planted, claim, without: float, with_: float):
    runs = {"focus-map-no-competition": without, "focus-map-focus": with_}
    found = {run: (share + np.array([-0.01, 0.0, 0.01, -0.01, 0.01])).tolist() for run, share in runs.items()}
    return judge(claim, Evidence(planted(found, dataset="ffpp", metric="sobel_interior")))


def test_competition_is_not_confirmed_where_the_share_lies_further_inside_without_it(planted):
    """FoCus 7: a mean over variants, most of them above .05, once confirmed it all the same."""
    claim = next(claim for claim in load_claims() if claim.id == "P4-C7")
    assert planted_share(planted, claim, without=0.45, with_=0.30).verdict == "refuted"
    assert planted_share(planted, claim, without=0.01, with_=0.30).verdict == "confirmed"


def test_kind_margin_and_threshold_of_a_claim_are_its_cells(papers):
    assert load(papers, kind="noninferior", margin=0.01).cells[0].margin == 0.01
    claim = load(papers, at_least=0.05, cells=[{"of": "a", "over": "b"}, {"of": "a", "over": "c", "kind": "shown"}])
    assert [cell.at_least for cell in claim.cells] == [0.05, 0.0]


@pytest.mark.parametrize(("more", "probit"), [
    ({}, True), ({"scale": "raw"}, False), ({"metric": "frame_accuracy"}, False), ({"metric": "map_auc"}, True),
    ({"change": "absolute"}, False), ({"change": "relative"}, False), ({"test": ["cdfv2", "diff:frame_auc"]}, True),
    ({"test": ["cdfv2", "diff:frame_accuracy"]}, False),
])  # fmt: skip
def test_aucs_are_compared_on_the_probit_scale_and_nothing_else_is(papers, more, probit):
    assert load(papers, **more).on_probit == probit


def test_gates_take_the_claims_sets_and_metric_unless_they_have_their_own(papers):
    acts = {"of": "a", "metric": "delta_mu", "test": "ffpp", "at_least": 0.1, "why": "PIM shifts the statistics"}
    claim = load(papers, gates=[{"band": {"of": "b", "within": [0.55, 0.9]}}, {"acts": acts}])
    assert (claim.band.of.test, claim.band.within) == (("cdfv2", "wdf"), (0.55, 0.9))
    assert (claim.acts[0].of.metric, claim.acts[0].of.test) == ("delta_mu", ("ffpp",))
    assert load(papers, gates=[{"band": "none", "why": "one network only"}]).band.none
    assert load(papers).band.within == (0.6, 0.97)


def test_a_positive_control_is_a_contrast_or_a_reason(papers):
    known = {"name": "twice the data", "of": "a2", "over": "a", "at_least": 0.02}
    claim = load(papers, positive_control=known)
    assert claim.positive_control.of.test == ("cdfv2", "wdf")
    assert "a2" in claim.runs()
    assert load(papers, positive_control={"none": "no effect is known"}).positive_control.none
    bare = {key: value for key, value in CLAIM.items() if key != "positive_control"}
    with pytest.raises(WorkbookError, match="positive_control is missing"):
        load_claims(papers([bare]))
    assert load_claims(papers([bare | {"testable": False, "reason": "people rate it", "cells": []}]))


@pytest.mark.parametrize(("more", "said"), [
    ({"positive_control": {"name": "x", "of": "a"}}, "positive_control: Value error, give either name"),
    ({"positive_control": {"name": "x", "of": "a", "over": "b", "none": "y"}}, "give either name"),
    ({"gates": [{"band": "none"}]}, "band: none needs a `why`"),
    ({"gates": [{"band": {"test": "wdf"}}]}, "band has test and no `of`"),
    ({"gates": [{"acts": {"of": "a", "at_least": 1}}]}, "acts.0.why"),
    ({"gates": [{"learned": {}}]}, "there is no gate `learned`"),
    ({"kind": "noninferior"}, "needs one"),
])  # fmt: skip
def test_a_mistake_in_a_gate_or_control_is_named(papers, more, said):
    with pytest.raises(WorkbookError) as error:
        load(papers, **more)
    assert said in str(error.value)


def test_every_testable_claim_has_a_positive_control_or_says_why_there_can_be_none():
    for claim in load_claims():
        if claim.testable:
            control = claim.positive_control
            assert control is not None, claim.id
            assert control.none or control.of, claim.id
