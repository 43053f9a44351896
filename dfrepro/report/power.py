"""What a design can decide: how often it would confirm a claim that is as true as the paper prints, and from what on.

Seeds and test sets are those of the look that judged the claim, and so are the variances (dfrepro.report.effects). The
estimate is taken as noncentral t around the truth; of the printed effect it is supposed that it holds here at this
baseline. More seeds are judged at the level of the look that they reach.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import nctdtr, stdtr, stdtrit

from dfrepro.report import looks
from dfrepro.report.effects import MANY, Effect
from dfrepro.report.schema import Cell
from dfrepro.report.verdict import printed_effect

WANTED = 0.8
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Power:
    confirms: float | None  # the probability of "confirmed" if the printed effect is true; None where none is printed
    smallest: float | None  # the smallest effect that is confirmed with probability WANTED, in the metric's unit
    seeds: int | None  # how many seeds confirm the printed effect with probability WANTED; None: no number of them does

    @property
    def in_words(self) -> str:
        """What it would take to confirm the printed effect; "" where that is not known."""
        if self.confirms is None:
            return ""
        if self.seeds is None:
            return f"the test sets are too small: not even {MOST_SEEDS} seeds would show the printed effect"
        return f"{self.seeds} seeds would show the printed effect in {WANTED:.0%} of studies"


def power(cells: Sequence[Cell], effect: Effect | None) -> Power:
    """Of a primary contrast, from its effect on the evidence."""
    if effect is None or len(effect.seeds) < 2 or cells[0].test == "exact":
        return Power(None, None, None)
    if effect.variance is None or not effect.error > 0:
        return Power(None, None, None)
    printed, found = printed_effect(cells), effect.variance
    if printed is None:
        return Power(None, _smallest(cells, effect), None)
    confirms = _probability(cells, effect, printed, effect.error, found.freedom, effect.confidence)
    numbers = [*looks.LOOKS, *range(looks.LAST + 1, MOST_SEEDS + 1)]
    seeds = next((n for n in numbers if _with(cells, effect, printed, n) >= WANTED), None)
    return Power(confirms, _smallest(cells, effect), seeds)


def _with(cells: Sequence[Cell], effect: Effect, truth: float, seeds: int) -> float:
    """The probability of "confirmed" with that many seeds and the same test sets."""
    assert effect.variance is not None
    own, drawn = effect.variance, len(set(effect.generators)) or 1
    if drawn == own.n_seeds:
        drawn = 1  # each seed brings a draw of its own: all of the variance is one of seeds
    spread = own.seeds / seeds
    total = spread + own.tests + own.generators
    spent = (own.total**2 / own.freedom) - (own.seeds / own.n_seeds) ** 2 / max(own.n_seeds - drawn, 1)
    slack = spread**2 / max(seeds - drawn, 1) + max(spent, 0.0)
    freedom = min(total**2 / slack, MANY) if slack > 0 else MANY
    return _probability(cells, effect, truth, np.sqrt(total), freedom, looks.level(seeds))


def _probability(
    cells: Sequence[Cell], effect: Effect, truth: float, error: float, freedom: float, level: float
) -> float:
    reach = float(stdtrit(freedom, (1 + level) / 2))
    at, test = effect.compared(truth), cells[0].test
    if test in ("equivalence", "noninferior"):
        margin = min(cell.margin or 0.0 for cell in cells)
        above = _beyond(freedom, reach, (at - effect.compared(-margin)) / error)
        if test == "noninferior":
            return above
        inside = stdtr(freedom, (effect.compared(margin) - at) / error - reach)
        return float(max(0.0, stdtr(freedom, (at - effect.compared(-margin)) / error - reach) + inside - 1))
    threshold = float(np.mean([cell.at_least for cell in cells]))
    return _beyond(freedom, reach, (at - effect.compared(threshold)) / error)


def _beyond(freedom: float, reach: float, distance: float) -> float:
    """P(T > reach) of a noncentral t; beyond what the series can, of a t that is moved."""
    value = float(1 - nctdtr(freedom, distance, reach))
    return value if np.isfinite(value) and abs(distance) < 30 else float(stdtr(freedom, distance - reach))


def _smallest(cells: Sequence[Cell], effect: Effect) -> float | None:
    """By t's own quantiles: (t_level + t_wanted) standard errors above the threshold."""
    if cells[0].test != "difference":
        return None
    assert effect.variance is not None
    freedom = effect.variance.freedom
    reach = float(stdtrit(freedom, (1 + effect.confidence) / 2) + stdtrit(freedom, WANTED)) * effect.error
    threshold = float(np.mean([cell.at_least for cell in cells]))
    return effect.shown(effect.compared(threshold) + reach) if np.isfinite(reach) else None


def table(verdicts: Sequence[Mapping[str, Any]], former: Sequence[Mapping[str, Any]] = ()) -> pd.DataFrame:
    """One row a measured claim: what is printed, the chance that this design confirms it, and what it can see.

    former: another study's verdicts, for claims that were not measured by the first.
    """
    others = {v["title"]: v for v in former if v["effect"] is not None}
    found = [v if v["effect"] is not None else others.get(v["title"], v) for v in verdicts]
    rows = [
        {"claim": v["title"], "printed": v["printed_effect"],
         "seeds": f"{len(v['seeds'])}" + ", former study" * (v is others.get(v["title"]) or v.get("former", False)),
         "P(confirmed | printed is true)": v["power"]["confirms"], "smallest effect seen": v["power"]["smallest"],
         "seeds needed": v["power"]["seeds"] or ("" if v["power"]["confirms"] is None else f"over {MOST_SEEDS}"),
         "verdict": v["verdict"]}
        for v in found if v["effect"] is not None
    ]  # fmt: skip
    return pd.DataFrame(rows)
