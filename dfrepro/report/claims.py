"""The claims of the five papers, each with its verdict: as data, as results/claims.json and as a table.

`evaluate_claims` joins papers/*/claims.yaml with what was measured; how a verdict comes about is said in
dfrepro.report.verdict. Nothing here imports torch: `python -m dfrepro claims` takes seconds.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from dfrepro.files import write_json
from dfrepro.report.evidence import Evidence
from dfrepro.report.plots import effect
from dfrepro.report.schema import PAPERS, Claim, Operand, load_claims
from dfrepro.report.verdict import VERDICTS, CellVerdict, ClaimVerdict, ControlVerdict, Effect, judge

COLOURS = dict(zip(VERDICTS, ("green", "red", "yellow", "dim", "dim")))


def evaluate_claims(
    papers_root: Path = PAPERS,
    results: pd.DataFrame | None = None,
    scores: pd.DataFrame | None = None,
    *,
    n_boot: int = 2000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """The verdict on every claim, in the order of the papers, as JSON-ready dictionaries.

    `results` and `scores` are the frames of dfrepro.report.evidence; without any, every claim is "not run" (or "not
    testable"). Effects and intervals are in the metric's unit, AUC and accuracy in [0, 1], positive as claimed.
    """
    evidence = Evidence(results, scores, n_boot=n_boot, seed=seed)
    return [as_dict(judge(claim, evidence)) for claim in load_claims(papers_root)]


def needed_runs(papers_root: Path = PAPERS) -> dict[str, list[str]]:
    """Every run that a claim or a control reads, with the ids of those claims."""
    runs: dict[str, list[str]] = {}
    for claim in load_claims(papers_root):
        for run in claim.runs():
            runs.setdefault(run, []).append(claim.id)
    return dict(sorted(runs.items()))


def write_claims(
    evidence: Evidence, out: Path, papers_root: Path = PAPERS, *, about: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Judge every claim on `evidence`, write `out` (claims.json) and return the verdicts.

    `about` says what was measured where (scale, grid, seeds, data) and stands at the head of the file.
    """
    verdicts = [as_dict(judge(claim, evidence)) for claim in load_claims(papers_root)]
    counts = Counter(verdict["verdict"] for verdict in verdicts)
    head = {"about": dict(about or {}), "counts": {name: counts[name] for name in VERDICTS}, "n_boot": evidence.n_boot}
    write_json(out, head | {"claims": verdicts})
    return verdicts


def as_dict(verdict: ClaimVerdict) -> dict[str, Any]:
    claim, found = verdict.claim, verdict.effect
    judged = [cell for cell in verdict.cells if cell.cell.test != "shown"]
    return {
        "id": claim.id, "paper": claim.paper, "source": claim.source, "statement": claim.statement,
        "kind": claim.kind, "rule": claim.rule, "note": claim.note,
        "verdict": verdict.verdict, "reason": verdict.reason, "missing": list(verdict.missing),
        **_effect(found), "one_seed": found is not None and len(found.seeds) == 1,
        "printed_effect": _printed_effect(judged), "printed_holds": _printed_holds(claim),
        "cells": [_cell(cell) for cell in verdict.cells],
        "controls": [_control(control) for control in verdict.controls],
    }  # fmt: skip


def _effect(found: Effect | None) -> dict[str, Any]:
    if found is None:
        return {"effect": None, "interval": None, "seeds": [], "by_seed": [], "interval_over": "nothing"}
    interval = found.interval()
    return {
        "effect": _number(found.mean), "interval": list(interval) if interval else None, "seeds": list(found.seeds),
        "by_seed": [_number(value) for value in found.by_seed], "interval_over": found.over,
    }  # fmt: skip


def _cell(verdict: CellVerdict) -> dict[str, Any]:
    cell = verdict.cell
    return {
        "name": cell.name, "test": cell.test, "of": str(cell.of), "over": _side(cell.over), "direction": cell.direction,
        "at_least": cell.at_least, "margin": cell.margin, "printed": _turned(cell.printed, cell.direction),
        "verdict": "shown" if cell.test == "shown" and verdict.verdict != "not run" else verdict.verdict,
        "reason": verdict.reason, "of_value": _number(verdict.of), "over_value": _number(verdict.over),
        **_effect(verdict.effect),
    }  # fmt: skip


def _control(verdict: ControlVerdict) -> dict[str, Any]:
    """`beaten` says whether the method's lead over its control has an interval above zero (None: cannot be said)."""
    interval = verdict.lead.interval() if verdict.lead else None
    return {
        "name": verdict.control.name, "run": verdict.control.of.run, "reason": verdict.reason,
        **_effect(verdict.effect), "lead": _effect(verdict.lead), "beaten": interval[0] > 0 if interval else None,
    }  # fmt: skip


def _side(side: Operand | float | None) -> str | float | None:
    return str(side) if isinstance(side, Operand) else side


def _turned(printed: float | None, direction: str) -> float | None:
    """A printed difference, turned so that a positive one is what the paper claims."""
    return printed if printed is None or direction == "greater" else -printed


def _printed_effect(cells: list[CellVerdict]) -> float | None:
    """The mean printed effect of those cells that the measured effect is the mean of."""
    for test in ("difference", "equivalence"):
        of_test = [c.cell for c in cells if c.cell.test == test]
        values = [_turned(c.printed, c.direction) for c in of_test if c.of.metric == of_test[0].of.metric]
        if values:
            return None if None in values else sum(v for v in values if v is not None) / len(values)
    return None


def _printed_holds(claim: Claim) -> str:
    """In how many of the cells that have printed values the paper's own numbers agree with the claim: "7 of 8"."""
    agrees = []
    for cell in claim.cells:
        printed = _turned(cell.printed, cell.direction)
        if printed is not None and cell.test in ("difference", "equivalence"):
            agrees.append(abs(printed) < cell.margin if cell.margin else printed > cell.at_least)
    return f"{sum(agrees)} of {len(agrees)}" if agrees else ""


def _number(value: float | None) -> float | None:
    return float(value) if value is not None and isfinite(value) else None


def as_table(verdicts: Sequence[Mapping[str, Any]], label: str) -> pd.DataFrame:
    """The claims page: one row a claim with effect, the paper's, the controls, seeds, verdict and reason, as text."""
    rows = [
        {"claim": v["id"], "statement": v["statement"], f"here ({label})": effect(v["effect"], v["interval"]),
         "printed": effect(v["printed_effect"], None), "control": _controls(v["controls"]), "seeds": _seeds(v),
         "verdict": v["verdict"], "reason": v["reason"]}
        for v in verdicts
    ]  # fmt: skip
    return pd.DataFrame(rows)


def own_tables(verdicts: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The claims that the paper's own printed values do not bear out in every comparison."""
    rows = []
    for verdict in verdicts:
        held, _, of = verdict["printed_holds"].partition(" of ")
        if held != of:
            rows.append({"claim": verdict["id"], "statement": verdict["statement"], "own table": f"{held} of {of}"})
    return pd.DataFrame(rows, columns=["claim", "statement", "own table"])


def _controls(controls: Sequence[Mapping[str, Any]]) -> str:
    """Each control's own gain over the baseline, as the claim's effect is shown."""
    shown = [f"{c['name']}: {effect(c['effect'], c['interval']) or 'not run'}" for c in controls]
    return "; ".join(shown)


def print_table(verdicts: list[dict[str, Any]]) -> None:
    """The verdicts as a table on the terminal: effects as mean and interval, with the printed one beside."""
    from rich.console import Console
    from rich.table import Table

    table = Table("claim", "verdict", "stand-in effect [95 %]", "printed", "own table", "seeds", "why", title="Claims")
    for verdict in verdicts:
        colour = COLOURS[verdict["verdict"]]
        table.add_row(
            verdict["id"], f"[{colour}]{verdict['verdict']}[/]", _shown(verdict), _signed(verdict["printed_effect"]),
            verdict["printed_holds"], _seeds(verdict), _short(verdict["reason"]),
        )  # fmt: skip
    Console().print(table)


def _shown(verdict: dict[str, Any]) -> str:
    if verdict["effect"] is None:
        return ""
    interval = verdict["interval"]
    return _signed(verdict["effect"]) + (f" [{interval[0]:+.4f}, {interval[1]:+.4f}]" if interval else "")


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.4f}"


def _seeds(verdict: Mapping[str, Any]) -> str:
    return "one seed" if verdict["one_seed"] else str(len(verdict["seeds"]) or "")


def _short(text: str, width: int = 60) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
