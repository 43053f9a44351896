"""What protocols do to one network, drawn next to what five papers gain; and the tables around it."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dfrepro.protocol.declared import OURS, load
from dfrepro.report.plots import SETS
from dfrepro.report.schema import NAMES, ORDER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"move": "#2a7f9e", "set": "#9fc4d1", "gain": "#c4532f"}


def declared() -> pd.DataFrame:
    """One row a protocol that is not ours: what it does otherwise, and what its source does that is not done here."""
    every = load()
    rows = {}
    for name, each in every.items():
        others = [f"{part}: {_said(of)}" for part, (of, _) in each.differences(every[OURS]).items()]
        lacking = [f"{part}: {what}" for part, what in each.departs.items()]
        rows[name] = {"otherwise than ours": "; ".join(others), "not done here": "; ".join(lacking)}
    return pd.DataFrame.from_dict(rows, orient="index").drop(index=OURS)


def _said(value: object) -> str:
    crop = getattr(value, "rule", None)
    if crop is None:
        return str(value)
    return crop if getattr(value, "margin", None) is None else f"{crop}, {value.margin:g}"  # type: ignore[attr-defined]


def summary(gained: pd.DataFrame) -> pd.DataFrame:
    """Of `dfrepro.report.gains`: by paper, how many claims of a gain, and the smallest, the median and the largest."""
    names = [NAMES[paper] for paper in ORDER if NAMES[paper] in set(gained["paper"])]
    by = gained.groupby("paper")["gain"].agg(["count", "min", "median", "max"]).loc[names]
    return by.rename(columns={"count": "claims", "min": "smallest", "max": "largest"}).rename_axis(None)


def draw(moved: pd.DataFrame, gained: pd.DataFrame, label: str) -> "Figure":
    """Above, what each protocol does to one network's AUC (`measure.moves`): a dot for the mean over sets with its
    95 % interval, a stroke for each set. Below, every gain in AUC that the papers print. One axis; the band reaches
    from the lowest to the highest of the means."""
    import matplotlib.pyplot as plt

    every = moved[moved["dataset"] == "all"].sort_values("value")
    figure, (above, below) = plt.subplots(
        2, 1, sharex=True, figsize=(9, 0.27 * len(every) + 3.4), height_ratios=[len(every), len(ORDER) + 1]
    )
    for axis in (above, below):
        axis.axvspan(min(every["value"].min(), 0), max(every["value"].max(), 0), color="0.93", zorder=0)
        axis.axvline(0, c="0.6", lw=1)
    for y, row in enumerate(every.itertuples()):
        sets = moved.loc[(moved["protocol"] == row.protocol) & (moved["dataset"] != "all"), "value"]
        above.plot(sets, np.full(len(sets), y), "|", c=COLOURS["set"], ms=8, zorder=2)
        if np.isfinite(row.low):
            above.plot([row.low, row.high], [y, y], c=COLOURS["move"], lw=2, zorder=3)
        above.plot(row.value, y, "o", c=COLOURS["move"], ms=5, zorder=4)
    above.set(
        yticks=range(len(every)), yticklabels=list(every["protocol"]), title="One network: only the protocol moves"
    )
    _gains(below, gained)
    below.set(xlabel=f"difference in AUC ({label}; above, from our protocol)", title="Five papers: printed gains")
    below.set_xscale("symlog", linthresh=0.02, linscale=1.2)
    ticks = [-0.3, -0.1, -0.02, -0.01, 0, 0.01, 0.02, 0.1, 0.3]
    below.set_xticks(ticks, [f"{tick:+g}" if tick else "0" for tick in ticks])
    return figure


def _gains(axis: "Axes", gained: pd.DataFrame) -> None:
    names = [NAMES[paper] for paper in ORDER]
    for y, name in enumerate(names):
        found = gained.loc[gained["paper"] == name, "gain"]
        axis.plot(found, np.full(len(found), y), "D", mfc="white", mec=COLOURS["gain"], ms=5.5)
    axis.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))


def calibration(curves: dict[str, pd.DataFrame], label: str) -> "Figure":
    """Calibration curves (`operating.reliability`) by set: the share of fakes among videos of a P(fake), with 95 %."""
    import matplotlib.pyplot as plt

    columns = min(len(curves), 3)
    rows = -(-len(curves) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3 * columns, 2.8 * rows), sharex=True, sharey=True, squeeze=False
    )
    for axis in axes.flat[len(curves) :]:
        axis.set_axis_off()
    for axis, (name, curve) in zip(axes.flat, curves.items()):
        axis.plot([0, 1], [0, 1], c="0.7", lw=1)
        axis.vlines(curve["chance"], curve["low"], curve["high"], color=COLOURS["set"], lw=2)
        axis.plot(curve["chance"], curve["share"], "o-", c=COLOURS["move"], ms=4, lw=1)
        axis.set(title=SETS.get(name, name))
    figure.supxlabel(f"mean P(fake) of videos ({label})")
    figure.supylabel("share of fakes")
    return figure
