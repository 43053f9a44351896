"""PIM's and DualFlat's figures (TIFS 2024, Tables VI to IX, Figures 3 and 4): drawn from tables and maps."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dfrepro.figures.pim.motivation import titles
from dfrepro.report import plots
from dfrepro.report.beside import FORMER, HERE, PAPER, SOURCES, STUDY, pick
from dfrepro.report.contrast import common_seeds, contrast
from dfrepro.report.effects import Effect
from dfrepro.report.evidence import Evidence
from dfrepro.report.schema import Cell, Operand

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CROSS = ("cdfv2", "dfdcp", "dfdc", "wdf")
BASELINE = "erm-ffpp"
ARMS = {"ERM": plots.REAL, "PIM": plots.FAKE}


def draw_rise(curves: dict[str, pd.DataFrame]) -> "Figure":
    """Draw the loss against r for each network: along γ, along Eq. 11's line, and along random directions."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(curves), figsize=(4 * len(curves), 3.4), sharey=True)
    for axis, (name, curve) in zip(np.atleast_1d(axes), curves.items()):
        axis.plot(curve.r, curve.gradient, c=plots.FAKE, marker="o", ms=4, label="along γ (PIM's Δ)")
        axis.plot(curve.r, curve.linear, c=plots.FAKE, ls="--", lw=1, label="first order, L + r‖γ‖ (Eq. 11)")
        axis.plot(curve.r, curve.random, c="0.45", marker="s", ms=3, label="random directions, same norm")
        rise = curve.gradient.iloc[-1] - curve.gradient.iloc[0]
        axis.set(title=f"{name}: {rise:+.2f} at r = {curve.r.iloc[-1]:g}", xlabel="r")
    np.atleast_1d(axes)[0].set_ylabel("loss on test faces")
    np.atleast_1d(axes)[0].legend(fontsize=9)
    return figure


def gains(evidence: Evidence, runs: Sequence[str], baseline: str = BASELINE) -> dict[str, Effect]:
    """How much each run gains over `baseline` in average cross-domain video AUC, by run; without those not measured.

    Seeds are paired, the interval is over seeds and people (dfrepro.report.contrast).
    """
    found = {}
    for run in dict.fromkeys(runs):
        sides = [Operand(run=name, metric="video_auc", test=CROSS) for name in (run, baseline)]
        cell = Cell(name="", of=sides[0], over=sides[1], test="shown")
        seeds, _ = common_seeds([cell], evidence)
        if seeds and run != baseline:
            found[run] = contrast([cell], evidence, seeds, on_probit=True)
    return found


def draw_sweep(tables: dict[str, tuple[pd.DataFrame, str]], label: str, measured: dict[str, Evidence]) -> "Figure":
    """Draw the change of the average cross-domain AUC against training without PIM, in points, all on one axis.

    `tables` maps a title to (the paper's table, see dfrepro.report.beside; the swept column); `measured`: the evidence
    of "study" and "here". A run that is not there has no dot.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(tables), figsize=(4 * len(tables), 3.6), sharey=True, squeeze=False)
    shown = {PAPER: True}
    for axis, (title, (cells, column)) in zip(axes[0], tables.items()):
        rows = cells.drop_duplicates("row").set_index("row").sort_index()
        printed = pick(cells, PAPER, "average")["average"]
        change = printed - printed[rows["run"] == BASELINE].iloc[0]
        for row, run in rows["run"].items():
            if run != BASELINE:
                plots.dots(axis, int(row), PAPER, change[row], upright=True)
        for source, found in _gained(measured, list(rows["run"])).items():
            shown[source] = shown.get(source, False) or bool(found)
            for row, run in rows["run"].items():
                if run in found:
                    _dot(axis, int(row) + (0.32 if source == HERE else 0.16), source, found[run])
        axis.axhline(0, c="0.6", lw=1, ls=":")
        ticks = [place for place, run in rows["run"].items() if run != BASELINE]
        axis.set(title=title, xlabel={"r": "r", "alpha": "α"}[column], xticks=ticks)
        axis.set_xticklabels(rows.loc[ticks, column])
    axes[0, 0].set_ylabel("change of average video AUC\nagainst ERM, points")
    handles = plots.sources(label, *(source for source, there in shown.items() if there))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _gained(measured: Mapping[str, Evidence], runs: Sequence[str]) -> dict[str, dict[str, Effect]]:
    """`gains` of each source; of the former study only those that the study has not come to."""
    found = {source: gains(evidence, runs) for source, evidence in measured.items()}
    studied = found.get(STUDY, {})
    return found | {
        FORMER: {run: gain for run, gain in found.get(FORMER, {}).items() if run not in studied},
    }


def _dot(axis: "Axes", place: float, source: str, effect: Effect) -> None:
    """An effect in points, with its interval and its seeds, if there are several."""
    seeds = [100 * effect.shown(value) for value in effect.by_seed] if len(effect.seeds) > 1 else []
    interval = effect.interval()
    bounds = None if interval is None else [100 * bound for bound in interval]
    plots.dots(axis, place, source, 100 * effect.mean, bounds, seeds, upright=True)


def draw_grid(tables: dict[str, pd.DataFrame], label: str) -> "Figure":
    """Draw DualFlat's grid, α + β in rows and α's share in columns; a row of panels a source, one colour scale a panel.

    `tables`: see dfrepro.report.beside. A cell that a source has not measured is empty, a source without any left out.
    """
    import matplotlib.pyplot as plt
    import seaborn as sns

    sources = [source for source in SOURCES if any((cells["source"] == source).any() for cells in tables.values())]
    shape = len(sources), len(tables)
    figure, axes = plt.subplots(*shape, figsize=(5.2 * shape[1], 3.1 * shape[0]), squeeze=False)
    for column, (title, cells) in zip(axes.T, tables.items()):
        rows = cells.drop_duplicates("row").set_index("row").sort_index()
        for axis, source in zip(column, sources):
            values = rows.assign(value=pick(cells, source, "average")["average"])
            grid = values.pivot(index="alpha_plus_beta", columns="alpha_to_beta", values="value")
            grid = grid.reindex(
                index=sorted(grid.index, key=float, reverse=True), columns=sorted(grid.columns, reverse=True)
            )
            sns.heatmap(grid, ax=axis, annot=True, fmt=".1f", cmap="crest", linewidths=1.5, cbar=False)
            axis.set_facecolor("0.95")
            axis.set(title=f"{title}: {titles(label)[source]}", xlabel="α : β", ylabel="α + β")
            axis.tick_params(length=0, rotation=0)
    return figure


def draw_shift(rows: pd.DataFrame, names: dict[str, str]) -> "Figure":
    """Draw Figure 3: without and with PIM (columns), before and after the shift (rows), in one embedding."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(names), figsize=(4.4 * len(names), 8), sharex=True, sharey=True)
    for column, (run, name) in zip(axes.T, names.items()):
        for axis, condition in zip(column, ("clean", "shifted")):
            part = rows[(rows.run == run) & (rows.condition == condition)]
            when = "before the shift" if condition == "clean" else "after it"
            plots.embedding(
                axis, part, title=f"{name}, {when}: {part.neighbour_agreement.iloc[0]:.2f}", legend=axis is axes[0, 0]
            )
    return figure


def draw_cams(faces: np.ndarray, titles: list[str], cams: dict[str, np.ndarray]) -> "Figure":
    """Draw Figure 4: faces (N, S, S, 3) in the first row, one row of maps a detector below, all on one colour scale."""
    import matplotlib.pyplot as plt

    top = max(float(np.quantile(maps, 0.995)) for maps in cams.values()) or 1.0
    shape = (1 + len(cams), len(faces))
    figure, axes = plt.subplots(*shape, figsize=(0.9 * shape[1] + 0.9, 1.05 * shape[0]))
    drawn: Any = None
    for column, (face, title) in enumerate(zip(faces, titles)):
        axes[0, column].imshow(face)
        axes[0, column].set_title(title, fontsize=10, loc="center")
        for row, (name, maps) in enumerate(cams.items(), start=1):
            axes[row, column].imshow(face.mean(-1), cmap="gray")
            drawn = axes[row, column].imshow(maps[column], cmap="inferno", vmin=0, vmax=top, alpha=0.55)
            if column == 0:
                axes[row, 0].set_ylabel(name)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    axes[0, 0].set_ylabel("face")
    figure.colorbar(drawn, ax=axes[1:], shrink=0.9, label="Grad-CAM for 'fake'")
    return figure
