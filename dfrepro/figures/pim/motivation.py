"""PIM's motivation (TIFS 2024, Tables I and II, Figure 1): the paper's tables and figures beside ours, drawn."""

from typing import TYPE_CHECKING

import pandas as pd

from dfrepro.report import plots
from dfrepro.report.beside import PAPER, SOURCES, pick

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = ["DF", "FS", "F2F", "NT"]


def titles(label: str) -> dict[str, str]:
    """What a panel of each source is called."""
    return {source: f"{name} ({'FF++' if source == PAPER else label})" for source, name in plots.NAMES.items()}


def cross_manipulation(cells: pd.DataFrame, label: str) -> dict[str, pd.DataFrame]:
    """Table I as square tables of video AUC, trained on (rows) x tested on (columns), of each source that has any."""
    trained = cells.drop_duplicates("row").sort_values("row")["train"].to_list()
    tables = {title: pick(cells, source, *METHODS).set_axis(trained) for source, title in titles(label).items()}
    return {title: table.loc[METHODS] for title, table in tables.items() if table.notna().any(axis=None)}


def draw_shift_harm(cells: pd.DataFrame, label: str) -> "Figure":
    """Draw Table II: a row a method and source, a hollow mark before the shift, a filled one after it with interval."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
    sources = [source for source in SOURCES if (cells["source"] == source).any()]
    rows = [(method, source) for method in ("DF", "F2F") for source in sources]
    for axis, (measure, title) in zip(axes, {"accuracy": "Accuracy", "log_loss": "Log-loss"}.items()):
        part = cells[cells["column"] == measure].set_index(["dataset", "source", "perturbation"])
        for place, (method, source) in enumerate(rows):
            found = [part.loc[key] for when in ("before", "after") if (key := (method, source, when)) in part.index]
            axis.plot([one["value"] for one in found], [place] * len(found), c=plots.SOURCES[source], lw=1, ls=":")
            for one, hollow in zip(found, (True, False)):
                interval = None if hollow else (one["low"], one["high"])
                plots.dots(axis, place, source, one["value"], interval, hollow=hollow)
        axis.set(title=f"{title} before (hollow) and after", yticks=range(len(rows)))
        axis.set_yticklabels([f"{method}, {titles(label)[source]}" for method, source in rows])
        axis.margins(y=0.15)
    axes[0].axvline(0.5, c="0.6", lw=1, ls=":")
    axes[0].invert_yaxis()
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
