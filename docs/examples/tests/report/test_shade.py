"""The sixth paper: its claim is judged on planted results, and its table stands beside what was measured."""

import pytest

from dfrepro.report import ledger
from dfrepro.report.claims import evaluate_claims


@pytest.mark.parametrize(("residual", "verdict"), [(3.0, "confirmed"), (0.2, "refuted")])
def test_the_claim_gets_the_verdict_that_was_planted(planted_scores, residual, verdict):
    scores = planted_scores({"residual": residual, "erm-ffpp": 1.0}, seeds=3, dataset="ffpp")
    (claim,) = [claim for claim in evaluate_claims(scores=scores) if claim["paper"] == "shade"]
    assert (claim["id"], claim["verdict"]) == ("P5-C1", verdict)


def test_the_table_stands_beside_what_was_measured(planted):
    table = ledger.beside("shade", 1, planted({"residual": [0.8]}, dataset="ffpp"))
    assert table["auc (printed)"].tolist() == [0.9, 0.95]
    assert table["auc (stand-in)"].tolist() == ["not run", 0.8]
