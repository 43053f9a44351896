"""PIM's and DualFlat's figures (TIFS 2024, Tables VI to IX, Figures 3 and 4): drawn from tables and maps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from dfrepro.evaluate import metrics
from dfrepro.report import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CROSS = ("cdfv2", "dfdcp", "dfdc", "wdf")
BASELINE = "erm-ffpp"
ARMS = {"ERM": plots.REAL, "PIM": plots.FAKE}


def draw_rise(curves: dict[str, pd.DataFrame]) -> "Figure":
    """Draw the loss against r for each network: along γ, along Eq. 11's line, and along random directions."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(curves), figsize=(4.6 * len(curves), 3.6), sharey=True)
    for axis, (name, curve) in zip(np.atleast_1d(axes), curves.items()):
        axis.plot(curve.r, curve.gradient, c=plots.FAKE, marker="o", ms=4, label="along γ (PIM's Δ)")
        axis.plot(curve.r, curve.linear, c=plots.FAKE, ls="--", lw=1, label="first order, L + r‖γ‖ (Eq. 11)")
        axis.plot(curve.r, curve.random, c="0.45", marker="s", ms=3, label="random directions, same norm")
        axis.set(title=name, xlabel="r", ylabel="loss on test faces" if axis is np.atleast_1d(axes)[0] else "")
    np.atleast_1d(axes)[0].legend(fontsize=9)
    return figure


def gains(scores: pd.DataFrame, runs: Sequence[str], baseline: str) -> pd.DataFrame:
    """How much each run gains over `baseline` in average cross-domain video AUC, in points: mean, low, high, by run.

    `scores`: one row a face, with run and seed. Seeds are paired; low and high are the 95 % interval of Student's t
    over them, missing for one seed alone. A run without scores is missing.
    """
    clean = scores[scores.dataset.isin(CROSS) & (scores.condition == "clean") & scores.run.isin([*runs, baseline])]
    parts = clean.groupby(["run", "seed", "dataset"], observed=True)
    auc = pd.Series({key: metrics.video_auc(part) for key, part in parts})
    average = 100 * auc.groupby(level=[0, 1]).mean()  # points, by run and seed
    lines = {}
    for run in dict.fromkeys(runs):
        if run not in average.index or baseline not in average.index:
            lines[run] = (np.nan, np.nan, np.nan)
            continue
        change = (average[run] - average[baseline]).dropna()
        half = stats.t.ppf(0.975, len(change) - 1) * change.sem() if len(change) > 1 and run != baseline else np.nan
        lines[run] = (change.mean(), change.mean() - half, change.mean() + half)
    return pd.DataFrame.from_dict(lines, orient="index", columns=["mean", "low", "high"])


def draw_sweep(tables: dict[str, tuple[pd.DataFrame, str]], label: str, scores: pd.DataFrame) -> "Figure":
    """Draw the change of the average cross-domain AUC against training without PIM, the paper's and ours on one axis.

    `tables` maps a title to (the table beside its printed one, the swept column); `scores`: see `gains`. A run that is
    not there has no dot.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(tables), figsize=(4.8 * len(tables), 3.4), sharey=True)
    for axis, (title, (table, column)) in zip(np.atleast_1d(axes), tables.items()):
        x = table[column].astype(float)
        printed = table["average (printed)"].astype(float)
        axis.plot(x, printed - printed[table.run == BASELINE].iloc[0], "--o", c="0.45", label="paper")
        ours = gains(scores, list(table.run), BASELINE).loc[table.run]
        reach = np.abs(ours[["low", "high"]].sub(ours["mean"], axis=0)).T.to_numpy()
        axis.errorbar(x, ours["mean"], yerr=np.nan_to_num(reach), fmt="-o", c=plots.FAKE, capsize=3, label=label)
        axis.axhline(0, c="0.6", lw=1, ls=":")
        axis.set(title=title, xlabel={"r": "r", "alpha": "α"}[column])
    np.atleast_1d(axes)[0].set_ylabel("change of average video AUC, points")
    np.atleast_1d(axes)[0].legend(fontsize=9)
    return figure


def draw_grid(tables: dict[str, pd.DataFrame], label: str) -> "Figure":
    """Draw DualFlat's grid, α + β in rows and α's share in columns: printed above, ours below; grey is not run."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    figure, axes = plt.subplots(2, len(tables), figsize=(5.2 * len(tables), 6.4), squeeze=False)
    for column, (title, table) in zip(axes.T, tables.items()):
        for axis, source in zip(column, ("printed", label)):
            values = pd.to_numeric(table[f"average ({source})"], errors="coerce")
            grid = table.assign(value=values).pivot(index="alpha_plus_beta", columns="alpha_to_beta", values="value")
            grid = grid.reindex(
                index=sorted(grid.index, key=float, reverse=True), columns=sorted(grid.columns, reverse=True)
            )
            sns.heatmap(grid, ax=axis, annot=True, fmt=".1f", cmap="crest", linewidths=1.5, cbar=False)
            axis.set_facecolor("0.92")
            axis.set(
                title=f"{title}: {'paper' if source == 'printed' else f'here ({label})'}",
                xlabel="α : β",
                ylabel="α + β",
            )
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
    figure, axes = plt.subplots(*shape, figsize=(1.25 * shape[1] + 1, 1.4 * shape[0]))
    drawn: Any = None
    for column, (face, title) in enumerate(zip(faces, titles)):
        axes[0, column].imshow(face)
        axes[0, column].set_title(title, fontsize=9, loc="center")
        for row, (name, maps) in enumerate(cams.items(), start=1):
            axes[row, column].imshow(face.mean(-1), cmap="gray")
            drawn = axes[row, column].imshow(maps[column], cmap="inferno", vmin=0, vmax=top, alpha=0.55)
            if column == 0:
                axes[row, 0].set_ylabel(name)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    axes[0, 0].set_ylabel("face")
    figure.colorbar(drawn, ax=axes[1:], shrink=0.7, label="Grad-CAM for 'fake'")
    return figure
