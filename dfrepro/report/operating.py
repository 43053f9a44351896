"""Operating points: what a detector finds at a threshold that was chosen before, and what its probabilities are worth.

A threshold is chosen on the validation videos of the set that a run was trained on: the lowest that lets at most a
share of their reals pass as fake (margin above it: fake). On test sets it is fixed; intervals are over their people,
and seeds (dfrepro.report.effects). With n reals no share below 1 / n can be told apart: then none may pass, and
`Threshold` says of how many.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import binomtest

from dfrepro import places
from dfrepro.evaluate import metrics, scores
from dfrepro.params import Params
from dfrepro.report.contrast import level
from dfrepro.report.effects import Effect
from dfrepro.report.evidence import Evidence
from dfrepro.report.people import groups
from dfrepro.report.schema import Operand

SHARES = (0.01, 0.05)
CLEAN = "clean"
FEWEST = 10  # videos of a bin of a calibration curve
OWN = {"TPR at 1 %": "tpr_at_1", "TPR at 5 %": "tpr_at_5", "calibration error": "calibration_error"}


@dataclass(frozen=True)
class Threshold:
    """A margin above which a video is called fake: `passed` of `reals` validation reals are, at most a `share`."""

    margin: float
    share: float
    passed: int
    reals: int

    @property
    def score(self) -> float:
        """As a probability."""
        return float(expit(self.margin))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of the share of reals of its kind that pass (Wilson): what so few can say."""
        ends = binomtest(self.passed, self.reals).proportion_ci(method="wilson")
        return float(ends.low), float(ends.high)

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"the threshold that lets {self.share:.0%} of validation reals pass as fake "
            f"(P(fake) above {self.score:.3f}; {self.passed} of {self.reals} pass, [{low:.2f}, {high:.2f}])"
        )


class Share(NamedTuple):
    """A share, or an error, with its 95 % interval, all in [0, 1]; NaN where nothing is known."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if not np.isfinite(self.value):
            return "undefined"
        return f"{self.value:.2f}" + (f" [{self.low:.2f}, {self.high:.2f}]" if np.isfinite(self.low) else "")


NOTHING = Share(np.nan, np.nan, np.nan)


def validation(p: Params, run: str, seeds: Iterable[int]) -> dict[int, pd.DataFrame]:
    """The scored validation faces of a run, by seed, of the scorings that have any: those of older versions do not."""
    folders = {int(seed): places.scores_folder(p, run, int(seed)) for seed in seeds}
    there = {seed: folder for seed, folder in folders.items() if (folder / scores.VALIDATION).is_file()}
    return {seed: scores.read(folder, scores.VALIDATION) for seed, folder in there.items()}


def threshold(held_out: pd.DataFrame, share: float) -> Threshold | None:
    """The threshold of a scoring's validation faces (`dfrepro.evaluate.scores`); None where none of them is real."""
    videos = metrics.video_scores(held_out)
    reals = np.sort(videos.loc[videos["label"] == 0, "margin"].to_numpy())[::-1]
    if not len(reals):
        return None
    at = reals[int(share * len(reals) + 1e-9)]
    return Threshold(float(at), share, int((reals > at).sum()), len(reals))


def points(table: pd.DataFrame, held_out: Mapping[int, pd.DataFrame], where: Sequence[str]) -> pd.DataFrame:
    """One row a place of `where`, a test set or "set/manipulation", of one run's scores with all its seeds.

    held_out: validation faces by seed. Columns: `found 1 %` (of fakes) and `false alarms 1 %` (of reals) at the
    thresholds of validation, the same at 5 %, `TPR at 1 %` and `TPR at 5 %` where the test itself sets the threshold,
    and `calibration error`: of videos, as `Share`s. Where nobody or everybody is called fake, the interval is Wilson's
    of as many as there are groups of people.
    """
    clean = table[table["condition"] == CLEAN].drop(columns="score", errors="ignore")
    sets = [place.partition("/")[0] for place in where]  # whose reals a manipulation is judged with
    columns: dict[str, list[Share]] = {}
    for share in SHARES:
        at = {seed: found.margin for seed, faces in held_out.items() if (found := threshold(faces, share)) is not None}
        moved = clean[clean["seed"].isin(at.keys())]
        moved = moved.assign(margin=moved["margin"] - moved["seed"].map(at))
        fakes, reals = moved[moved["label"] == 1], moved[moved["label"] == 0]
        columns[f"found {100 * share:g} %"] = _shares(fakes, where, "accuracy")
        # of reals that are labelled fake, the accuracy is the share that passes as fake
        columns[f"false alarms {100 * share:g} %"] = _shares(reals.assign(label=1), sets, "accuracy")
    columns |= {title: _shares(clean, where, f"video_{metric}") for title, metric in OWN.items()}
    return pd.DataFrame({title: pd.Series(found, index=list(where), dtype=object) for title, found in columns.items()})


def _shares(table: pd.DataFrame, where: Sequence[str], metric: str) -> list[Share]:
    """The metric at each place, of scores of which there may be none."""
    if table.empty:
        return [NOTHING] * len(where)
    evidence, run = Evidence(None, table), str(table["run"].iloc[0])
    return [_share(level(Operand(run=run, test=(place,), metric=metric), evidence), table, place) for place in where]


def _share(effect: Effect | None, table: pd.DataFrame, place: str) -> Share:
    if effect is None or not np.isfinite(effect.mean):
        return NOTHING
    low, high = effect.interval() or (np.nan, np.nan)
    if effect.error == 0 and effect.mean in (0, 1):
        n = int(groups(table[table["dataset"] == place.partition("/")[0]].drop_duplicates(metrics.KEY)).max()) + 1
        low, high = binomtest(round(effect.mean * n), n).proportion_ci(method="wilson")
    return Share(effect.mean, *np.clip([low, high], 0.0, 1.0).tolist())


def places_of(table: pd.DataFrame) -> list[str]:
    """The test sets of a table of scores, each followed by its manipulations where there are several."""
    found = []
    for name, part in table.groupby("dataset", sort=True):
        fakes = sorted(part.loc[part["label"] == 1, "manipulation"].unique())
        found += [str(name), *(f"{name}/{fake}" for fake in fakes if len(fakes) > 1)]
    return found


def reliability(frames: pd.DataFrame, bins: int = metrics.BINS) -> pd.DataFrame:
    """The calibration curve of a scoring's videos in at most `bins` bins of as many each, ten at the least.

    Columns: chance (their mean P(fake)), share (of fakes among them), low, high (95 %, Wilson), videos.
    """
    videos = metrics.video_scores(frames)
    chances, labels = expit(videos["margin"].to_numpy()), videos["label"].to_numpy()
    edges = np.quantile(chances, np.linspace(0, 1, max(1, min(bins, len(chances) // FEWEST)) + 1))
    number = np.searchsorted(edges[1:-1], chances)
    rows = []
    for each in np.unique(number):
        inside = number == each
        fakes, n = int(labels[inside].sum()), int(inside.sum())
        ends = binomtest(fakes, n).proportion_ci(method="wilson")
        rows.append((chances[inside].mean(), fakes / n, ends.low, ends.high, n))
    return pd.DataFrame(rows, columns=["chance", "share", "low", "high", "videos"])
