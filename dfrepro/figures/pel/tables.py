"""Figures of PEL (AAAI 2022, Table 3 as a sweep, Figures 2 to 4) and the tables that the paper lacks."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dfrepro.evaluate import metrics
from dfrepro.report import plots

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


# --- tables -------------------------------------------------------------------------------------------------------


def sweep(scores: pd.DataFrame) -> pd.DataFrame:
    """Frame AUC and accuracy of each arm under each corruption: run, corruption, level (0: clean), auc, accuracy.

    Means over seeds. Arms without scores are absent.
    """
    own = scores[scores["run"].isin(ARMS)]
    measured = []
    for (run, seed, condition), part in own[own["dataset"] == "ffpp"].groupby(["run", "seed", "condition"]):
        accuracy = metrics.value("accuracy", part["label"].to_numpy(), metrics.margins(part))
        measured.append({"run": run, "seed": seed, "condition": condition, "auc": _auc(part), "accuracy": accuracy})
    seeds = pd.DataFrame(measured).groupby(["run", "condition"])[["auc", "accuracy"]]
    means = seeds.agg(lambda values: values.mean(skipna=False)).reset_index()
    split = means["condition"].str.rsplit("-", n=1)
    known = means.assign(corruption=split.str[0], level=pd.to_numeric(split.str[-1], errors="coerce"))
    clean = known[known["condition"] == "clean"]
    clean = pd.concat([clean.assign(corruption=name, level=0) for name in CORRUPTIONS])
    under = known[known["corruption"].isin(list(CORRUPTIONS))]
    rows = pd.concat([clean, under]).astype({"level": int})
    return rows.drop(columns="condition").sort_values(["run", "corruption", "level"], ignore_index=True)


def _auc(part: pd.DataFrame) -> float:
    """NaN where a corruption drives every score to the same number."""
    try:
        return metrics.frame_auc(part)
    except metrics.Undefined:
        return float("nan")


def changes(swept: pd.DataFrame) -> pd.DataFrame:
    """Table 3 for PEL and its own ablations: the change of AUC and accuracy at the paper's level, a row an arm."""
    values = swept.set_index(["run", "corruption", "level"])[["auc", "accuracy"]]
    table = values.xs(PAPERS_LEVEL, level="level") - values.xs(0, level="level")
    wide = table.unstack("corruption").swaplevel(axis=1)
    order = [run for run in ARMS if run in wide.index]
    wide = wide.loc[order, [(name, what) for name in CORRUPTIONS for what in ("auc", "accuracy")]]
    return wide.rename(index=ARMS, columns=CORRUPTIONS).round(4)


def shares(measured: pd.DataFrame) -> pd.DataFrame:
    """How much each kind of module adds, relative to what comes in (mean of seeds): a row a run."""
    known = measured[measured["metric"].str.startswith("share_") & (measured["dataset"] == "ffpp")]
    return known.pivot_table(index="run", columns="metric", values="value", sort=False).round(4)


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
        return pd.DataFrame(columns=["fake", "real", "difference"])
    return table.assign(difference=table["fake"] - table["real"]).round(3)


# --- figures ------------------------------------------------------------------------------------------------------


def draw_frequencies(face: np.ndarray, coefficients: np.ndarray, ratios: dict[str, np.ndarray]) -> "Figure":
    """Draw a face, four of its 64 luma channels (64, h, w), and each manipulation's log2 energy ratio (8, 8)."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 5, figsize=(12, 5.4))
    axes[0, 0].imshow(face)
    axes[0, 0].set_title("a fake")
    for axis, (u, v) in zip(axes[0, 1:], ((0, 0), (0, 1), (2, 2), (6, 6))):
        channel = coefficients[8 * u + v]
        top = float(np.quantile(np.abs(channel), 0.99))
        axis.imshow(channel, cmap="gray", vmin=-top, vmax=top)
        axis.set_title(f"frequency ({u}, {v})")
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

    A row has one colour scale, from 0: a bright map is a strong one, in a fake as in its real.
    """
    import matplotlib.pyplot as plt

    shape = (1 + len(maps), len(faces))
    figure, axes = plt.subplots(*shape, figsize=(1.45 * shape[1] + 1.2, 1.6 * shape[0]), squeeze=False)
    rows = {"face, true mask": None, **maps}
    for line, (name, values) in zip(axes, rows.items()):
        top = 1.0 if values is None else float(np.quantile(values, 0.99)) or 1.0
        for column, axis in enumerate(line):
            axis.imshow(faces[column] if values is None else faces[column].mean(-1), cmap="gray")
            if values is not None:
                drawn = axis.imshow(values[column], cmap="inferno", vmin=0, vmax=top, alpha=0.7)
            if masks[column].max() > 127:
                axis.contour(masks[column], levels=[127.5], colors="white", linewidths=0.9)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        line[0].set_ylabel(name, fontsize=10)
        if values is not None:
            figure.colorbar(drawn, ax=list(line), shrink=0.85, aspect=12, label=label, format="%.1g")
    for axis, title in zip(axes[0], titles):
        axis.set_title(title, fontsize=10, loc="center")
    return figure


def draw_sweep(swept: pd.DataFrame, label: str) -> "Figure":
    """Draw the frame AUC of each arm over the level of each corruption; Table 3's level is marked.

    Where a seed's scores are all one number there is no AUC: a cross on the line of chance.
    """
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    figure, axes = plt.subplots(1, len(CORRUPTIONS), figsize=(4.3 * len(CORRUPTIONS), 3.6), sharey=True)
    for axis, (corruption, title) in zip(axes, CORRUPTIONS.items()):
        axis.axvline(PAPERS_LEVEL, c="0.88", lw=7, zorder=0)
        axis.axhline(0.5, c="0.6", lw=1, ls=":")
        for size, (run, name) in zip((17, 14, 11, 8, 5), ARMS.items()):
            part = swept[(swept["run"] == run) & (swept["corruption"] == corruption)]
            axis.plot(part["level"], part["auc"], "-o", ms=4, c=COLOURS[run], label=name)
            without = part.loc[part["auc"].isna(), "level"]
            axis.plot(without, [0.5] * len(without), "x", ms=size, mew=2, c=COLOURS[run])
        axis.set(title=title, xlabel="level (0: as it is; grey: Table 3's)", xticks=range(6))
    axes[0].set_ylabel(f"frame AUC ({label})")
    handles = axes[0].get_legend_handles_labels()[0]
    if swept["auc"].isna().any():
        handles.append(Line2D([], [], ls="", marker="x", ms=8, mew=2, c="0.4", label="no AUC: one score for all"))
    axes[0].legend(handles=handles, fontsize=9)
    return figure


def draw_lifts(found: pd.DataFrame, label: str) -> "Figure":
    """Draw the mean lift of each module's and stream's residuals in the mask, of fakes and of their reals.

    `found` as `runs.pel.residuals_inside` gives it. The bars are twice the standard error over identities.
    """
    import matplotlib.pyplot as plt

    panels = [(m, s) for m in MODULES for s in STREAMS if ((found["module"] == m) & (found["stream"] == s)).any()]
    figure, axes = plt.subplots(1, max(len(panels), 1), figsize=(3.4 * max(len(panels), 1) + 1, 3.2), sharey=True)
    names = sorted(set(found["manipulation"]), reverse=True)
    for axis, (module, stream) in zip(np.atleast_1d(axes), panels):
        axis.axvline(1, c="0.6", lw=1, ls=":")
        for side, colour, shift in (("real", plots.REAL, -0.12), ("fake", plots.FAKE, 0.12)):
            part = found[(found["module"] == module) & (found["stream"] == stream) & (found["side"] == side)]
            by_face = part.groupby(["manipulation", "identity"])["lift"].mean().groupby("manipulation")
            mean, error = by_face.mean().reindex(names), by_face.sem().reindex(names).fillna(0)
            axis.errorbar(mean, np.arange(len(names)) + shift, xerr=2 * error, fmt="o", c=colour, label=side)
        axis.set(yticks=range(len(names)), yticklabels=[plots.LABELS.get(name, name) for name in names])
        axis.set_title(f"{MODULES[module]}\n{STREAMS[stream]} stream", fontsize=10)
        axis.set_xlabel("energy in the mask over its area")
    handles, sides = np.atleast_1d(axes)[-1].get_legend_handles_labels()
    figure.legend(handles[::-1], sides[::-1], title=label, loc="outside right center", fontsize=10)
    return figure
