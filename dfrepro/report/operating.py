"""Operating points: what a detector finds at a threshold that was chosen before, and what its probabilities are worth.

A threshold is chosen on the validation videos of the set that a run was trained on: the lowest that lets at most a
share of their reals pass as fake (margin above it: fake). On test sets it is fixed; intervals are over their people,
and seeds (dfrepro.report.effects). With n reals no share below 1 / n can be told apart: then none may pass, and
`Threshold` says of how many.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import binomtest

from dfrepro.evaluate import metrics
from dfrepro.report.contrast import level
from dfrepro.report.evidence import Evidence
from dfrepro.report.people import groups
from dfrepro.report.schema import Operand

SHARES = (0.01, 0.05)
CLEAN = "clean"
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

    def __str__(self) -> str:
        return (
            f"the threshold that lets {self.share:.0%} of validation reals pass as fake "
            f"(P(fake) above {self.score:.3f}; {self.passed} of {self.reals} pass)"
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


def threshold(validation: pd.DataFrame, share: float) -> Threshold | None:
    """The threshold of a scoring's validation faces (`dfrepro.evaluate.scores`); None where none of them is real."""
    videos = metrics.video_scores(validation)
    reals = np.sort(videos.loc[videos["label"] == 0, "margin"].to_numpy())[::-1]
    if not len(reals):
        return None
    at = reals[int(share * len(reals) + 1e-9)]
    return Threshold(float(at), share, int((reals > at).sum()), len(reals))


def points(scores: pd.DataFrame, validation: Mapping[int, pd.DataFrame], places: Sequence[str]) -> pd.DataFrame:
    """One row a place, a test set or "set/manipulation", of one run's clean `scores` of all its seeds.

    Columns: `found 1 %` (of fakes) and `false alarms 1 %` (of reals) at the validation's thresholds by seed, the same
    at 5 %, `TPR at 1 %` and `TPR at 5 %` where the test itself sets the threshold, and `calibration error`: of videos,
    as `Share`s. Where the share of all people is 0 or 1, the interval is Wilson's of as many as there are groups.
    """
    clean = scores[scores["condition"] == CLEAN].drop(columns="score", errors="ignore")
    columns = {}
    for share in SHARES:
        at = {seed: found for seed, table in validation.items() if (found := threshold(table, share)) is not None}
        moved = clean[clean["seed"].isin(at.keys())]
        moved = moved.assign(
            margin=moved["margin"] - moved["seed"].map({seed: each.margin for seed, each in at.items()})
        )
        fakes, reals = moved[moved["label"] == 1], moved[moved["label"] == 0]
        columns[f"found {share:.0%}"] = _shares(fakes, places, "accuracy")
        # of reals that are labelled fake, the accuracy is the share that passes as fake; a manipulation's are the set's
        sets = [place.partition("/")[0] for place in places]
        columns[f"false alarms {share:.0%}"] = _shares(reals.assign(label=1), sets, "accuracy")
    columns = {title.replace("%", " %"): found for title, found in columns.items()}
    columns |= {title: _shares(clean, places, f"video_{metric}") for title, metric in OWN.items()}
    return pd.DataFrame({title: pd.Series(found, dtype=object) for title, found in columns.items()}).set_axis(
        list(places)
    )


def _shares(scores: pd.DataFrame, places: Sequence[str], metric: str) -> list[Share]:
    """The metric at each place, of `scores` that may be empty."""
    nothing = Share(np.nan, np.nan, np.nan)
    if scores.empty:
        return [nothing] * len(places)
    evidence, run = Evidence(None, scores), str(scores["run"].iloc[0])
    found = []
    for place in places:
        effect = level(Operand(run=run, test=(place,), metric=metric), evidence)
        if effect is None or not np.isfinite(effect.mean):
            found.append(nothing)
            continue
        low, high = effect.interval() or (np.nan, np.nan)
        if effect.error == 0 and effect.mean in (0, 1):
            videos = scores[scores["dataset"] == place.partition("/")[0]].drop_duplicates(metrics.KEY)
            n = int(groups(videos).max()) + 1
            low, high = binomtest(round(effect.mean * n), n).proportion_ci(method="wilson")
        found.append(
            Share(effect.mean, max(low, 0.0), min(high, 1.0)) if np.isfinite(low) else Share(effect.mean, low, high)
        )
    return found


def places_of(scores: pd.DataFrame) -> list[str]:
    """The test sets of a table of scores, each followed by its manipulations where there are several."""
    found = []
    for name, part in scores.groupby("dataset", sort=True):
        fakes = sorted(part.loc[part["label"] == 1, "manipulation"].unique())
        found += [str(name), *(f"{name}/{fake}" for fake in fakes if len(fakes) > 1)]
    return found


def reliability(frames: pd.DataFrame, bins: int = metrics.BINS) -> pd.DataFrame:
    """The calibration curve of a scoring's videos: one row a bin of P(fake) that has any.

    Columns: chance (their mean P(fake)), share (of fakes among them), low, high (95 %, Wilson), videos.
    """
    videos = metrics.video_scores(frames)
    chances, labels = expit(videos["margin"].to_numpy()), videos["label"].to_numpy()
    number = np.minimum((chances * bins).astype(int), bins - 1)
    rows = []
    for each in np.unique(number):
        inside = number == each
        fakes, n = int(labels[inside].sum()), int(inside.sum())
        ends = binomtest(fakes, n).proportion_ci(method="wilson")
        rows.append((chances[inside].mean(), fakes / n, ends.low, ends.high, n))
    return pd.DataFrame(rows, columns=["chance", "share", "low", "high", "videos"])
