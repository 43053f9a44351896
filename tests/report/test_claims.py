import json
import re
import subprocess
import sys
import time
from itertools import product

import numpy as np
import pandas as pd
import pytest

from dfrepro.errors import WorkbookError
from dfrepro.report import power
from dfrepro.report.claims import (
    as_table,
    digits,
    evaluate_claims,
    here,
    needed_runs,
    own_tables,
    print_table,
    write_claims,
)
from dfrepro.report.evidence import RESULTS, Evidence
from dfrepro.report.schema import load_claims

GOOD = {"id": "P1-C1", "source": "Table I", "statement": "a beats b", "test": "cdfv2",
        "positive_control": {"none": "planted"},
        "metric": "video_auc", "cells": [{"of": "a", "over": "b", "printed": 0.1}]}  # fmt: skip


def without(key: str) -> dict:
    return {name: value for name, value in GOOD.items() if name != key}


@pytest.mark.parametrize(("broken", "said"), [
    (GOOD | {"kind": "wish"}, "claim P1-C1: kind"),
    (GOOD | {"colour": "red"}, "claim P1-C1: colour"),
    (without("statement"), "claim P1-C1: statement"),
    (without("metric"), "claim P1-C1: cells.0.of.metric"),
    (GOOD | {"cells": []}, "nothing to judge"),
    (GOOD | {"testable": False}, "`reason` must say why"),
    (GOOD | {"cells": [{"of": "a", "over": ["b", "c"], "printed": [0.1]}]}, "printed has 1 values"),
    (GOOD | {"cells": [{"of": "a", "over": "b", "kind": "equivalence"}]}, "margin belongs to an equivalence"),
    (GOOD | {"cells": [{"over": "b"}]}, "claim P1-C1"),
    (GOOD | {"id": "P9-C1"}, "claim P9-C1: id"),
])  # fmt: skip
def test_a_mistake_in_claims_yaml_names_file_claim_and_key(papers, broken, said):
    with pytest.raises(WorkbookError, match="claims.yaml") as error:
        load_claims(papers([broken]))
    assert said in str(error.value)


def test_a_claim_given_twice_is_an_error(papers):
    with pytest.raises(WorkbookError, match="P1-C1 is given twice"):
        load_claims(papers([GOOD, GOOD]))


def test_claims_are_safe_loaded(papers):
    root = papers([GOOD])
    (root / "pim" / "claims.yaml").write_text("claims: !!python/object/apply:os.system ['true']")
    with pytest.raises(WorkbookError, match="is not YAML"):
        load_claims(root)


def test_one_entry_may_stand_for_many_cells(papers):
    many = {"of": "a", "over": ["b", "c"], "each": ["wdf", "dfdc"], "printed": [[0.1, 0.2], [0.3, 0.4]]}
    (claim,) = load_claims(papers([GOOD | {"cells": [many]}]))
    seen = {(c.over.run, c.of.test[0], c.over.test[0]): c.printed for c in claim.cells}
    assert seen == {
        ("b", "wdf", "wdf"): 0.1,
        ("b", "dfdc", "dfdc"): 0.2,
        ("c", "wdf", "wdf"): 0.3,
        ("c", "dfdc", "dfdc"): 0.4,
    }


def test_the_dictionaries_hold_no_nan_and_say_what_was_compared(papers, planted):
    (verdict,) = evaluate_claims(papers([GOOD]), planted({"a": [0.9, float("nan")], "b": [0.7, 0.7]}))
    json.dumps(verdict, allow_nan=False)
    assert verdict["verdict"] == "inconclusive"
    assert verdict["cells"][0]["of"] == "a on cdfv2 (video_auc)"
    assert (verdict["printed_effect"], verdict["printed_holds"]) == (0.1, "1 of 1")


def test_one_seed_is_marked(papers, planted_scores):
    (verdict,) = evaluate_claims(papers([GOOD]), None, planted_scores({"a": 3.0, "b": 0.6}))
    assert (verdict["verdict"], verdict["one_seed"], verdict["interval_over"]) == ("inconclusive", True, "people")
    assert verdict["reason"].startswith("one seed")


def test_a_fourth_digit_is_shown_where_three_would_read_as_the_printed_effect():
    near = {"effect": 0.0026, "interval": [-0.0021, 0.0072], "printed_effect": 0.0031}
    assert (digits(near), here(near)) == (4, "+0.0026 [-0.0021, +0.0072]")
    assert here(near | {"printed_effect": 0.05}) == "+0.003 [-0.002, +0.007]"
    assert here(near | {"printed_effect": 0.0068}) == "+0.0026 [-0.0021, +0.0072]"  # a bound


def test_claims_json_holds_every_claim_and_says_what_was_measured(papers, planted, tmp_path, capsys):
    root = papers([GOOD, GOOD | {"id": "P1-C2", "cells": [{"of": "a", "over": "gone"}]}])
    evidence = Evidence(planted({"a": [0.9, 0.91, 0.9, 0.9, 0.9], "b": [0.7, 0.7, 0.71, 0.7, 0.7]}))
    verdicts = write_claims(evidence, tmp_path / "claims.json", root, about={"scale": "smoke"})
    written = json.loads((tmp_path / "claims.json").read_text())
    assert [c["verdict"] for c in written["claims"]] == ["confirmed", "not run"]
    assert written["counts"]["confirmed"] == 1
    assert written["about"] == {"scale": "smoke"}
    print_table(verdicts)
    printed = capsys.readouterr().out
    assert "PIM 1" in printed
    assert "PIM 2" in printed


@pytest.mark.parametrize("columns", [80, 110, 160])
def test_a_reason_is_read_in_full_at_any_width(papers, planted, monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    why = "this cannot be said of pictures that nobody has seen, nor of networks that nobody has trained on any"
    claims = papers([GOOD | {"testable": False, "reason": why, "cells": []}])
    print_table(evaluate_claims(claims, planted({"a": [0.9]})))
    said = capsys.readouterr().out
    table, meanings = said.split("1 not testable")
    assert " ".join(table.split()).endswith(why) if columns == 80 else all(word in table for word in why.split())
    assert max(map(len, said.splitlines())) <= columns
    assert "…" not in said
    assert " ".join(meanings.split()).count("not testable: no stand-in can answer it") == 1


def test_effect_printed_effect_and_verdict_stand_on_one_line_of_80_columns(papers, planted, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    evidence = planted({"a": [0.9, 0.91, 0.9, 0.9, 0.9], "b": [0.7, 0.7, 0.71, 0.7, 0.7]})
    print_table(evaluate_claims(papers([GOOD | {"cells": [{"of": "a", "over": "b", "printed": 0.1}]}]), evidence))
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if line.startswith("PIM 1")]
    assert re.fullmatch(r"PIM 1 +\+0\.\d{3} \[\+0\.\d{3}, \+0\.\d{3}\] +\+0\.100 +5  confirmed *", line)
    assert "confirmed: the interval lies above zero" in said


def test_of_many_missing_runs_the_first_are_named_and_the_others_counted(papers, planted, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "110")
    runs = [f"a-run-of-a-long-name-{number}" for number in range(9)]
    (verdict,) = evaluate_claims(papers([GOOD | {"cells": [{"of": "a", "over": runs}]}]), planted({"a": [0.9]}))
    print_table([verdict])
    said = capsys.readouterr().out
    assert [run in said for run in runs] == [True] * 6 + [False] * 3
    assert "3 more" in said


def test_an_undecided_claim_says_how_many_seeds_it_would_take(papers, planted):
    rng = np.random.default_rng(0)
    noisy = {name: (0.75 + rng.normal(0, 0.03, 5)).tolist() for name in ("a", "b")}
    (verdict,) = evaluate_claims(
        papers([GOOD | {"cells": [{"of": "a", "over": "b", "printed": 0.04}]}]), planted(noisy)
    )
    assert (verdict["verdict"], verdict["look"], verdict["next_look"]) == ("inconclusive", 5, 10)
    assert verdict["level"] == pytest.approx(0.995)
    needed = verdict["power"]["seeds"]
    assert needed >= 10
    assert verdict["reason"] == f"{needed} seeds would show the printed effect in 80% of studies"


def test_what_a_design_can_see_is_told_of_every_measured_claim_and_of_the_former_study_else(papers, planted):
    root = papers([GOOD, GOOD | {"id": "P1-C2", "cells": [{"of": "c", "over": "b", "printed": 0.1}]}])
    runs = {"a": [0.8, 0.82, 0.8, 0.79, 0.8], "b": [0.7, 0.7, 0.71, 0.7, 0.7]}
    study = evaluate_claims(root, planted(runs))
    former = evaluate_claims(root, planted(runs | {"c": [0.75, 0.7, 0.8, 0.77, 0.72]}))
    assert power.table(study)["claim"].tolist() == ["PIM 1"]
    both = power.table(study, former)
    assert both["seeds"].tolist() == ["5", "5, former study"]
    assert (both["P(confirmed | printed is true)"] > 0).all()
    assert both["smallest effect seen"].is_monotonic_increasing  # what differs more from seed to seed shows less


def test_the_page_shows_effect_control_seeds_and_reason(papers, planted):
    control = {"name": "random", "of": "r", "over": "b", "method": "a"}
    worse = GOOD | {"id": "P1-C2", "cells": [{"of": "a", "over": "gone", "printed": -0.2}]}
    root = papers([GOOD | {"controls": [control]}, worse])
    verdicts = evaluate_claims(root, planted({"a": [0.90, 0.901, *[0.9] * 3], "b": [0.7] * 5, "r": [0.75] * 5}))
    first, second = as_table(verdicts, "stand-in").to_dict("records")
    assert first["here (stand-in)"].startswith("+0.200 [")
    assert (first["printed"], first["seeds"], first["verdict"]) == ("+0.100", "5, alone", "confirmed")
    assert first["control"].startswith("random: +0.050")
    assert (second["here (stand-in)"], second["reason"]) == ("", "missing: gone")
    assert own_tables(verdicts).to_dict("records") == [
        {"claim": "PIM 2", "statement": "a beats b", "own table": "0 of 1"}
    ]


def test_a_claim_in_two_metrics_shows_the_effect_of_the_first(papers, planted):
    time_ = {"of": "a", "over": "b", "metric": "seconds", "name": "time", "primary": False}
    cells = [{"of": "a", "over": "b", "printed": 0.1}, time_]
    results = [planted({"a": [0.9, 0.9], "b": [0.7, 0.7]}), planted({"a": [99.0, 98.0], "b": [9, 9]}, metric="seconds")]
    (verdict,) = evaluate_claims(papers([GOOD | {"cells": cells}]), pd.concat(results))
    assert verdict["effect"] == pytest.approx(0.2)
    assert verdict["printed_effect"] == pytest.approx(0.1)


def test_every_claim_is_numbered_within_its_paper_without_a_gap():
    for paper in ("FPG", "PIM", "PEL", "FIA-USA", "FoCus"):
        numbers = [claim.title.rpartition(" ")[2] for claim in load_claims() if claim.title.startswith(f"{paper} ")]
        assert numbers == [str(number) for number in range(1, len(numbers) + 1)]


def test_without_results_every_claim_is_not_run_or_not_testable():
    verdicts = evaluate_claims()
    assert {v["verdict"] for v in verdicts} == {"not run", "not testable"}
    assert all(v["reason"] for v in verdicts)


def test_the_runs_that_the_claims_need_are_declared():
    from dfrepro import params

    p = params.load(scale="smoke")
    declared = {*p.runs, *(f"focus-map-{name}" for name in p.maps)}
    untestable = {run for claim in load_claims() if not claim.testable for run in claim.runs()}
    assert set(needed_runs()) - untestable <= declared


def test_a_full_study_is_judged_in_seconds():
    """120 runs, five seeds, 7 test sets: `python -m dfrepro claims` has to be quick."""
    rng = np.random.default_rng(0)
    sets = ("ffpp", "dfd", "cdfv2", "dfdc", "dfdcp", "wdf", "diff")
    every = product(needed_runs(), range(5), sets, ("video_auc", "frame_auc", "frame_accuracy"))
    results = pd.DataFrame([(*key, rng.uniform(0.5, 1)) for key in every], columns=[*RESULTS])
    started = time.process_time()
    evaluate_claims(results=results)
    assert time.process_time() - started < 10


def test_nothing_heavy_is_imported():
    heavy = ("torch", "timm", "sklearn", "matplotlib")
    code = f"import dfrepro.report.claims, dfrepro.report.ledger, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
