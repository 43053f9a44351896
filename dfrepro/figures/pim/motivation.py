"""PIM's motivation (TIFS 2024, Tables I and II, Figure 1): the paper's tables and figures beside ours, drawn."""

from typing import TYPE_CHECKING

import pandas as pd

from dfrepro.report import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = ["DF", "FS", "F2F", "NT"]
SHIFTED = {"DF": plots.FAKE, "F2F": plots.REAL}


def cross_manipulation(table: pd.DataFrame, label: str) -> dict[str, pd.DataFrame]:
    """Table I as two square tables of video AUC, trained on (rows) x tested on (columns): printed, and ours."""
    table = table.set_index("train").loc[METHODS]
    sources = {"paper (FF++)": "printed", f"here ({label})": label}
    return {
        title: table[[f"{m} ({s})" for m in METHODS]].set_axis(METHODS, axis=1).astype(float)
        for title, s in sources.items()
    }


def draw_shift_harm(table: pd.DataFrame, label: str) -> "Figure":
    """Draw Table II as lines from before to after the shift, the paper's dashed beside ours."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8.8, 3.5))
    for axis, measure in zip(axes, ("accuracy", "log_loss")):
        for source, style in (("printed", "--"), (label, "-")):
            for method, colour in SHIFTED.items():
                values = table[table.dataset == method].set_index("perturbation")[f"{measure} ({source})"]
                name = f"{method}, {'paper (FF++)' if source == 'printed' else f'here ({label})'}"
                axis.plot(["before", "after"], values[["before", "after"]], style, c=colour, marker="o", label=name)
        axis.set(title={"accuracy": "Accuracy", "log_loss": "Log-loss"}[measure], xlim=(-0.25, 1.25))
    axes[0].axhline(0.5, c="0.6", lw=1, ls=":")
    axes[1].legend(fontsize=9)
    return figure


def figure1(rows: pd.DataFrame, runs: dict[str, str]) -> "Figure":
    """Draw the embeddings: a column a manipulation, clean above and shifted below (Figure 1)."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(runs), figsize=(4.4 * len(runs), 8), sharex="col", sharey="col")
    for column, (method, run) in zip(axes.T, runs.items()):
        for axis, condition in zip(column, ("clean", "shifted")):
            part = rows[(rows.run == run) & (rows.condition == condition)]
            when = "before the shift" if condition == "clean" else "after it"
            title = f"{plots.LABELS[method]}, {when}: {part.neighbour_agreement.iloc[0]:.2f}"
            plots.embedding(axis, part, title=title, legend=axis is axes[0, 0])
    return figure
