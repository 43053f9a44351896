"""Tables for readers: one number format, a dash for no value, coloured verdicts, and notes instead of empty rows."""

import pandas as pd
import pytest

from dfrepro.report.beside import beside, levels
from dfrepro.report.evidence import Evidence
from dfrepro.report.tables import Table, comparison, comparisons, findings, shown, titled

SETS = ("cdfv2", "dfdcp", "dfdc", "wdf")


def evidence(*runs: str, seeds: int = 5, sets=SETS) -> Evidence:
    rows = [(run, seed, test, "video_auc", 0.7 + seed / 100) for run in runs for seed in range(seeds) for test in sets]
    return Evidence(pd.DataFrame(rows, columns=["run", "seed", "dataset", "metric", "value"]))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.500"), (78.320312, "78.320"), (None, "–"), (float("nan"), "–"), ("", "–"), (3, "3"), (True, "yes")],
)
def test_a_cell_has_one_format_and_no_value_is_a_dash(value, text):
    assert shown(value) == text


def test_a_row_has_a_line_a_source_and_none_is_empty():
    cells = beside("pim", "VI", {"study": evidence("pim-ffpp"), "here": evidence("pim-ffpp", seeds=1)})
    table = comparison(cells, label="stand-in", why="The study goes on.")
    assert table.frame["source"].to_list() == ["paper", "study, 5 seeds", "this clone, 1 seed"]
    assert table.caption.endswith("(ours on stand-in videos)")
    assert set(table.frame["r"]) == {"0.1"}
    assert "not run" not in table._repr_html_()
    assert "–" not in set(table.text.to_numpy().ravel())
    study = table.frame.iloc[1]["CDF"]
    assert study.startswith("72.0 [")
    assert "<small>[" in table._repr_html_()


def test_rows_that_nobody_has_measured_are_named_below_with_the_reason():
    table = comparison(beside("pim", "VI", {"study": evidence("pim-ffpp")}), label="stand-in", why="5 of 9 so far.")
    (note,) = table.notes
    assert note.startswith("Not measured yet: ")
    assert "0.05" in note
    assert "5 of 9 so far." in note
    assert "papers/pim/tables/T6.csv" in note


def test_a_table_that_nobody_has_measured_is_as_printed():
    table = comparison(beside("pim", "VI", {}), label="stand-in", why="Nothing so far.")
    assert set(table.frame["source"]) == {"paper"}
    assert len(table.frame) == 4
    assert table.notes == ("Nothing of this table is measured yet. Nothing so far.",)


def test_other_papers_methods_stay_and_stand_below_ours():
    table = comparison(beside("pim", "V", {"study": evidence("pim-ffpp")}), label="stand-in", why="")
    names = table.frame["method"].to_list()
    assert "RECCE" in names
    assert names[0] == "Ours"


def test_a_column_that_the_sets_at_hand_cannot_give_is_named_and_left_out():
    cells = beside("fpg", "T1", {"study": evidence("fpg-full", sets=("cdfv2", "dfd", "dfdc", "dfdcp"))})
    table = comparison(cells, label="stand-in", why="", absent=["ffiw", "average"])
    assert "FFIW" not in table.frame
    assert any(note.startswith("Left out: FFIW, average.") for note in table.notes)


def test_rows_of_ours_alone_name_what_was_not_made():
    cells = levels({"one": "a", "two": "b"}, {"AUC": {"metric": "video_auc", "test": "wdf"}}, {"here": evidence("a")},
                   key="maps")  # fmt: skip
    assert comparison(cells, label="here", why="Not yet.").notes == ("Not measured yet: two. Not yet.",)


def claim(number: int, verdict: str, effect=None) -> dict:
    return {
        "id": f"P1-C{number}", "title": f"PIM {number}", "statement": "It is so.", "printed_effect": 0.1,
        "effect": effect, "interval": None if effect is None else [effect - 0.1, effect + 0.1], "seeds": [0, 1],
        "verdict": verdict, "reason": "a reason", "missing": [],
        "cells": [{"name": "on CDF", "effect": effect, "interval": None, "printed": 0.1, "verdict": verdict}],
    }  # fmt: skip


def test_findings_show_judged_claims_with_a_coloured_verdict_and_name_the_others():
    table = findings([claim(1, "confirmed", 0.2), claim(2, "not run"), claim(3, "not testable")], "Half is done.")
    assert table.frame["claim"].to_list() == ["PIM 1"]
    assert table.notes == ("Not judged yet: PIM 2. Half is done.", "No stand-in can test PIM 3: a reason.")
    assert '<b style="color:#2e8b57">confirmed</b>' in table._repr_html_()
    assert len(findings([claim(2, "not run")], "").frame) == 0
    assert "PIM 2" in findings([claim(2, "not run")], "")._repr_html_()


def test_comparisons_have_the_studys_numbers_and_this_clones_in_a_row():
    here, study = [claim(1, "inconclusive", 0.3), claim(2, "not run")], [claim(1, "confirmed", 0.2)]
    table = comparisons(here, study, label="stand-in", why="Half is done.")
    (row,) = table.frame.to_dict("records")
    assert row["study [95 %]"] == "+0.200"
    assert row["this clone [95 %]"] == "+0.300"
    assert row["study says"] == "confirmed"
    assert table.notes == (
        "The study has not judged yet: PIM 2. Half is done.", "Comparisons that nobody has measured yet: 1 of PIM 2.",
    )  # fmt: skip
    assert "paper" not in comparisons([here[0] | {"cells": [here[0]["cells"][0] | {"printed": None}]}], study, label="",
                                      why="").frame  # fmt: skip


def test_where_the_study_has_no_number_the_former_studys_stands_in_a_column_of_its_own():
    here, study = [claim(1, "not run"), claim(2, "not run")], [claim(1, "not run"), claim(2, "confirmed", 0.2)]
    former = [claim(1, "refuted", -0.4), claim(2, "refuted", -0.5)]
    rows = comparisons(here, study, former, label="stand-in", why="").frame.set_index("claim")
    assert rows["former study [95 %]"].to_list() == ["-0.400", ""]
    assert rows["study [95 %]"].to_list() == ["", "+0.200"]
    assert rows["study says"].to_list() == ["", "confirmed"]


def test_a_verdict_that_stands_from_the_former_study_is_shown_with_its_number():
    stands = claim(1, "confirmed", 0.2) | {"former": True}
    (row,) = comparisons([claim(1, "not run")], [stands], label="stand-in", why="").frame.to_dict("records")
    assert (row["former study [95 %]"], row["study says"]) == ("+0.200", "confirmed")
    assert "study [95 %]" not in row


def test_a_zero_has_no_sign_of_less():
    assert shown(-0.0001) == "0.000"


def test_long_text_has_room_and_short_text_one_line():
    long, short = Table(pd.DataFrame({"a": ["many words " * 9], "b": ["PEL 10"]}))._repr_html_().split("</td>")[:2]
    assert "min-width:16em" in long
    assert "white-space:nowrap" in short


def test_repeated_keys_span_their_rows():
    table = Table(pd.DataFrame({"name": ["a", "a", "b"], "value": [1, 2, 3]}), merged=1)._repr_html_()
    assert table.count('rowspan="2"') == 1
    assert table.count(">a<") == 1


def test_text_is_escaped():
    assert "&lt;b&gt;" in Table(pd.DataFrame({"x": ["<b>"]}), notes=("1 < 2",))._repr_html_()
    assert "1 &lt; 2" in Table(pd.DataFrame({"x": ["<b>"]}), notes=("1 < 2",))._repr_html_()


def test_columns_are_titled_as_people_write_them():
    assert [titled(name) for name in ("cdf_v2", "accuracy_change", "ffpp")] == ["CDF v2", "accuracy change", "FF++"]
