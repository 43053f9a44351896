"""The overview of the claims: what is counted and what is drawn."""

import matplotlib.pyplot as plt
import pytest

from dfrepro.report import overview


def verdict(identifier: str, paper: str, name: str, effect=None, interval=None, printed=None) -> dict:
    return {
        "id": identifier, "paper": paper, "verdict": name, "effect": effect, "interval": interval,
        "printed_effect": printed,
    }  # fmt: skip


VERDICTS = [
    verdict("P0-C1", "fpg", "not run", printed=0.02),
    verdict("P1-C1", "pim", "confirmed", 0.05, [0.01, 0.09], 0.03),
    verdict("P1-C2", "pim", "refuted", -0.04, None),
]


@pytest.fixture
def figure():
    made = overview.draw(VERDICTS, "stand-in")
    yield made
    plt.close(made)


def test_counts_add_up():
    table = overview.counts(VERDICTS)
    assert table.loc["PIM", "confirmed"] == 1
    assert table.loc["all"].to_dict() == {
        "confirmed": 1, "refuted": 1, "smaller than printed": 0, "inconclusive": 0, "not decidable here": 0,
        "not testable": 0, "not run": 1,
    }  # fmt: skip


def test_every_claim_has_a_line_and_a_paper_without_claims_no_panel(figure):
    labels = [[text.get_text() for text in axis.get_yticklabels()] for axis in figure.axes]
    assert labels == [["C1"], ["C1", "C2"]]


def test_the_papers_effect_is_a_diamond_and_ours_a_dot_in_the_verdicts_colour(figure):
    drawn = {(line.get_marker(), float(line.get_xdata()[0])): line for line in figure.axes[1].lines}
    assert ("D", 0.03) in drawn
    assert drawn["o", 0.05].get_markeredgecolor() == overview.COLOURS["confirmed"]
    assert drawn["o", -0.04].get_markeredgecolor() == overview.COLOURS["refuted"]


def test_a_claim_without_an_effect_says_its_verdict(figure):
    assert [text.get_text() for text in figure.axes[0].texts] == ["not run"]


def test_all_panels_share_one_axis(figure):
    assert len({axis.get_xlim() for axis in figure.axes}) == 1
