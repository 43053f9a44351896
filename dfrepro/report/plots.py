"""One look for every figure: theme, colours, and the few drawings that more than one notebook needs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

REAL, FAKE = "#2a7f9e", "#d1603d"  # told apart in the common colour blindnesses, and in grey
INK, GREY = "#222222", "#8c8c8c"
# further kinds, where there are more than two: of manipulations, and of arms
PALETTE = (FAKE, "#b98a1c", "#8a5aa8", "#4d8f52", "#b04a78", "#6b6f2a", "#7a5642", "#3f6fb5")
SOURCES = {"paper": INK, "study": "#6a4c9c", "former": "#a08fc4", "here": "#b98a1c"}  # who measured it
LABELS = {"original": "real", "Deepfakes": "DF", "Face2Face": "F2F", "FaceSwap": "FS", "NeuralTextures": "NT"}
SETS = {"ffpp": "FF++", "dfd": "DFD", "cdfv2": "CDF", "dfdc": "DFDC", "dfdcp": "DFDCP", "wdf": "WDF", "diff": "DiFF"}
NAMES = {"paper": "paper", "study": "study", "former": "former study", "here": "this clone"}  # of the sources


def theme() -> None:
    """Set seaborn's theme; called once when a notebook opens its workbook."""
    import seaborn as sns

    sns.set_theme(
        context="notebook",
        style="ticks",
        rc={"figure.dpi": 110, "savefig.dpi": 160, "savefig.bbox": "tight", "axes.spines.right": False,
            "axes.spines.top": False, "axes.titlesize": 12, "axes.titleweight": "bold", "axes.titlelocation": "left",
            "axes.labelsize": 11, "xtick.labelsize": 10, "ytick.labelsize": 10, "legend.fontsize": 9,
            "figure.constrained_layout.use": True, "legend.frameon": False},
    )  # fmt: skip


def heat_maps(tables: dict[str, pd.DataFrame], *, vmin: float = 0.3, vmax: float = 1.0, label: str = "AUC") -> "Figure":
    """Draw square tables side by side on one colour scale, dark for high, cells with their numbers; keys are titles."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    figure, axes = plt.subplots(1, len(tables), figsize=(2.9 * len(tables) + 0.8, 3.4), sharey=True)
    for axis, (title, table) in zip(np.atleast_1d(axes), tables.items()):
        last = axis is np.atleast_1d(axes)[-1]
        sns.heatmap(table, ax=axis, vmin=vmin, vmax=vmax, cmap="crest", annot=True, fmt=".2f", square=True,
                    linewidths=1.5, annot_kws={"size": 10}, cbar=last,
                    cbar_kws={"label": label, "shrink": 0.8})  # fmt: skip
        axis.set(title=title, xlabel="tested on", ylabel="" if axis.get_subplotspec().colspan.start else "trained on")
        axis.tick_params(length=0, rotation=0)
    return figure


def embedding(axis: "Axes", rows: pd.DataFrame, *, title: str = "", legend: bool = False) -> None:
    """Draw the faces of an embedding (columns x, y, label) as dots: reals below, fakes above."""
    for label, name, colour in ((0, "real", REAL), (1, "fake", FAKE)):
        part = rows[rows.label == label]
        axis.scatter(part.x, part.y, s=9, c=colour, alpha=0.65, linewidths=0, label=name, rasterized=True)
    axis.set(title=title, xticks=[], yticks=[], xlabel="", ylabel="")
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.set_facecolor("#f6f6f4")
    if legend:
        axis.legend(loc="lower right", markerscale=2, handletextpad=0.1)


def dots(
    axis: "Axes",
    place: float,
    source: str,
    mean: float,
    interval: Sequence[float] | None = None,
    seeds: Sequence[float] = (),
    *,
    upright: bool = False,
    hollow: bool = False,
) -> None:
    """Draw one number of the paper (a hollow diamond), the study or this clone: a dot, its interval, a dot a seed.

    At height `place` along the horizontal axis; `upright`: at x = `place` along the vertical one.
    """
    colour = SOURCES[source]

    def at(values: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
        places = [place] * len(values)
        return (places, values) if upright else (values, places)

    if interval is not None and np.isfinite(interval).all():
        axis.plot(*at(list(interval)), c=colour, lw=2, solid_capstyle="butt", zorder=2)
    axis.plot(*at(list(seeds)), "o", mfc=colour, mec="none", alpha=0.4, ms=4, zorder=3)
    marker: dict[str, Any] = {"marker": "D", "ms": 5.5} if source == "paper" else {"marker": "o", "ms": 6.5}
    fill = "white" if source == "paper" or hollow else colour
    axis.plot(*at([mean]), ls="", mfc=fill, mec=colour, zorder=4, **marker)


def sources(label: str, *shown: str) -> "list[Line2D]":
    """The legend of `dots`: who measured it."""
    from matplotlib.lines import Line2D

    ours: dict[str, Any] = {"marker": "o", "lw": 2}
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "paper": ("paper", {"marker": "D", "ls": "", "mfc": "white"}),
        "study": (f"study ({label}), with 95 % intervals", ours),
        "former": (f"{NAMES['former']} ({label})", ours),
        "here": (f"{NAMES['here']} ({label})", ours),
    }
    return [Line2D([], [], c=SOURCES[name], label=kinds[name][0], **kinds[name][1]) for name in shown]


def faces(axis: "Axes", crops: np.ndarray, *, columns: int, title: str = "") -> None:
    """Draw crops (N, S, S, 3) uint8 as one picture of `columns` columns."""
    rows = -(-len(crops) // columns)
    side = crops.shape[1]
    sheet = np.full((rows * (side + 2) - 2, columns * (side + 2) - 2, 3), 255, np.uint8)
    for i, crop in enumerate(crops):
        y, x = (i // columns) * (side + 2), (i % columns) * (side + 2)
        sheet[y : y + side, x : x + side] = crop
    axis.imshow(sheet, interpolation="lanczos")
    axis.set_axis_off()
    axis.set_title(title)


def effect(mean: float | None, interval: Sequence[float] | None, digits: int = 3) -> str:
    """'+.042 [+.010, +.075]': an effect with its interval, as every table of the workbook shows it."""
    if mean is None:
        return ""
    bounds = " [{:+z.{d}f}, {:+z.{d}f}]".format(*interval, d=digits) if interval else ""
    return f"{mean:+z.{digits}f}{bounds}"
