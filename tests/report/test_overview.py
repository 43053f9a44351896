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
    verdict("P0-C1", "fpg", "not decidable here", printed=0.02),
    verdict("P0-C2", "fpg", "not run", printed=0.02),
    verdict("P1-C1", "pim", "confirmed", 0.05, [0.01, 0.09], 0.03),
    verdict("P1-C2", "pim", "refuted", -0.04, None),
]


@pytest.fixture
def figure():
    made = overview.draw(VERDICTS, "stand-in")
    yield made
    plt.close(made)


def test_counts_add_up():
    table = overview.counts(VERDICTS).set_index("paper")
    assert table.loc["PIM", "confirmed"] == 1
    assert table.loc["all"].to_dict() == {
        "confirmed": 1, "refuted": 1, "smaller than printed": 0, "inconclusive": 0, "not decidable here": 1,
        "not testable": 0, "still to come": 1,
    }  # fmt: skip


def test_every_judged_claim_has_a_line_and_a_paper_without_one_no_panel(figure):
    labels = [[text.get_text() for text in axis.get_yticklabels()] for axis in figure.axes]
    assert labels == [["1"], ["1", "2"]]


def test_where_nothing_is_judged_the_figure_says_so():
    empty = overview.draw([verdict("P0-C1", "fpg", "not run")], "stand-in")
    assert [text.get_text() for text in empty.texts] == ["No claim has been judged yet."]
    plt.close(empty)


def test_of_each_paper_the_claim_with_the_smallest_relative_interval_is_looked_at():
    wide, sharp = (verdict(f"P1-C{n}", "pim", "confirmed", 0.1, [0.1 - n / 100, 0.1 + n / 100]) for n in (5, 1))
    open_ = verdict("P2-C1", "pel", "inconclusive", 0.1, [-0.001, 0.2])
    other = verdict("P4-C1", "focus", "refuted", -0.1, [-0.13, -0.07])
    assert overview.decided([wide, sharp, open_, other]) == [sharp, other]
    assert overview.decided([open_]) == []


def test_a_closer_look_has_a_dot_a_seed_the_mean_and_the_printed_effect():
    one = verdict("P1-C1", "pim", "confirmed", 0.2, [0.1, 0.3], 0.5) | {
        "title": "PIM 1", "seeds": [0, 1, 2], "by_seed": [0.1, 0.2, 0.3],
    }  # fmt: skip
    figure = overview.draw_seeds([one], "stand-in")
    drawn = [(line.get_marker(), tuple(line.get_ydata())) for line in figure.axes[0].lines]
    for expected in (("o", (0.1,)), ("o", (0.2,)), ("o", (0.3,)), ("D", (0.5,))):
        assert expected in drawn
    assert (0.1, 0.3) in [ys for _, ys in drawn]
    plt.close(figure)


def test_the_papers_effect_is_a_diamond_and_ours_a_dot_in_the_verdicts_colour(figure):
    drawn = {(line.get_marker(), float(line.get_xdata()[0])): line for line in figure.axes[1].lines}
    assert ("D", 0.03) in drawn
    assert drawn["o", 0.05].get_markeredgecolor() == overview.COLOURS["confirmed"]
    assert drawn["o", -0.04].get_markeredgecolor() == overview.COLOURS["refuted"]


def test_a_claim_without_an_effect_says_its_verdict(figure):
    assert [text.get_text() for text in figure.axes[0].texts] == ["not decidable here"]


def test_all_panels_share_one_axis(figure):
    assert len({axis.get_xlim() for axis in figure.axes}) == 1
