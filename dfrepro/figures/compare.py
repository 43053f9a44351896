"""Runs compared, drawn: ROC, precision and recall, scores, AUC by manipulation, training curves. Any runs, any sets."""

from collections.abc import Callable, Iterable
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.metrics import precision_recall_curve, roc_curve

from dfrepro.evaluate import metrics
from dfrepro.files import atomic_file
from dfrepro.report.compare import Comparison
from dfrepro.report.plots import FAKE, LABELS, REAL, SETS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg")
Curve = Callable[[pd.Series, pd.Series], tuple[np.ndarray, np.ndarray]]  # of labels and margins: x and y


def every(comparison: Comparison, test: str | None = None) -> dict[str, "Figure"]:
    """All figures that there is something for, by name. test: for the histograms; default: the first set."""
    figures = {"leaderboard": leaderboard(comparison), "roc": roc(comparison)}
    figures["precision-recall"] = precision_recall(comparison)
    figures["scores"] = scores(comparison, test or comparison.tests[0])
    if any(_kinds(comparison, name) for name in comparison.tests):
        figures["manipulations"] = manipulations(comparison)
    if comparison.histories:
        figures["curves"] = curves(comparison)
    return figures


def save(figures: dict[str, "Figure"], folder: Path, formats: Iterable[str] = FORMATS) -> list[Path]:
    """Write each figure as PNG and as SVG, whole or not at all; return the paths."""
    paths = [folder / f"{name}.{kind}" for name in figures for kind in formats]
    for path in paths:
        with atomic_file(path) as partial:
            figures[path.stem].savefig(partial, format=path.suffix[1:])
    return paths


def leaderboard(comparison: Comparison) -> "Figure":
    """AUC with its 95 % interval: a panel a test set, a line a run; chance is dashed."""
    import matplotlib.pyplot as plt

    tests = comparison.tests
    height = 0.9 + 0.34 * len(comparison.runs)
    figure, axes = plt.subplots(1, len(tests), figsize=(2.1 * len(tests) + 1.6, height), sharey=True, squeeze=False)
    for axis, test in zip(axes[0], tests):
        rows = comparison.table[comparison.table["test"] == test].set_index("run").reindex(comparison.runs)
        for place, (run, row) in enumerate(rows.iterrows()):
            colour = colours(comparison)[str(run)]
            axis.hlines(place, row["low"], row["high"], color=colour, linewidth=2)
            axis.plot(row["auc"], place, "o", color=colour, markersize=6)
        axis.axvline(0.5, color="grey", linestyle="--", linewidth=0.8)
        axis.set(title=name_of(test), xlabel="AUC", xlim=(0.3, 1.02), yticks=range(len(rows)))
    axes[0, 0].set_yticklabels(comparison.runs)
    axes[0, 0].invert_yaxis()  # shared
    return figure


def roc(comparison: Comparison) -> "Figure":
    """ROC over videos, a panel a test set; of several seeds each is a thin line."""

    def curve(labels: pd.Series, margins: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        return roc_curve(labels, margins, drop_intermediate=False)[:2]

    return _tradeoffs(comparison, curve, xlabel="reals called fake", ylabel="fakes found", chance=lambda _: [0, 1])


def precision_recall(comparison: Comparison) -> "Figure":
    """Precision over recall, as `roc`; chance is the share of fakes, so sets do not compare."""

    def curve(labels: pd.Series, margins: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        precision, recall, _ = precision_recall_curve(labels, margins)
        return recall, precision

    return _tradeoffs(
        comparison, curve, xlabel="fakes found", ylabel="fakes of what is called fake",
        chance=lambda labels: [labels.mean()] * 2, ylim=(0, 1.02), drawstyle="steps-post",
    )  # fmt: skip


def _tradeoffs(
    comparison: Comparison, curve: Curve, *, xlabel: str, ylabel: str, chance: Callable[[pd.Series], list[float]],
    ylim: tuple[float, float] | None = None, drawstyle: Any = "default",
) -> "Figure":  # fmt: skip
    """A panel a test set, a line a run and seed through `curve` of its videos' labels and margins; chance is dashed."""
    figure, axes = _panels(comparison.tests, 2.9)
    videos = _videos(comparison)
    for axis, test in zip(axes, comparison.tests):
        of_set = videos[videos["dataset"] == test]
        for run, colour in colours(comparison).items():
            parts = of_set[of_set["run"] == run].groupby("seed")
            style = {"color": colour, "linewidth": 1.6 / max(len(parts), 1) ** 0.5, "drawstyle": drawstyle}
            for number, (_, part) in enumerate(parts):
                axis.plot(*curve(part["label"], part["margin"]), label=None if number else run, **style)
        axis.plot([0, 1], chance(of_set["label"]), color="grey", linestyle="--", linewidth=0.8)
        axis.set(title=name_of(test), xlabel=xlabel, ylabel=ylabel, aspect="equal", ylim=ylim)
    _legend(figure, axes[0])
    return figure


def scores(comparison: Comparison, test: str) -> "Figure":
    """How P(fake) of the videos of one test set is spread over reals and fakes, a panel a run, all seeds together."""
    figure, axes = _panels(comparison.runs, 2.5)
    videos = _videos(comparison)
    for axis, run in zip(axes, comparison.runs):
        part = videos[(videos["dataset"] == test) & (videos["run"] == run)]
        for label, word, colour in ((0, "real", REAL), (1, "fake", FAKE)):
            chances = expit(part.loc[part["label"] == label, "margin"].to_numpy())
            weights = np.full(len(chances), 1 / max(len(chances), 1))
            axis.hist(chances, np.linspace(0, 1, 21), weights=weights, color=colour, alpha=0.65, label=word)
        axis.axvline(0.5, color="grey", linestyle="--", linewidth=0.8)
        axis.set(title=run, xlabel=f"P(fake) on {name_of(test)}", ylabel="share of videos", xlim=(0, 1))
    _legend(figure, axes[0])
    return figure


def manipulations(comparison: Comparison) -> "Figure":
    """AUC over videos of each manipulation against the set's reals, mean over seeds: a panel a set that has several."""
    tests = [test for test in comparison.tests if _kinds(comparison, test)]
    figure, axes = _panels(tests, 3.6)
    videos = _videos(comparison)
    for axis, test in zip(axes, tests):
        kinds, width = _kinds(comparison, test), 0.8 / len(comparison.runs)
        for place, run in enumerate(comparison.runs):
            part = videos[(videos["dataset"] == test) & (videos["run"] == run)]
            heights = [_mean_auc(part[part["manipulation"].isin([kind]) | (part["label"] == 0)]) for kind in kinds]
            places = np.arange(len(kinds)) + (place + 0.5) * width - 0.4
            axis.bar(places, heights, width, color=colours(comparison)[run], label=run)
        axis.axhline(0.5, color="grey", linestyle="--", linewidth=0.8)
        axis.set(title=name_of(test), ylabel="AUC", ylim=(0, 1), xticks=range(len(kinds)))
        axis.set_xticklabels([LABELS.get(kind, kind) for kind in kinds], rotation=0 if len(kinds) < 6 else 40)
    _legend(figure, axes[0])
    return figure


def curves(comparison: Comparison) -> "Figure":
    """Loss and validation AUC of the trainings over their epochs."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2))
    for (run, _), history in comparison.histories.items():
        for axis, column in zip(axes, ("loss", "validation")):
            if column in history and (there := history[history[column].notna()]) is not None:
                axis.plot(there["epoch"], there[column], marker="." if column == "validation" else "",
                          color=colours(comparison)[run], linewidth=1.4, label=run)  # fmt: skip
    axes[0].set(title="Training loss", xlabel="epoch", ylabel="loss")
    axes[1].set(title="Validation", xlabel="epoch", ylabel="AUC over videos", ylim=(0, 1.02))
    axes[1].axhline(0.5, color="grey", linestyle="--", linewidth=0.8)
    _legend(figure, axes[0])
    return figure


def colours(comparison: Comparison) -> dict[str, Any]:
    """A colour a run, told apart in the common colour blindnesses up to eight."""
    import seaborn as sns

    return dict(zip(comparison.runs, sns.color_palette("colorblind", len(comparison.runs))))


def name_of(test: str) -> str:
    layout, _, compression = test.partition("-")
    return f"{SETS.get(layout, layout)} {compression}".strip()


def _videos(comparison: Comparison) -> pd.DataFrame:
    return metrics.video_scores(comparison.scores, by=("run", "seed"))


def _kinds(comparison: Comparison, test: str) -> list[str]:
    """The manipulations of a test set, where it has several."""
    part = comparison.scores[(comparison.scores["dataset"] == test) & (comparison.scores["label"] == 1)]
    kinds = list(dict.fromkeys(part["manipulation"]))
    return kinds if len(kinds) > 1 else []


def _mean_auc(videos: pd.DataFrame) -> float:
    found = []
    for _, part in videos.groupby("seed"):
        try:
            found.append(metrics.value("auc", part["label"].to_numpy(), part["margin"].to_numpy()))
        except metrics.Undefined:
            found.append(float("nan"))
    return float(np.mean(found)) if found else float("nan")


def _panels(names: Iterable[str], width: float) -> tuple["Figure", np.ndarray]:
    """A panel a name, at most four in a row; those that are left over are empty."""
    import matplotlib.pyplot as plt

    n = len(list(names))
    columns = min(n, 4)
    rows = ceil(n / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(width * columns + 0.6, 2.9 * rows + 0.4), squeeze=False)
    for axis in axes.flat[n:]:
        axis.set_axis_off()
    return figure, axes.flat[:n]


def _legend(figure: "Figure", axis: Any) -> None:
    handles, labels = axis.get_legend_handles_labels()
    unique = dict(zip(labels, handles))
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=min(len(unique), 4))
