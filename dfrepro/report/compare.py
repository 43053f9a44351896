"""Runs next to each other: AUC on every test set with its interval, and how far each is from the first, paired.

Intervals are those of the verdicts (dfrepro.report.effects): over people and, with several seeds, over seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from dfrepro.jobs.trained import TrainedRun
from dfrepro.params import Params
from dfrepro.report.contrast import common_seeds, contrast, level, probits
from dfrepro.report.evidence import Evidence
from dfrepro.report.schema import Cell, Operand
from dfrepro.report.tables import Table

COLUMNS = ["run", "test", "seeds", "auc", "low", "high", "difference", "difference_low", "difference_high"]
NOTHING = "–"  # where a run was not tested on a set


@dataclass(frozen=True)
class Comparison:
    """Several runs on their test sets; the first is what the others are compared with.

    scores: one row a face, condition clean: run, seed, dataset (as declared: "ffpp-c23"), manipulation, video, label,
    margin and score. histories: by (run, seed), one row an epoch. trained_on: by run, its own set.
    """

    runs: tuple[str, ...]
    scores: pd.DataFrame
    histories: Mapping[tuple[str, int], pd.DataFrame]
    trained_on: Mapping[str, str]
    table: pd.DataFrame  # COLUMNS, one row a run and test set; AUC over videos, NaN where there is no interval

    @property
    def tests(self) -> list[str]:
        return list(dict.fromkeys(self.table["test"]))

    def leaderboard(self) -> pd.DataFrame:
        """As text, a row a run and a column a test set: AUC [95 %], and below it the paired difference to the first."""
        rows = {run: dict.fromkeys(self.tests, NOTHING) for run in self.runs}
        for row in self.table.itertuples():
            rows[row.run][row.test] = shown(row)
        return pd.DataFrame(rows).T.rename_axis("run")

    def _repr_html_(self) -> str:
        caption = f"AUC over videos; below it the difference to {self.runs[0]}, paired; 95 % intervals"
        return Table(self.leaderboard().reset_index(), caption=caption)._repr_html_()


def compare(
    scores: pd.DataFrame, histories: Mapping[tuple[str, int], pd.DataFrame], trained_on: Mapping[str, str]
) -> Comparison:
    """The comparison of the runs in `scores`, in their order there. See `Comparison` for the arguments."""
    runs = tuple(dict.fromkeys(scores["run"]))
    evidence = Evidence(None, scores, trained_on=trained_on)
    tests = list(dict.fromkeys(scores["dataset"]))
    rows = [row for test in tests for run in runs if (row := _row(evidence, run, runs[0], test)) is not None]
    return Comparison(runs, scores, histories, trained_on, pd.DataFrame(rows, columns=COLUMNS))


def of_runs(p: Params, trained: Sequence[TrainedRun]) -> Comparison:
    """The comparison of runs that have been scored, under the names that their test sets are declared by."""
    scores = pd.concat([clean(p, run) for run in trained], ignore_index=True)
    return compare(scores, {(run.name, run.seed): run.history for run in trained}, p.trained_on)


def clean(p: Params, run: TrainedRun) -> pd.DataFrame:
    """A run's scores of faces as they are, `dataset` being the declared name: "ffpp-c40" where scores say "ffpp"."""
    declared = {p.scored_as(test): test for test in p.run(run.name).tests}
    found = run.scores
    found = found[found["condition"] == "clean"]
    return found.assign(dataset=found["dataset"].map(lambda name: declared.get(name, name)))


def _row(evidence: Evidence, run: str, first: str, test: str) -> tuple | None:
    of, over = (Operand(run=name, test=(test,), metric="video_auc") for name in (run, first))
    alone = level(of, evidence)
    if alone is None:
        return None
    nothing = (float("nan"), float("nan"))
    low, high = alone.interval() or nothing
    difference, below, above = float("nan"), *nothing
    cell = Cell(name="", of=of, over=over)
    paired, _ = common_seeds([cell], evidence)
    if run != first and paired:
        effect = contrast([cell], evidence, paired, probits(cell))
        difference, (below, above) = effect.mean, effect.interval() or nothing
    return run, test, len(alone.seeds), alone.mean, low, high, difference, below, above


def shown(row: object) -> str:
    """'0.912 [0.85, 0.95]', and where it is compared ' +0.031 [-0.01, +0.07]'."""
    auc = bracketed("{:.3f}", row.auc, row.low, row.high)  # type: ignore[attr-defined]
    if pd.isna(row.difference):  # type: ignore[attr-defined]
        return auc
    return f"{auc}\n{bracketed('{:+.3f}', row.difference, row.difference_low, row.difference_high)}"  # type: ignore[attr-defined]


def bracketed(form: str, value: float, low: float, high: float) -> str:
    bounds = "" if pd.isna(low) or pd.isna(high) else f" [{form.format(low)}, {form.format(high)}]"
    return form.format(value) + bounds


def tell(comparison: Comparison, runs: Sequence[str] | None = None) -> list[str]:
    """A sentence for each run after the first: where it is told apart from the first, and where not."""
    said = []
    for run in (runs or comparison.runs)[1:]:
        rows = comparison.table[(comparison.table["run"] == run) & comparison.table["difference"].notna()]
        better, worse = rows[rows["difference_low"] > 0], rows[rows["difference_high"] < 0]
        parts = [
            f"{word} on {', '.join(part['test'])}" for word, part in (("better", better), ("worse", worse)) if len(part)
        ]
        rest = len(rows) - len(better) - len(worse)
        if rest:
            parts.append(f"not told apart on {rest} of {len(rows)} sets")
        said.append(f"{run} against {comparison.runs[0]}: {'; '.join(parts) or 'no test set in common'}")
    return said
