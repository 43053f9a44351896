"""What the study found, told by planted verdicts of every kind: sentences quote what was planted, and nothing else."""

import json
import re

import pandas as pd
import pytest

from dfrepro.files import ROOT
from dfrepro.report import learned, readme
from dfrepro.report.claims import as_dict
from dfrepro.report.evidence import Evidence
from dfrepro.report.gains import gains
from dfrepro.report.schema import Acts, Cell, Claim, Control, Operand, PositiveControl
from dfrepro.report.verdict import VERDICTS, judge

FAR = [0.80, 0.81, 0.79, 0.80, 0.82]
CLOSE = [0.701, 0.699, 0.700, 0.702, 0.698]
SAME = [0.702, 0.698, 0.701, 0.700, 0.699]
WIDE = [0.60, 0.82, 0.65, 0.80, 0.70]
RUNS = {"far": FAR, "close": CLOSE, "same": SAME, "wide": WIDE, "chance": [0.51] * 5, "top": [0.985] * 5}


def op(run: str, **more) -> Operand:
    return Operand(**({"run": run, "test": "cdfv2", "metric": "video_auc"} | more))


def cell(of: str, over: str, **more) -> Cell:
    return Cell(**({"name": f"{of} over {over}", "of": op(of), "over": op(over), "printed": 0.05} | more))


def acts(run: str) -> dict:
    return {"cells": (cell("far", "close"),), "acts": (Acts(of=op(run), at_least=0.9, why="it acts"),)}


def known(run: str) -> dict:
    control = PositiveControl(name="a known effect", of=op(run), over=op("far"))
    return {"cells": (cell("far", "close"),), "positive_control": control}


def controlled(run: str) -> dict:
    control = Control(name="noise", of=op(run), over=op("close"), method=op("far"))
    return {"cells": (cell("far", "close"),), "controls": (control,)}


PLANTED = {  # by number, of PEL
    1: ("confirmed", {"cells": (cell("far", "close"),)}),
    2: ("refuted", {"cells": (cell("close", "far"),)}),
    3: ("smaller than printed", {"cells": (cell("same", "close"),)}),
    4: ("inconclusive", {"cells": (cell("wide", "close"),)}),
    5: ("inconclusive", controlled("far")),
    6: ("not decidable here", {"cells": (cell("far", "chance"),)}),
    7: ("not decidable here", {"cells": (cell("far", "top"),)}),
    8: ("not decidable here", acts("far")),
    9: ("not decidable here", acts("gone")),
    10: ("not decidable here", known("close")),
    11: ("not decidable here", known("gone")),
    12: ("not decidable here", controlled("gone")),
    13: ("not run", {"cells": (cell("gone", "close"), cell("far", "lost"))}),
    14: ("not testable", {"testable": False, "reason": "Pictures: none."}),
}


@pytest.fixture
def claims(planted):
    """claims(1, 4): the verdicts on these of the planted claims, as claims.json holds them."""
    evidence = Evidence(planted(RUNS))

    def make(*numbers: int) -> list[dict]:
        found = []
        for number in numbers:
            wanted, more = PLANTED[number]
            claim = Claim(**({"id": f"P2-C{number}", "source": "here", "statement": f"It holds ({number})."} | more))
            found.append(as_dict(judge(claim, evidence)))
            assert found[-1]["verdict"] == wanted, number
        return found

    return make


def test_every_verdict_is_planted():
    assert {verdict for verdict, _ in PLANTED.values()} == set(VERDICTS)


def test_all_verdicts_together_are_six_sentences_that_count_them(claims):
    told = learned.sentences("pel", claims(*PLANTED))
    assert len(told) == 6
    each = "1 confirmed, 1 refuted, 1 smaller than printed, 2 inconclusive, 7 not decidable here, 1 not testable"
    assert told[0] == f"Of 14 claims of PEL: {each} and 1 not run."


@pytest.mark.parametrize(("number", "said"), [
    (1, "Confirmed: **PEL 1**, “It holds (1)”: +0.104 [+0.0"),
    (2, "Refuted here: **PEL 2**, “It holds (2)”: -0.104 [-0.1"),
    (3, "Smaller than printed, and not told from nothing: **PEL 3**, “It holds (3)”: +0.000 [-0.0"),
    (4, "Inconclusive: PEL 4: +0.020 [-0.253, +0.2"),
    (5, ": a control without the method's idea gains as much"),
    (6, "Not decidable here, PEL 6: a baseline is close to chance; PEL 6 would read +0."),
    (7, "PEL 7: a baseline leaves no room for a gain"),
    (8, "PEL 8: the module under test hardly acts"),
    (9, "PEL 9: a number that a gate needs was not kept"),
    (10, "PEL 10: a positive control fails"),
    (11, "PEL 11: a control was not run"),
    (12, "PEL 12: a control was not run"),
    (13, "Not run: PEL 13."),
    (14, "Not testable: PEL 14."),
])  # fmt: skip
def test_a_verdict_is_told_with_its_numbers_and_its_cause(claims, number, said):
    told = " ".join(learned.sentences("pel", claims(number)))
    assert said in told


def test_a_network_that_has_not_learned_is_a_cause(planted):
    unlearned = planted({"far": [0.6] * 5}, dataset="train", metric="validation_auc")
    evidence = Evidence(pd.concat([planted(RUNS), unlearned]))
    claim = Claim(id="P2-C1", source="here", statement="It holds.", cells=(cell("far", "close"),))
    assert "PEL 1: a network has not learned" in " ".join(learned.sentences("pel", [as_dict(judge(claim, evidence))]))


def test_the_numbers_are_those_of_the_verdict_and_of_the_paper(claims):
    (claim,) = claims(1)
    low, high = claim["interval"]
    assert f"{claim['effect']:+.3f} [{low:+.3f}, {high:+.3f}] (printed +0.050)" in learned.sentences("pel", [claim])[1]


def test_claims_of_one_verdict_beyond_the_first_two_are_numbers_alone(claims):
    first = claims(1)[0]
    four = [first | {"title": f"PEL {n}", "statement": f"number {n}."} for n in (1, 2, 3, 4)]
    told = learned.sentences("pel", four)[1]
    assert "“number 2”" in told
    assert "number 3" not in told
    assert "; PEL 4: +0.104" in told


def test_of_many_claims_that_decide_nothing_the_first_is_named(claims):
    assert "Not decidable here, PEL 6 and 6 more: in" in " ".join(learned.sentences("pel", claims(*range(6, 13))))
    assert "Not decidable here, PEL 6, 7 and 8: in" in " ".join(learned.sentences("pel", claims(6, 7, 8)))


@pytest.mark.parametrize(("numbers", "said"), [
    ((1,), "holds on other videos and networks"), ((2,), "did not carry over"),
    ((1, 2), "what was refuted did not carry"), ((4,), "None of that is for or against PEL"),
    ((6, 13), "neither for nor against PEL"), ((13, 14), "So far the study says nothing for or against PEL"),
])  # fmt: skip
def test_what_it_says_of_the_paper_follows_from_what_was_decided(claims, numbers, said):
    told = learned.sentences("pel", claims(*numbers))
    assert said in told[-1]
    assert len(told) >= 3


def test_a_claim_that_the_papers_own_table_contradicts_is_named(claims):
    odd = claims(4)[0] | {"printed_holds": "10 of 12"}
    assert "not every comparison of a claim holds: PEL 4, 10 of 12." in learned.sentences("pel", [odd])[-1]
    assert "own tables" not in learned.sentences("pel", [odd | {"printed_holds": "12 of 12"}])[-1]


def test_a_paper_without_claims_is_one_sentence(claims):
    assert learned.sentences("fpg", claims(1)) == ["The study has no claim of FPG."]


@pytest.mark.parametrize(("numbers", "said"), [
    ((4, 1), "**PEL**: confirmed, “It holds (1)”: +0.104 ["), ((3, 2), "**PEL**: refuted, “It holds (2)”: -0.104 ["),
    ((6, 9, 13), "nothing is decided yet: 2 not decidable here and 1 not run; in 1 a baseline is close to chance."),
    ((4,), "nothing is decided yet: 1 inconclusive; PEL 4 reads +0.020 [-0.2"),
])  # fmt: skip
def test_a_line_is_of_the_first_claim_that_was_decided_or_of_what_stood_in_the_way(claims, numbers, said):
    assert said in learned.line("pel", claims(*numbers))


@pytest.mark.parametrize(("number", "said"), [
    (6, "chance has AUC 0.51, below 0.60"), (9, "gone (video_auc) is not measured"),
    (11, "positive control not run: gone"), (13, "missing: gone, 1 more"), (14, "Pictures"),
])  # fmt: skip
def test_a_reason_is_brief(claims, number, said):
    assert learned.brief(claims(number)[0]) == said


def test_of_several_reasons_one_is_given_and_the_others_are_counted(claims):
    (claim,) = claims(6)
    assert learned.brief(claim | {"reason": "one; two (why; so); three"}) == "one; 2 more"


def test_the_committed_page_is_written_from_the_committed_claims():
    written = json.loads(readme.source().read_text())
    page = (ROOT / "docs" / "learned.md").read_text()
    assert page == learned.page(written, readme.levels()), "run `python -m dfrepro readme`"
    assert len(re.findall(r"^## \[", page, re.M)) == 1 + len({claim["paper"] for claim in written["claims"]})


def test_what_protocols_do_is_told_from_the_numbers_of_one_network():
    rows = {"ours": (0.90, 0.80), "no margin": (0.70, 0.75), "JPEG 60": (0.88, 0.79), "mean probability": (0.90, 0.81)}
    levels = pd.DataFrame(
        [(name, dataset, value) for name, values in rows.items() for dataset, value in zip(("a", "b"), values)],
        columns=["protocol", "dataset", "value"],
    )
    moved, printed = learned.of_protocols(levels)
    assert "4 protocols: its AUC moves by 0.06 to 0.20, on a from 0.700 (no margin) to 0.900" in moved
    assert "most by crop (-0.125), compression (-0.015) and average (+0.005)." in moved
    gained = gains()["gain"]
    below = (gained < 0.06).sum()
    assert f"Of {len(gained)} printed gains in AUC" in printed
    assert f" {below} are below" in printed
