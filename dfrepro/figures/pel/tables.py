"""Figures of PEL (AAAI 2022, Table 3 as a sweep, Figures 2 to 4) and the tables that the paper lacks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dfrepro.report import plots
from dfrepro.report.beside import HERE, STUDY, levels
from dfrepro.report.evidence import Evidence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# the arms of Table 3 here: PEL, and what it is made of
ARMS = {
    "pel-full-printed": "PEL",
    "pel-no-noise-printed": "PEL without noise block",
    "pel-two-stream": "two plain streams",
    "pel-rgb": "RGB alone",
    "pel-xception": "Xception",
}
COLOURS = {
    "pel-full-printed": plots.FAKE,
    "pel-no-noise-printed": "#e0a458",
    "pel-two-stream": plots.REAL,
    "pel-rgb": "0.45",
    "pel-xception": "#7b5ea7",
}
# strengths of the levels 1 to 5 (dfrepro.evaluate.corruptions); level 3 is the paper's (PEL, Table 3)
CORRUPTIONS = {
    "gaussian-noise": "Gaussian noise",
    "salt-and-pepper": "salt and pepper",
    "gaussian-blur": "Gaussian blur",
}
PAPERS_LEVEL = 3
MODULES = {"self": "first self-enhancement", "mutual": "last mutual enhancement"}
STREAMS = {"rgb": "RGB", "freq": "frequency"}
SHARES = {"noise": "noise block", "attention": "channel attention", "mutual": "mutual enhancement"}


# --- tables -------------------------------------------------------------------------------------------------------


def sweep(measured: Mapping[str, Evidence]) -> pd.DataFrame:
    """Frame AUC of each arm under each corruption by level (0: clean), see dfrepro.report.beside.levels.

    Of the study where it has them for PEL, else of this clone: `source` says which.
    """
    columns = {
        f"{name}-{level}": {"metric": "frame_auc", "test": "ffpp", "condition": f"{name}-{level}" if level else "clean"}
        for name in CORRUPTIONS for level in range(6)
    }  # fmt: skip
    cells = levels({name: run for run, name in ARMS.items()}, columns, measured, key="detector")
    whole = len(cells[(cells.source == STUDY) & (cells.detector == "PEL")]) == len(columns)
    parts = cells.column.str.rsplit("-", n=1)
    known = cells.assign(corruption=parts.str[0], level=parts.str[-1].astype(int))
    return known[known.source == (STUDY if whole else HERE)]


def changes(measured: Mapping[str, Evidence]) -> pd.DataFrame:
    """Table 3 for PEL and its own ablations: the change of AUC and accuracy at the paper's level, a row an arm."""
    metrics = {"AUC": "frame_auc", "accuracy": "frame_accuracy"}
    columns = {
        f"{title}: {what}": {
            "metric": metric, "test": "ffpp", "change": "absolute", "condition": f"{name}-{PAPERS_LEVEL}",
        }
        for name, title in CORRUPTIONS.items() for what, metric in metrics.items()
    }  # fmt: skip
    rows = {name: run for run, name in ARMS.items()}
    return levels(rows, columns, measured, key="detector", title="Change under corruption, at Table 3's level")


def shares(measured: Mapping[str, Evidence], runs: Sequence[str]) -> pd.DataFrame:
    """How much each kind of module adds, relative to what comes in: a row a run, on FF++."""
    columns = {title: {"metric": f"share_{name}", "test": "ffpp"} for name, title in SHARES.items()}
    return levels({run: run for run in runs}, columns, measured, key="network", title="What the modules add")


def inside(measured: pd.DataFrame, column: str = "lift") -> pd.DataFrame:
    """A mean of the residuals by run, module and stream, of fakes and of their reals; and the difference.

    `column`: one that `methods.pel.run.residuals_inside` explains: "lift", "energy", "change", "spread", "inside".
    """
    parts = measured["metric"].str.extract(
        rf"^(?P<module>self|mutual)_(?P<stream>rgb|freq)_{column}_(?P<side>fake|real)$"
    )
    known = pd.concat([measured, parts], axis=1).dropna(subset="module")
    table = known.pivot_table(index=["run", "module", "stream"], columns="side", values="value", sort=False)
    if table.empty:
        return pd.DataFrame(columns=["run", "module", "stream", "fake", "real", "difference"])
    return table.assign(difference=table["fake"] - table["real"]).reset_index()


# --- figures ------------------------------------------------------------------------------------------------------


def draw_frequencies(face: np.ndarray, coefficients: np.ndarray, ratios: dict[str, np.ndarray]) -> "Figure":
    """Draw a face, four of its 64 luma channels (64, h, w), and each manipulation's log2 energy ratio (8, 8)."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 5, figsize=(9.6, 4.4))
    axes[0, 0].imshow(face)
    axes[0, 0].set_title("a fake")
    for axis, (u, v) in zip(axes[0, 1:], ((0, 0), (0, 1), (2, 2), (6, 6))):
        channel = coefficients[8 * u + v]
        top = float(np.quantile(np.abs(channel), 0.99))
        axis.imshow(channel, cmap="gray", vmin=-top, vmax=top)
        axis.set_title(f"frequency ({u}, {v})", fontsize=11)
    top = max(float(np.abs(ratio).max()) for ratio in ratios.values()) or 1.0
    for axis, (name, ratio) in zip(axes[1], ratios.items()):
        drawn = axis.imshow(ratio, cmap="RdBu_r", vmin=-top, vmax=top)
        axis.set(title=f"{plots.LABELS.get(name, name)} over its reals", xlabel="horizontal", ylabel="vertical")
    bar = axes[1, 4].inset_axes((0.05, 0.08, 0.09, 0.84))
    figure.colorbar(drawn, cax=bar, label="log2 of energy ratio")
    axes[1, 4].patch.set_visible(False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    return figure


def draw_maps(
    faces: np.ndarray, masks: np.ndarray, titles: list[str], maps: dict[str, np.ndarray], label: str
) -> "Figure":
    """Draw faces (N, S, S, 3) with the true mask's outline, and below one row of maps (N, S, S) a stream.

    A fake and its real, which follows it, share a colour scale from 0 in each row: bright is strong in both.
    """
    import matplotlib.pyplot as plt

    shape = (1 + len(maps), len(faces))
    figure, axes = plt.subplots(*shape, figsize=(1.05 * shape[1] + 1.1, 1.15 * shape[0]), squeeze=False)
    rows = {"face": None, **maps}
    for line, (name, values) in zip(axes, rows.items()):
        for column, axis in enumerate(line):
            axis.imshow(faces[column] if values is None else faces[column].mean(-1), cmap="gray")
            if values is not None:
                pair = values[column // 2 * 2 : column // 2 * 2 + 2]
                strength = values[column] / (float(np.quantile(pair, 0.99)) or 1.0)
                drawn = axis.imshow(strength, cmap="inferno", vmin=0, vmax=1, alpha=0.7)
            if masks[column].max() > 127:
                axis.contour(masks[column], levels=[127.5], colors="white", linewidths=0.9)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        line[0].set_ylabel(name, fontsize=10)
    if maps:
        figure.colorbar(drawn, ax=axes[1:], shrink=0.7, aspect=20, label=f"{label}, of each pair's highest")
    for axis, title in zip(axes[0], titles):
        axis.set_title(title, fontsize=10, loc="center")
    return figure


def draw_sweep(swept: pd.DataFrame, label: str) -> "Figure":
    """Draw the frame AUC of each arm over the level of each corruption with its interval; Table 3's level is marked.

    Where a seed's scores are all one number there is no AUC: a cross on the line of chance.
    """
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    figure, grid = plt.subplots(2, 2, figsize=(7.4, 6), sharey=True)
    axes, spare = grid.flat[:3], grid.flat[3]
    arms, lacking = [run for run in ARMS if run in set(swept["run"])], False
    for axis, (corruption, title) in zip(axes, CORRUPTIONS.items()):
        axis.axvline(PAPERS_LEVEL, c="0.88", lw=7, zorder=0)
        axis.axhline(0.5, c="0.6", lw=1, ls=":")
        for number, run in enumerate(arms):
            part = swept[(swept["run"] == run) & (swept["corruption"] == corruption)].set_index("level")
            x = part.index + 0.07 * (number - (len(arms) - 1) / 2)
            axis.plot(x, part["value"], "-o", ms=4, c=COLOURS[run], label=ARMS[run])
            axis.vlines(x, part["low"], part["high"], color=COLOURS[run], lw=1.2, alpha=0.6)
            without = [level for level in range(6) if level not in part.index]
            lacking |= bool(without)
            axis.plot(without, [0.5] * len(without), "x", ms=17 - 3 * number, mew=2, c=COLOURS[run])
        axis.set(title=title, xlabel="level (0: as it is; grey: Table 3's)", xticks=range(6))
    whose = "study, " if STUDY in set(swept.source) else "this clone, "
    figure.supylabel(f"frame AUC with 95 % interval ({whose}{label})", fontsize=11)
    handles = axes[0].get_legend_handles_labels()[0]
    if lacking:
        handles.append(Line2D([], [], ls="", marker="x", ms=8, mew=2, c="0.4", label="no AUC: one score for all"))
    spare.set_axis_off()
    spare.legend(handles=handles, loc="center", fontsize=11)
    return figure


def draw_lifts(found: pd.DataFrame, label: str) -> "Figure":
    """Draw the mean lift of each module's and stream's residuals in the mask, of fakes and of their reals.

    `found` as `runs.pel.residuals_inside` gives it. The bars are twice the standard error over identities.
    """
    import matplotlib.pyplot as plt

    panels = [(m, s) for m in MODULES for s in STREAMS if ((found["module"] == m) & (found["stream"] == s)).any()]
    shape = max(1, -(-len(panels) // 2)), 2
    figure, axes = plt.subplots(*shape, figsize=(7.4, 2.7 * shape[0] + 0.4), sharey=True, squeeze=False)
    names = sorted(set(found["manipulation"]), reverse=True)
    for axis, (module, stream) in zip(axes.flat, panels):
        axis.axvline(1, c="0.6", lw=1, ls=":")
        for side, colour, shift in (("real", plots.REAL, -0.12), ("fake", plots.FAKE, 0.12)):
            part = found[(found["module"] == module) & (found["stream"] == stream) & (found["side"] == side)]
            by_face = part.groupby(["manipulation", "identity"])["lift"].mean().groupby("manipulation")
            mean, error = by_face.mean().reindex(names), by_face.sem().reindex(names).fillna(0)
            axis.errorbar(mean, np.arange(len(names)) + shift, xerr=2 * error, fmt="o", c=colour, label=side)
        axis.set(yticks=range(len(names)), yticklabels=[plots.LABELS.get(name, name) for name in names])
        axis.set_title(f"{MODULES[module]}, {STREAMS[stream]}", fontsize=11)
        axis.locator_params(axis="x", nbins=5)
    figure.supxlabel(f"energy in the mask over its area ({label})", fontsize=11)
    handles, sides = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles[::-1], sides[::-1], loc="outside upper right", ncols=2)
    return figure
