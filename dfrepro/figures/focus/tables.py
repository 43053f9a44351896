"""FoCus' figures and its table of costs (FoCus): maps over faces, kinds of map against true masks, K and λ."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dfrepro import places
from dfrepro.report import plots

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
DIRECT = ["map_auc", "map_auc_seam", "map_iou", "chance_iou", "map_mass_real", "map_mass_fake", "map_mass_ratio",
          "eq4_eq9", "sobel_interior"]  # fmt: skip
NOT_RUN = "not run"
CONDITIONS = ("saturation", "contrast", "blocks", "noise", "blur", "pixelation", "video")


def direct(measured: pd.DataFrame) -> pd.DataFrame:
    """How each kind of map agrees with the true masks, mean over seeds; a kind that was not made reads 'not run'."""
    known = measured[measured.metric.isin(DIRECT) & measured.run.str.startswith(places.MAPS)]
    means = known.groupby(["run", "metric"]).value.mean().unstack()
    table = means.reindex(index=[places.MAPS + kind for kind in KINDS], columns=DIRECT)
    table.index = pd.Index(KINDS.values(), name="maps")
    made = table.map_auc.notna()
    return table.astype(object).where(table.notna(), "").where(made, NOT_RUN, axis=0)


def draw_direct(table: pd.DataFrame) -> "Figure":
    """Draw pixel AUC and IoU of each kind of map that was made, with chance and the control."""
    import matplotlib.pyplot as plt

    made = table[table.map_auc != NOT_RUN].iloc[::-1]
    figure, axes = plt.subplots(1, 2, figsize=(10, 0.42 * len(made) + 1.3), sharey=True)
    chances = (0.5, float(made.chance_iou.iloc[0]))
    for axis, metric, chance in zip(axes, ("map_auc", "map_iou"), chances):
        colours = [
            "0.6" if "shuffled" in name else plots.FAKE if name == "FoCus" else plots.REAL for name in made.index
        ]
        values = made[metric].astype(float)
        axis.barh(made.index, values, color=colours, height=0.65)
        axis.axvline(chance, c="0.25", lw=1, ls=":")
        axis.set(
            title={"map_auc": "Pixel AUC", "map_iou": "IoU at the best threshold"}[metric],
            xlim=(min(0.3, values.min() - 0.05), 1), xlabel="dotted: a map that knows nothing",
        )  # fmt: skip
        for y, value in enumerate(values):
            axis.text(value + 0.01, y, f"{value:.2f}", va="center", fontsize=9)
    return figure


def draw_maps(faces: np.ndarray, titles: list[str], maps: dict[str, np.ndarray], masks: np.ndarray) -> "Figure":
    """Draw maps (N, S, S) over faces (N, S, S, 3), a row a kind, all on one scale, with the true mask's outline."""
    import matplotlib.pyplot as plt

    shape = (1 + len(maps), len(faces))
    figure, axes = plt.subplots(*shape, figsize=(1.3 * shape[1] + 2.1, 1.38 * shape[0]), squeeze=False)
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
    colours = dict(zip(kinds, plt.get_cmap("Dark2")(np.arange(len(kinds)))))
    for line, model in zip(axes, models):
        for axis, name in zip(line, sets):
            part = rows[(rows.model == model) & (rows.dataset == name)]
            for kind, points in part.groupby("manipulation", sort=False):
                colour = colours[kind] if points.label.iloc[0] else "0.72"
                axis.scatter(points.x, points.y, s=9, color=colour, linewidths=0, label=plots.LABELS.get(kind, kind))
            axis.set(title=f"{model}: {plots.SETS.get(name, name)}", xticks=[], yticks=[])
            axis.legend(markerscale=2, fontsize=8, handletextpad=0.1)
    return figure


def draw_k(table: pd.DataFrame) -> "Figure | None":
    """Draw Figure 10, the AUC on each set (columns) over K (rows, those run); None where fewer than two were run."""
    import matplotlib.pyplot as plt

    if len(table) < 2:
        return None
    figure, axis = plt.subplots(figsize=(6, 3.4))
    for name in table:
        axis.plot(table.index, table[name], "-o", ms=4, label=plots.SETS.get(name, name))
    axis.set(xscale="log", xticks=list(table.index), xticklabels=list(table.index), xlabel="maps a class, K")
    axis.set(ylabel="frame AUC", title="Figure 10, here")
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
        for name, label, colour in (("cls", "L_cls", plots.FAKE), ("loc", "L_loc", plots.REAL)):
            axis.plot(curve.epoch, curve[name], "-o", ms=3, c=colour, label=label)
        axis.set(title=f"λ = {lam:g}", xlabel="epoch")
    axes[0, 0].set_ylabel("loss")
    axes[0, 0].legend()
    return figure


def within(scores: pd.DataFrame) -> pd.DataFrame:
    """Table I: accuracy and AUC of frames of FF++, by kind of map (rows), on LQ and HQ (columns), mean over seeds.

    In percent; a run that is not there reads "not run". What is printed of it is FoCus on LQ and a lead over the best.
    """
    from dfrepro.evaluate.metrics import margins, value

    metrics = {"Acc": "accuracy", "AUC": "auc"}
    clean = scores[(scores.condition == "clean") & (scores.dataset == "ffpp")]
    kinds = ["ssim", "pixel", "pixel01", "attention", "focus", "none", "shuffled", "true"]
    titles = KINDS | {"none": "no maps"}
    columns = [f"{half} {name}" for half in ("LQ", "HQ") for name in metrics]
    table = pd.DataFrame(NOT_RUN, pd.Index([titles[kind] for kind in kinds], name="maps"), columns, dtype=object)
    for kind in kinds:
        for half, ending in (("LQ", ""), ("HQ", "-hq")):
            seeds = [group for _, group in clean[clean.run == f"focus-eval-{kind}{ending}"].groupby("seed")]
            for name, metric in metrics.items():
                if seeds:
                    values = [value(metric, g.label.to_numpy(), margins(g)) for g in seeds]
                    table.loc[titles[kind], f"{half} {name}"] = round(100 * float(np.mean(values)), 2)
    return table


def frame_aucs(scores: pd.DataFrame, runs: dict[int, str]) -> pd.DataFrame:
    """Frame AUC on each clean test set (columns) of each run that is there (rows, by its key), mean over seeds."""
    from dfrepro.evaluate.metrics import frame_auc

    clean = scores[scores.condition == "clean"]
    groups = clean[clean.run.isin(runs.values())].groupby(["run", "seed", "dataset"])
    values = groups.apply(frame_auc, include_groups=False)
    table = values.groupby(["run", "dataset"]).mean().unstack() if len(values) else pd.DataFrame()
    return table.rename(index={run: key for key, run in runs.items()}).sort_index()
