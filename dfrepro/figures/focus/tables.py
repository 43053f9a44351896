"""FoCus' figures and its table of costs (FoCus): maps over faces, kinds of map against true masks, K and λ."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dfrepro import places
from dfrepro.report import plots
from dfrepro.report.beside import HERE, SOURCES, STUDY, levels
from dfrepro.report.evidence import Evidence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = {
    "focus": "FoCus", "no-carp": "FoCus −CARP", "no-cl": "FoCus −CL", "no-competition": "FoCus, no competition",
    "rgb": "FoCus, RGB alone", "attention": "attention", "gradcam": "Grad-CAM", "scorecam": "Score-CAM",
    "pixel": "|real − fake|", "pixel01": "|real − fake| > .1", "ssim": "1 − SSIM", "shuffled": "FoCus, shuffled",
    "true": "true masks", "focus-hq": "FoCus, HQ", "positive-hq": "FoCus, HQ: Σ p ReLU",
    "pooled-hq": "FoCus, HQ: Σ GAP(F) F",
    "attention-hq": "attention, HQ", "shuffled-hq": "FoCus, HQ, shuffled",
}  # fmt: skip
DIRECT = {
    "pixel AUC": "map_auc", "AUC at the seam": "map_auc_seam", "IoU": "map_iou", "IoU of a full map": "chance_iou",
    "mass, real": "map_mass_real", "mass, fake": "map_mass_fake", "mass, ratio": "map_mass_ratio",
    "Eq. 4 against Eq. 9": "eq4_eq9", "Sobel, interior": "sobel_interior",
}  # fmt: skip
SETS = {"FF++": "ffpp", "CDF": "cdfv2", "DFDC": "dfdc", "DFDCP": "dfdcp", "WDF": "wdf"}


def direct(measured: Mapping[str, Evidence]) -> pd.DataFrame:
    """How each kind of map agrees with the true masks of FF++ (dfrepro.report.beside.levels)."""
    columns = {title: {"metric": metric, "test": "ffpp"} for title, metric in DIRECT.items()}
    rows = {name: places.MAPS + kind for kind, name in KINDS.items()}
    return levels(rows, columns, measured, key="maps", title="Maps against true masks")


def draw_direct(cells: pd.DataFrame, label: str) -> "Figure":
    """Draw pixel AUC and IoU of each kind of map that was made, with what a map that knows nothing would have."""
    import matplotlib.pyplot as plt

    kinds = [name for name in KINDS.values() if name in set(cells.maps)]
    figure, axes = plt.subplots(1, 2, figsize=(8, 0.42 * len(kinds) + 1.6), sharey=True)
    chance = {"pixel AUC": 0.5, "IoU": cells[cells.column == "IoU of a full map"].value.mean()}
    for axis, (column, known) in zip(axes, chance.items()):
        for one in cells[cells.column == column].itertuples():
            place = kinds.index(one.maps) + (0.15 if one.source == HERE else -0.15)
            plots.dots(axis, place, one.source, one.value, (one.low, one.high), one.each if one.seeds > 1 else ())
        axis.axvline(known, c="0.25", lw=1, ls=":")
        axis.set(title=column, xlabel="dotted: a map that knows nothing", xlim=(0, 1), yticks=range(len(kinds)))
        axis.set_yticklabels(kinds)
    axes[0].set_ylim(len(kinds) - 0.5, -0.5)
    shown = [source for source in SOURCES if (cells.source == source).any()]
    figure.legend(handles=plots.sources(label, *shown), loc="outside lower center", ncols=2)
    return figure


def draw_maps(faces: np.ndarray, titles: list[str], maps: dict[str, np.ndarray], masks: np.ndarray) -> "Figure":
    """Draw maps (N, S, S) over faces (N, S, S, 3), a row a kind, all on one scale, with the true mask's outline."""
    import matplotlib.pyplot as plt

    shape = (1 + len(maps), len(faces))
    figure, axes = plt.subplots(*shape, figsize=(0.86 * shape[1] + 1.7, 0.95 * shape[0]), squeeze=False)
    top = max(float(values.max()) for values in maps.values()) or 1.0
    for column, title in enumerate(titles):
        axes[0, column].imshow(faces[column])
        axes[0, column].set_title(title, fontsize=10, loc="center")
        for row, values in enumerate(maps.values(), start=1):
            axes[row, column].imshow(faces[column].mean(-1), cmap="gray", vmin=0, vmax=255)
            drawn = axes[row, column].imshow(values[column], cmap="inferno", vmin=0, vmax=top, alpha=0.6)
        for axis in axes[:, column]:
            _outline(axis, masks[column])
    for axis, name in zip(axes[:, 0], ["face", *maps]):
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    figure.colorbar(drawn, ax=axes[1:], shrink=0.7, label="map, one scale")
    return figure


def _outline(axis: "Axes", mask: np.ndarray) -> None:
    if 0 < (mask > 127).mean() < 1:
        axis.contour(mask > 127, levels=[0.5], colors="#4fe3c1", linewidths=1.1)


def draw_features(rows: pd.DataFrame) -> "Figure":
    """Draw Figure 9: a row a model, a panel a test set, coloured by manipulation (columns as `pictures.features`)."""
    import matplotlib.pyplot as plt

    models, sets = list(dict.fromkeys(rows.model)), list(dict.fromkeys(rows.dataset))
    shape = max(1, len(models)), max(1, len(sets))
    figure, axes = plt.subplots(*shape, figsize=(4.4 * shape[1], 3.9 * shape[0]), squeeze=False)
    kinds = list(dict.fromkeys(rows.manipulation[rows.label == 1]))
    colours = dict(zip(kinds, plots.PALETTE))
    for line, model in zip(axes, models):
        for axis, name in zip(line, sets):
            part = rows[(rows.model == model) & (rows.dataset == name)]
            for kind, points in part.groupby("manipulation", sort=False):
                colour = colours[kind] if points.label.iloc[0] else "0.6"
                axis.scatter(points.x, points.y, s=9, color=colour, linewidths=0, label=plots.LABELS.get(kind, kind))
            axis.set(title=f"{model}: {plots.SETS.get(name, name)}", xticks=[], yticks=[], facecolor="#f6f6f4")
            axis.spines[:].set_visible(False)
            if model == models[0]:
                axis.legend(markerscale=2, handletextpad=0.1)
    return figure


def draw_k(cells: pd.DataFrame, label: str) -> "Figure | None":
    """Draw Figure 10, the AUC on each set over K (the rows that were run); None where fewer than two were run."""
    import matplotlib.pyplot as plt

    source = STUDY if cells[cells.source == STUDY].K.nunique() > 1 else HERE
    part = cells[cells.source == source]
    if part.K.nunique() < 2:
        return None
    figure, axis = plt.subplots(figsize=(6.5, 3.6))
    for (name, curve), colour in zip(part.groupby("column", sort=False), plots.PALETTE):
        k = curve.K.astype(int).to_numpy()
        axis.plot(k, curve.value, "-o", ms=4, c=colour, label=name)
        axis.fill_between(k, curve.low, curve.high, color=colour, alpha=0.12, lw=0)
    ticks = sorted(part.K.astype(int).unique())
    axis.set(xscale="log", xticks=ticks, xticklabels=ticks, xlabel="maps a class, K", ylabel="frame AUC")
    axis.set_title(f"AUC over K, with 95 % intervals ({source}, {label})")
    axis.minorticks_off()
    axis.legend(ncols=1, bbox_to_anchor=(1, 1))
    return figure


def draw_losses(curves: pd.DataFrame) -> "Figure | None":
    """Draw Figure 11, both losses by epoch for each λ (columns lam, epoch, cls, loc); None where none was run."""
    import matplotlib.pyplot as plt

    groups = list(curves.groupby("lam"))
    if not groups:
        return None
    figure, axes = plt.subplots(1, len(groups), figsize=(3.6 * len(groups), 3.1), sharey=True, squeeze=False)
    for axis, (lam, curve) in zip(axes[0], groups):
        for name, label, colour in (("cls", "$L_{cls}$", plots.FAKE), ("loc", "$L_{loc}$", plots.REAL)):
            axis.plot(curve.epoch, curve[name], "-o", ms=3, c=colour, label=label)
        axis.set(title=f"λ = {lam:g}", xlabel="epoch")
    axes[0, 0].set_ylabel("loss")
    axes[0, 0].legend()
    return figure


def within(measured: Mapping[str, Evidence]) -> pd.DataFrame:
    """Table I: accuracy and AUC of frames of FF++ by the map that supervises, LQ and HQ, in percent.

    What is printed of it is FoCus on LQ and two leads over the best other.
    """
    titles = KINDS | {"none": "no maps"}
    kinds = ["ssim", "pixel", "pixel01", "attention", "focus", "none", "shuffled", "true"]
    rows = {f"{titles[kind]}, {half}": f"focus-eval-{kind}{end}" for half, end in (("LQ", ""), ("HQ", "-hq"))
            for kind in kinds}  # fmt: skip
    columns = {"accuracy": {"metric": "frame_accuracy", "test": "ffpp"}, "AUC": {"metric": "frame_auc", "test": "ffpp"}}
    return levels(rows, columns, measured, key="maps", title="Table I, measured", percent=list(columns))


def frame_aucs(measured: Mapping[str, Evidence], runs: Mapping[str, str], key: str, title: str = "") -> pd.DataFrame:
    """Frame AUC on each clean test set of each run, by its name for people (dfrepro.report.beside.levels)."""
    columns = {name: {"metric": "frame_auc", "test": test} for name, test in SETS.items()}
    return levels(runs, columns, measured, key=key, title=title)
