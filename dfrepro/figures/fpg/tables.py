"""FPG's figures and tables (P0): corruption curves, the refinement's steps, the perturbations, saliency, cost."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dfrepro.report import plots
from dfrepro.report.beside import SOURCES, levels
from dfrepro.report.evidence import Evidence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CORRUPTIONS = ("saturation", "contrast", "blocks", "blur", "pixelation", "jpeg")
NAMES = {"pixelation": 'pixelation (their "JPEG")', "jpeg": "JPEG proper"}
LEVELS = range(6)


def corruption_curves(measured: Mapping[str, Evidence], run: str, test: str = "ffpp") -> pd.DataFrame:
    """Figure 2a as data: video AUC of a run by corruption and level (0 is clean), see dfrepro.report.beside.levels."""
    columns = {
        f"{name}-{level}": {"metric": "video_auc", "test": test, "condition": f"{name}-{level}" if level else "clean"}
        for name in CORRUPTIONS for level in LEVELS
    }  # fmt: skip
    cells = levels({run: run}, columns, measured, key="detector")
    parts = cells.column.str.rsplit("-", n=1)
    return cells.assign(corruption=parts.str[0], level=parts.str[-1].astype(int))


def draw_corruptions(curves: pd.DataFrame, label: str) -> "Figure":
    """Draw Figure 2a: a panel a corruption, AUC over the level with its interval, a curve a source."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(9.6, 5.6), sharex=True, sharey=True)
    sources = [source for source in SOURCES if (curves.source == source).any()]
    for axis, name in zip(axes.flat, CORRUPTIONS):
        for source in sources:
            own, colour = curves[(curves.corruption == name) & (curves.source == source)], plots.SOURCES[source]
            style = "-o" if len(own) == len(LEVELS) else ":o"  # dotted over levels that were not measured
            axis.vlines(own.level, own.low, own.high, color=colour, lw=2, alpha=0.5)
            axis.plot(own.level, own.value, style, c=colour, ms=5)
        axis.axhline(0.5, c="0.6", lw=1, ls=":")
        axis.set_title(NAMES.get(name, name))
    for axis in axes[-1]:
        axis.set_xlabel("level (0: clean)")
    figure.supylabel(f"video AUC, FF++ ({label})", fontsize=11)
    figure.legend(handles=plots.sources(label, *sources), loc="outside lower center", ncols=2)
    return figure


def draw_steps(steps: Any) -> "Figure":
    """Draw the shape refinement, one pair a row: real, fake, M, Grad-CAM, P and M, M′, refined fake."""
    titles = ("real", "fake", "mask M", "Grad-CAM", "perceived P", "new mask M′", "refined fake")
    figure, axes = _grid(len(steps.real), len(titles), 1.35)
    for row, real, fake, mask, cam, region, new, refined in zip(axes, *steps):
        row[0].imshow(real)
        row[1].imshow(fake)
        row[2].imshow(mask, cmap="gray", vmin=0, vmax=1)
        _overlay(row[3], fake, cam, 1.0)
        _region(row[4], fake, region, mask > 0)
        row[5].imshow(new, cmap="gray", vmin=0, vmax=1)
        row[6].imshow(refined)
    for axis, title in zip(axes[0], titles):
        axis.set_title(title, fontsize=10, loc="center")
    return figure


def draw_perturbations(fake: np.ndarray, found: dict[str, Any]) -> "Figure":
    """Draw Figure 4: the signs inside the mask, and the change of the fake, amplified; a row a perturbation."""
    figure, axes = _grid(len(found), 3, 2.3)
    top = max(float(np.abs(one.change).max()) for one in found.values()) or 1.0
    for row, (name, one) in zip(axes, found.items()):
        row[0].imshow(fake)
        row[1].imshow(one.signs, cmap="coolwarm", vmin=-1.3, vmax=1.3, interpolation="nearest")
        row[2].imshow(0.5 + one.change / (2 * top), interpolation="nearest")
        row[0].set_ylabel(name, fontsize=11)
    titles = ("fake", "sign z inside M", f"change (±{top:.1f} grey levels)")
    for axis, title in zip(axes[0], titles):
        axis.set_title(title, fontsize=10, loc="center")
    return figure


def draw_samples(samples: dict[str, np.ndarray]) -> "Figure":
    """Draw Figure 2b: a real (above) and a fake face, clean and under each corruption at its highest level."""
    figure, axes = _grid(2, len(samples), 1.5)
    for column, (name, faces) in zip(axes.T, samples.items()):
        column[0].set_title(name, fontsize=10, loc="center")
        for axis, face in zip(column, faces):
            axis.imshow(face, interpolation="nearest")
    axes[0, 0].set_ylabel("real", fontsize=10)
    axes[1, 0].set_ylabel("fake", fontsize=10)
    return figure


def draw_saliency(faces: np.ndarray, titles: Sequence[str], masks: np.ndarray, cams: dict[str, np.ndarray]) -> "Figure":
    """Draw Figure 3: fakes of unseen sets, one row of maps a detector; the true mask is outlined where there is one.

    Each map is over its own maximum, as the claim is about where its mass lies and not how much there is.
    """
    figure, axes = _grid(1 + len(cams), len(faces), 1.2)
    for i, (face, title) in enumerate(zip(faces, titles)):
        axes[0, i].imshow(face)
        axes[0, i].set_title(title, fontsize=10, loc="center")
        for axis, maps in zip(axes[1:, i], cams.values()):
            _overlay(axis, face, maps[i], float(maps[i].max()) or 1.0)
            if np.isfinite(masks[i]).all():
                axis.contour(masks[i], [0.5], colors="white", linewidths=1)
    for axis, name in zip(axes[:, 0], ("fake", *cams)):
        axis.set_ylabel(name, fontsize=10)
    return figure


def saliency_table(measured: Mapping[str, Evidence], runs: Mapping[str, str]) -> pd.DataFrame:
    """The share of Grad-CAM's mass inside the true mask, and a uniform map's; `runs` by their name for people."""
    metrics = {"inside the mask": "saliency_inside", "a uniform map": "mask_share", "empty maps": "saliency_empty"}
    columns = {
        f"{plots.SETS[test]}: {title}": {"metric": metric, "test": test}
        for test in ("ffpp", "dfd") for title, metric in metrics.items()
    }  # fmt: skip
    return levels(runs, columns, measured, key="detector", title="Where the saliency lies")


def cost_table(runs: Mapping[str, str], histories: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Steps of the trainings that are there, what share of the baseline's that is, and the validation AUC at the end.

    runs: run -> title. histories: run -> `TrainedRun.history`; the baseline's is fpg-plain.
    """
    steps = {run: int(history["step"].iloc[-1]) for run, history in histories.items()}
    base = steps.get("fpg-plain", np.nan)
    rows = [
        {"run": title, "steps": steps[run], "steps / baseline's": steps[run] / base,
         "validation AUC": float(histories[run]["validation"].iloc[-1])}
        for run, title in runs.items() if run in steps
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _grid(rows: int, columns: int, side: float) -> tuple["Figure", np.ndarray]:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(rows, columns, figsize=(side * columns + 0.4, side * rows + 0.3), squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    return figure, axes


def _overlay(axis: "Axes", face: np.ndarray, cam: np.ndarray, top: float) -> None:
    axis.imshow(face.mean(-1), cmap="gray")
    axis.imshow(cam, cmap="inferno", vmin=0, vmax=top, alpha=0.6)


def _region(axis: "Axes", face: np.ndarray, region: np.ndarray, support: np.ndarray) -> None:
    """P in colour on the grey face, the mask's support outlined."""
    tinted = np.repeat(face.mean(-1, keepdims=True), 3, axis=-1) / 255
    tinted[region] = 0.45 * tinted[region] + 0.55 * np.array([0.82, 0.38, 0.24])
    axis.imshow(tinted)
    if support.any() and not support.all():
        axis.contour(support, [0.5], colors="white", linewidths=1)
