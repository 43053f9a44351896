"""The overview of all claims: the paper's effect and ours side by side, by paper."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from dfrepro.report import plots
from dfrepro.report.schema import NAMES, ORDER
from dfrepro.report.verdict import JUDGED, VERDICTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPERS = NAMES
COLOURS = dict(zip(VERDICTS, ("#2e8b57", "#c0392b", "#8e44ad", "#d79b00", "#4a6fa5", "#8c8c8c", "#bdbdbd")))
CLOSER = 3  # claims that are looked at seed by seed
WIDTH = 5.6  # inches: legible at the width of a phone
LINEAR = 0.01  # |effects| below it are drawn linearly, above it logarithmically: claims differ in unit and size
TICKS = (-1, -0.1, -0.01, 0, 0.01, 0.1, 1)
Verdicts = Sequence[Mapping[str, Any]]


def counts(verdicts: Verdicts) -> pd.DataFrame:
    """How many claims of each paper got which verdict, and how many are still to come; all papers last."""
    table = pd.DataFrame(
        {PAPERS[paper]: Counter(v["verdict"] for v in verdicts if v["paper"] == paper) for paper in ORDER}
    )
    table = table.reindex(VERDICTS).fillna(0).astype(int).T
    table.loc["all"] = table.sum()
    return table.rename(columns={VERDICTS[-1]: "still to come"}).rename_axis("paper").reset_index()


def decided(verdicts: Verdicts) -> Verdicts:
    """The claim of each paper that was decided most sharply: its interval is the smallest part of its effect."""
    sharpest: dict[str, Mapping[str, Any]] = {}
    for verdict in verdicts:
        if verdict["verdict"] in JUDGED[:3] and verdict["interval"] and verdict["effect"]:
            known = sharpest.get(verdict["paper"])
            if known is None or _sharpness(verdict) < _sharpness(known):
                sharpest[verdict["paper"]] = verdict
    return sorted(sharpest.values(), key=_sharpness)[:CLOSER]


def _sharpness(verdict: Mapping[str, Any]) -> float:
    low, high = verdict["interval"]
    return float((high - low) / abs(verdict["effect"]))


def draw_seeds(verdicts: Verdicts, label: str) -> "Figure":
    """Draw a claim a panel: the effect of each seed as a dot, their mean with its interval, and the printed effect."""
    import matplotlib.pyplot as plt

    shape = 1, max(len(verdicts), 1)
    figure, axes = plt.subplots(*shape, figsize=(3.6 * shape[1] + 0.8, 3.8), squeeze=False)
    for axis, verdict in zip(axes[0], verdicts):
        axis.axhline(0, c="0.6", lw=1, ls=":")
        for seed, value in zip(verdict["seeds"], verdict["by_seed"]):
            axis.plot(seed, value, "o", c=plots.SOURCES["study"], alpha=0.6)
        last = max(verdict["seeds"]) + 1.5
        plots.dots(axis, last, "study", verdict["effect"], verdict["interval"], upright=True)
        ticks, names = [*verdict["seeds"], last], [*map(str, verdict["seeds"]), "mean"]
        if verdict["printed_effect"] is not None:
            plots.dots(axis, last + 1, "paper", verdict["printed_effect"], upright=True)
            ticks, names = [*ticks, last + 1], [*names, "paper"]
        axis.set(xticks=ticks, xlabel="seed", title=f"{verdict['title']}: {verdict['verdict']}")
        axis.set_xticklabels(names, rotation=45 if len(names) > 8 else 0)
    axes[0, 0].set_ylabel(f"effect ({label}), positive as claimed")
    return figure


def draw(verdicts: Verdicts, label: str) -> "Figure":
    """Draw each judged claim: the paper's effect as a hollow diamond, ours as a dot with its 95 % interval.

    Claims that were not run are left out. Positive is what the paper claims. The colour is the verdict; a claim that
    has no effect of ours has its verdict written there instead. The axis is linear within ±.01 and logarithmic beyond.
    """
    import matplotlib.pyplot as plt

    shown = [v for v in verdicts if v["verdict"] != VERDICTS[-1]]
    papers = [paper for paper in ORDER if any(v["paper"] == paper for v in shown)]
    groups = {paper: [v for v in shown if v["paper"] == paper] for paper in papers}
    if not groups:
        figure = plt.figure(figsize=(6, 1))
        figure.text(0.5, 0.5, "No claim has been judged yet.", ha="center", va="center")
        return figure
    heights = [len(group) + 1.5 for group in groups.values()]
    size = WIDTH, 0.22 * sum(heights) + 1.4
    figure, axes = plt.subplots(len(groups), 1, figsize=size, height_ratios=heights, squeeze=False)
    for axis, (paper, group) in zip(axes[:, 0], groups.items()):
        _panel(axis, PAPERS[paper], group, _reach(shown))
    axes[-1, 0].set_xlabel(f"effect, positive as claimed (mostly AUC; {label})")
    figure.legend(handles=_legend({v["verdict"] for v in shown}), loc="outside lower center", ncols=2)
    return figure


def _reach(verdicts: Verdicts) -> float:
    """The largest number drawn: all panels share one axis."""
    numbers = [n for v in verdicts for n in (v["effect"], v["printed_effect"], *(v["interval"] or ())) if n is not None]
    return max([1.3 * abs(number) for number in numbers] + [1.0])


def _panel(axis: "Axes", title: str, group: Verdicts, reach: float) -> None:
    axis.axvline(0, c="0.7", lw=1)
    for y, verdict in enumerate(group):
        colour, ours, printed = COLOURS[verdict["verdict"]], verdict["effect"], verdict["printed_effect"]
        axis.axhline(y, c="0.94", lw=6, zorder=0)
        if printed is not None:
            axis.plot(printed, y, "D", mfc="white", mec=plots.INK, ms=5.5, zorder=3)
        if ours is None:
            axis.text(0.99, y, verdict["verdict"], transform=axis.get_yaxis_transform(), color="0.5", fontsize=9,
                      ha="right", va="center", style="italic")  # fmt: skip
            continue
        if verdict["interval"]:
            axis.plot(verdict["interval"], [y, y], c=colour, lw=2, solid_capstyle="butt", zorder=2)
        whole = verdict["verdict"] in JUDGED  # else the assay cannot tell
        axis.plot(ours, y, "o", mfc=colour if whole else "white", mec=colour, ms=6, zorder=4)
    axis.set_xscale("symlog", linthresh=LINEAR, linscale=0.7)
    axis.set_xlim(-reach, reach)
    axis.set_xticks(TICKS, [f"{tick:+g}" if tick else "0" for tick in TICKS], fontsize=10)
    axis.grid(axis="x", c="0.9", lw=0.8)
    axis.set_axisbelow(True)
    axis.minorticks_off()
    axis.set_yticks(range(len(group)), [verdict["id"].partition("-C")[2] for verdict in group], fontsize=10)
    axis.set(ylim=(len(group) - 0.4, -0.6), title=title)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)


def _legend(shown: Collection[str]) -> list[Any]:
    from matplotlib.lines import Line2D

    paper = Line2D([], [], marker="D", ls="", mfc="white", mec=plots.INK, label="paper")
    ours = [
        Line2D([], [], marker="o", lw=2, c=COLOURS[name], mfc=COLOURS[name] if name in JUDGED else "white", label=name)
        for name in VERDICTS[:5]
        if name in shown
    ]
    return [paper, *ours]
