"""The claims of the five papers, each with its verdict: as data, as results/claims.json and as a table.

`evaluate_claims` joins papers/*/claims.yaml with what was measured; how a verdict comes about is said in
dfrepro.report.verdict and, with an example, in docs/verdicts.md. Nothing here imports torch: `python -m dfrepro claims`
takes seconds.
"""

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from dfrepro.files import write_json
from dfrepro.report import looks
from dfrepro.report.effects import Effect
from dfrepro.report.evidence import Evidence
from dfrepro.report.plots import effect
from dfrepro.report.power import power
from dfrepro.report.schema import PAPERS, Claim, Operand, load_claims
from dfrepro.report.verdict import DECIDED, VERDICTS, CellVerdict, ClaimVerdict, ControlVerdict, judge, printed_effect

COLOURS = dict(zip(VERDICTS, ("green", "red", "magenta", "yellow", "cyan", "dim", "dim")))
MEANS = dict(zip(VERDICTS, (
    "the interval lies above zero, or beyond the threshold or inside the margin that is named",
    "the interval lies below zero, or beyond what is named on the wrong side",
    "the interval holds zero and lies below the printed effect",
    "the interval holds both, or nothing is printed: more seeds may tell",
    "a network, a module or a control says that nothing can be seen here, whatever the interval",
    "no stand-in can answer it",
    "a training or a measurement is missing",
)))  # fmt: skip
BESIDE = 40  # characters that a reason needs to stand beside its verdict and not below it
NAMED = 6  # what is missing, of one claim at the terminal


def evaluate_claims(
    papers_root: Path = PAPERS, results: pd.DataFrame | None = None, scores: pd.DataFrame | None = None
) -> list[dict[str, Any]]:
    """The verdict on every claim, in the order of claims.yaml, FPG's first, as JSON-ready dictionaries.

    `results` and `scores` are the frames of dfrepro.report.evidence; without any, every claim is "not run" (or "not
    testable"). Effects and intervals are in the metric's unit, AUC and accuracy in [0, 1], positive as claimed.
    """
    evidence = Evidence(results, scores)
    return [as_dict(judge(claim, evidence)) for claim in load_claims(papers_root)]


def needed_runs(papers_root: Path = PAPERS) -> dict[str, list[str]]:
    """Every run that a claim or a control reads, with the ids of those claims."""
    runs: dict[str, list[str]] = {}
    for claim in load_claims(papers_root):
        for run in claim.runs():
            runs.setdefault(run, []).append(claim.id)
    return dict(sorted(runs.items()))


def write_claims(
    evidence: Evidence,
    out: Path,
    papers_root: Path = PAPERS,
    *,
    about: Mapping[str, Any] | None = None,
    former: Mapping[str, dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Judge every claim on `evidence`, write `out` (claims.json) and return the verdicts.

    `about` says what was measured where (scale, grid, seeds, data) and stands at the head of the file. `former`:
    verdicts by title, of another study, for claims that this evidence has no run of.
    """
    verdicts = [as_dict(judge(claim, evidence)) for claim in load_claims(papers_root)]
    verdicts = [(former or {}).get(v["title"], v) if v["verdict"] == "not run" else v for v in verdicts]
    counts = Counter(verdict["verdict"] for verdict in verdicts)
    head = {"about": dict(about or {}), "counts": {name: counts[name] for name in VERDICTS}}
    write_json(out, head | {"claims": verdicts})
    return verdicts


def as_dict(verdict: ClaimVerdict) -> dict[str, Any]:
    claim, found = verdict.claim, verdict.effect
    can = power(claim.primary, found) if claim.testable else power((), None)
    wanting = can.in_words if verdict.verdict == "inconclusive" else ""
    return {
        "id": claim.id, "title": claim.title, "paper": claim.paper, "source": claim.source,
        "statement": claim.statement, "kind": claim.kind, "note": claim.note,
        "verdict": verdict.verdict, "reason": "; ".join(filter(None, (verdict.reason, wanting))),
        "missing": list(verdict.missing), **_effect(found),
        "one_seed": found is not None and len(found.seeds) == 1, "look": verdict.look,
        "next_look": None if found is None or verdict.verdict in DECIDED else looks.following(len(found.seeds)),
        "printed_effect": printed_effect(claim.primary), "printed_holds": _printed_holds(claim),
        "power": {"confirms": can.confirms, "smallest": can.smallest, "seeds": can.seeds},
        "cells": [_cell(cell, cell.cell in claim.primary) for cell in verdict.cells],
        "positive_control": _positive(verdict),
        "controls": [_control(control) for control in verdict.controls],
    }  # fmt: skip


def _effect(found: Effect | None) -> dict[str, Any]:
    """An effect in the metric's unit; `by_seed` is what each seed alone would show."""
    if found is None:
        return {
            "effect": None, "interval": None, "level": None, "seeds": [], "by_seed": [], "by_generator": {},
            "interval_over": "nothing",
        }  # fmt: skip
    interval = found.interval()
    return {
        "effect": _number(found.mean), "interval": list(interval) if interval else None,
        "level": found.confidence if interval else None, "seeds": list(found.seeds),
        "by_generator": {str(of): _number(value) for of, value in found.by_generator.items()},
        "by_seed": [_number(found.shown(value)) for value in found.by_seed], "interval_over": found.over,
    }  # fmt: skip


def _cell(verdict: CellVerdict, primary: bool) -> dict[str, Any]:
    cell = verdict.cell
    return {
        "name": cell.name, "test": cell.test, "primary": primary, "of": str(cell.of), "over": _side(cell.over),
        "direction": cell.direction, "at_least": cell.at_least, "margin": cell.margin,
        "printed": _turned(cell.printed, cell.direction),
        "verdict": "shown" if cell.test == "shown" and verdict.verdict != "not run" else verdict.verdict,
        "reason": verdict.reason, "of_value": _number(verdict.of), "over_value": _number(verdict.over),
        "p": _number(verdict.p), "holm": _number(verdict.holm), **_effect(verdict.effect),
    }  # fmt: skip


def _positive(verdict: ClaimVerdict) -> dict[str, Any] | None:
    control = verdict.claim.positive_control
    if control is None:
        return None
    return {"name": control.name, "none": control.none, "at_least": control.at_least, **_effect(verdict.positive)}


def _control(verdict: ControlVerdict) -> dict[str, Any]:
    """`explains`: the control does what the method does, and a confirmation is taken back."""
    return {
        "name": verdict.control.name, "run": verdict.control.of.run, "reason": verdict.reason,
        **_effect(verdict.effect), "lead": _effect(verdict.lead), "explains": verdict.explains,
    }  # fmt: skip


def _side(side: Operand | float | None) -> str | float | None:
    return str(side) if isinstance(side, Operand) else side


def _turned(printed: float | None, direction: str) -> float | None:
    """A printed difference, turned so that a positive one is what the paper claims."""
    return printed if printed is None or direction == "greater" else -printed


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
        {"claim": v["title"], "statement": v["statement"], f"here ({label})": here(v),
         "printed": effect(v["printed_effect"], None, digits(v)), "control": _controls(v["controls"]),
         "seeds": _seeds(v), "verdict": v["verdict"], "reason": v["reason"]}
        for v in verdicts
    ]  # fmt: skip
    return pd.DataFrame(rows)


def own_tables(verdicts: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The claims that the paper's own printed values do not bear out in every comparison."""
    rows = []
    for verdict in verdicts:
        held, _, of = verdict["printed_holds"].partition(" of ")
        if held != of:
            rows.append({"claim": verdict["title"], "statement": verdict["statement"], "own table": f"{held} of {of}"})
    return pd.DataFrame(rows, columns=["claim", "statement", "own table"])


def _controls(controls: Sequence[Mapping[str, Any]]) -> str:
    """Each control's own gain over the baseline, as the claim's effect is shown."""
    shown = [f"{c['name']}: {effect(c['effect'], c['interval']) or 'not run'}" for c in controls]
    return "; ".join(shown)


def print_table(verdicts: list[dict[str, Any]]) -> None:
    """One line a claim on the terminal: effect here with its interval, the printed one, the verdict, and why.

    On a narrow terminal the reason stands below its line, in full. What the verdicts mean is said at the end.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console()
    head = f"{'claim':10} {'effect here [interval]':>27} {'printed':>8} {'seeds':>5}  {'verdict':18}"
    beside = console.width - len(head) - 2 >= BESIDE
    console.print(Text(head + "  because" * beside, style="bold"), no_wrap=True, overflow="ellipsis")
    indent = len(head) + 2 if beside else 4
    for verdict in verdicts:
        printed = effect(verdict["printed_effect"], None, digits(verdict))
        line = Text(f"{verdict['title']:10} {here(verdict):>27} {printed:>8} {len(verdict['seeds']) or '':>5}  ")
        line.append(f"{verdict['verdict']:18}", COLOURS[verdict["verdict"]])
        said = textwrap.wrap(_why(verdict), max(console.width - indent, 24), break_on_hyphens=False)
        if beside and said:
            line.append(f"  {said.pop(0)}", "dim")
        for text in (line, *(Text(" " * indent + rest, "dim") for rest in said)):
            console.print(text, no_wrap=True, overflow="ellipsis")
    counts = Counter(verdict["verdict"] for verdict in verdicts)
    console.print(Text(", ".join(f"{counts[name]} {name}" for name in VERDICTS if counts[name]), style="bold"))
    meant = "".join(f"\n{name}: {MEANS[name]}" for name in VERDICTS if counts[name])
    foot = f"Effects are positive as the paper claims. Intervals: {looks.in_words()}; of fewer {looks.LEVEL:.0%}."
    console.print(Text(f"{foot}{meant}\nMore in docs/verdicts.md; the statements are in docs/claims.md.", style="dim"))


def _why(verdict: Mapping[str, Any]) -> str:
    """What is said of a verdict: its reason, of what is missing the first few; where there is none, the statement."""
    absent = list(dict.fromkeys(each for missing in verdict["missing"] for each in missing.split(", ")))
    if absent:
        more = f", {len(absent) - NAMED} more" if len(absent) > NAMED else ""
        return f"missing: {', '.join(absent[:NAMED])}{more}"
    former = "of the former study" if verdict.get("former") else ""
    return "; ".join(filter(None, (former, verdict["reason"]))) or str(verdict["statement"])


def _seeds(verdict: Mapping[str, Any]) -> str:
    """How many seeds, and whether the interval is over them alone: the people are not known, or add nothing."""
    number = "one seed" if verdict["one_seed"] else str(len(verdict["seeds"]) or "")
    return f"{number}, alone" if verdict["interval"] and verdict["interval_over"] == "seeds" else number


def here(verdict: Mapping[str, Any]) -> str:
    """The effect with its interval, as it is shown beside the printed one."""
    return effect(verdict["effect"], verdict["interval"], digits(verdict))


def digits(verdict: Mapping[str, Any]) -> int:
    """4 where, with 3, the effect or a bound would read as the printed effect and is not; else 3."""
    paper, ours = verdict["printed_effect"], [verdict["effect"], *(verdict["interval"] or ())]
    if paper is None or verdict["effect"] is None:
        return 3
    return 4 if any(f"{value:+.3f}" == f"{paper:+.3f}" and value != paper for value in ours) else 3
