"""FIA-USA's figures and tables (arXiv 2504.04827): drawn from pictures and tables; nothing is measured here."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dfrepro.report import plots
from dfrepro.report.beside import HERE, PAPER, SOURCES, levels
from dfrepro.report.evidence import Evidence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dfrepro.figures.fia_usa.pictures import MaskFlow, Ranking, RealFace
    from dfrepro.forge.blend import Pair

CORRUPTIONS = {"blur": "Gaussian blur", "blocks": "blocks", "contrast": "contrast", "jpeg": "JPEG"}
NAMES = {"ae": "autoencoder", "sr": "super-resolution", "none": "as it is"}
LN2 = float(np.log(2))
STAGES = ("C2", "C3", "C4", "C5")
COLUMNS = 7  # of Figure 13's pictures


# --- pseudo-fakes -------------------------------------------------------------------------------------------------


def draw_mask_flow(face: "RealFace", flows: Mapping[str, "MaskFlow"]) -> "Figure":
    """Draw Figure 8: a row a kind of mask; its hulls, the hulls moved, and several soft masks drawn from them."""
    import matplotlib.pyplot as plt

    draws = len(next(iter(flows.values())).soft)
    figure, axes = plt.subplots(len(flows), 2 + draws, figsize=(1.55 * (2 + draws), 1.6 * len(flows)))
    for row, (kind, flow) in zip(axes, flows.items()):
        for axis, hulls, colour in ((row[0], flow.hulls, plots.REAL), (row[1], flow.moved, plots.FAKE)):
            axis.imshow(face.image)
            for hull in hulls:
                axis.fill(*hull.T, fc=colour, alpha=0.35, ec=colour, lw=1.5)
        for axis, soft in zip(row[2:], flow.soft):
            axis.imshow(soft, cmap="gray", vmin=0, vmax=1)
        row[0].set_ylabel(kind)
    titles = ["hull of landmarks", "moved, scaled", *("softened" for _ in range(draws))]
    return _bare(figure, axes, titles)


def draw_reconstructions(faces: Sequence["RealFace"], gain: float = 4.0) -> "Figure":
    """Draw Figure 14: each face, its reconstructions, and what they change, `gain` times as strong."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(faces), 5, figsize=(7.6, 1.6 * len(faces)), squeeze=False)
    for row, face in zip(axes, faces):
        pictures = [face.image]
        for made in ("ae", "sr"):
            pictures += [face.made[made], difference(face.made[made], face.image, gain)]
        for axis, picture in zip(row, pictures):
            axis.imshow(picture)
    change = f"change × {gain:g}"
    return _bare(figure, axes, ["real face", "autoencoder", change, "super-resolved", change])


def draw_pseudo_fakes(pairs: Mapping[tuple[str, str], "Pair"], gain: float = 4.0) -> "Figure":
    """Draw Figures 15 to 17: kinds of masks in rows, reconstructions in columns, each as fake and |fake − real|."""
    import matplotlib.pyplot as plt

    kinds, mades = (list(dict.fromkeys(key[i] for key in pairs)) for i in (0, 1))
    figure, axes = plt.subplots(len(kinds), 3 * len(mades), figsize=(1.02 * 3 * len(mades), 1.08 * len(kinds)))
    for row, kind in zip(axes, kinds):
        for i, made in enumerate(mades):
            pair = pairs[kind, made]
            for axis, picture in zip(row[3 * i :], (pair.real, pair.fake, difference(pair.fake, pair.real, gain))):
                axis.imshow(picture)
        row[0].set_ylabel(kind)
    titles = [title for made in mades for title in ("real", f"fake, {made}", f"change × {gain:g}")]
    return _bare(figure, axes, titles)


def difference(picture: np.ndarray, other: np.ndarray, gain: float) -> np.ndarray:
    """|picture − other| · `gain`, clipped: (H, W, 3) uint8."""
    return np.clip(gain * np.abs(picture.astype(float) - other), 0, 255).astype(np.uint8)


# --- AFFS and RCR -------------------------------------------------------------------------------------------------


def draw_ranking(found: "Ranking", best: int = 14, worst: int = 4) -> "Figure":
    """Draw Figure 13: a pair and its mask, C2's best and worst answers to it, and every stage's sorted errors."""
    import matplotlib.pyplot as plt

    order = np.argsort(found.errors[0], kind="stable")
    best = min(best, len(order) - worst)
    rows = -(-(3 + best + worst) // COLUMNS)
    figure = plt.figure(figsize=(8, 1.3 * rows + 4.8))
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.3 * rows, 4.8))[:, 0]
    axes = [top.add_subplot(rows, COLUMNS, place) for place in range(1, 4 + best + worst)]
    pictures = [found.pair.real, found.pair.fake, found.pair.mask]
    for axis, picture, title in zip(axes, pictures, ("real R", "fake F", "mask M")):
        axis.imshow(picture, cmap="gray")
        axis.set_title(title, fontsize=9)
    for axis, channel in zip(axes[3:], (*order[:best], *order[-worst:])):
        axis.imshow(found.answers[channel], cmap="magma", vmin=0, vmax=1)
        colour = plots.REAL if channel in found.kept[0] else plots.FAKE
        axis.set_title(f"{found.errors[0][channel]:.3f}", fontsize=9, color=colour)
    _bare(figure, np.atleast_2d(axes))
    for axis, stage, errors, kept in zip(bottom.subplots(2, 2).flat, STAGES, found.errors, found.kept):
        _draw_errors(axis, stage, errors, kept)
    return figure


def _draw_errors(axis: "Axes", stage: str, errors: np.ndarray, kept: np.ndarray) -> None:
    order = np.argsort(errors, kind="stable")
    chosen = np.isin(order, kept)
    finite = np.isfinite(errors[order])
    for group, name, colour in ((chosen, "kept", plots.REAL), (~chosen, "dropped", plots.FAKE)):
        here = np.flatnonzero(group & finite)
        axis.scatter(here, errors[order][here], s=10, c=colour, label=name, linewidths=0)
    dead = int((~finite).sum())
    title = f"{stage}: {len(kept)} of {len(errors)}" + (f", {dead} dead" if dead else "")
    axis.set(title=title, xlabel="channel, by rank", ylabel="$L_{ik}$" if stage == "C2" else "")
    if dead == len(errors):
        axis.set(xticks=[], yticks=[])
        axis.text(0.5, 0.5, "one position:\nnothing to rank", transform=axis.transAxes, ha="center", va="center")
    if stage == "C2":
        axis.legend(markerscale=2, handletextpad=0.1)


def draw_regions(pairs: Mapping[str, "Pair"], cells: np.ndarray) -> "Figure":
    """Draw Figure 12: for each kind of mask the fake, its mask, and RCR's cells: inside, outside, dropped between."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap

    figure, axes = plt.subplots(3, len(pairs), figsize=(1.75 * len(pairs), 5.2))
    colours = ListedColormap([plots.REAL, "0.92", plots.FAKE])
    for column, (kind, pair), grid in zip(axes.T, pairs.items(), cells):
        column[0].imshow(pair.fake)
        column[0].set_title(kind, fontsize=10)
        column[1].imshow(pair.mask, cmap="gray", vmin=0, vmax=1)
        column[2].imshow(grid, cmap=colours, vmin=0, vmax=1)
        inside, dropped = int((grid == 1).sum()), int((grid == 0.5).sum())
        column[2].set_xlabel(f"{inside} in, {dropped} dropped" + ("\nskipped" if inside < 4 else ""), fontsize=9)
    for axis, name in zip(axes[:, 0], ("fake", "mask", "cells")):
        axis.set_ylabel(name)
    return _bare(figure, axes)


def draw_history(histories: Mapping[str, pd.DataFrame]) -> "Figure":
    """Draw Eq. 4 and Eq. 6 over the epochs of training, and the share of pairs that RCR has to skip."""
    import matplotlib.pyplot as plt

    titles = {"ce": "Cross-entropy", "pcr": "PCR, Eq. 4", "icr": "ICR, Eq. 6", "skipped": "Pairs that RCR skips"}
    figure, grid = plt.subplots(2, 2, figsize=(7.6, 5.6))
    axes = grid.ravel()
    for axis, (part, title) in zip(axes, titles.items()):
        for (name, history), colour in zip(histories.items(), (plots.REAL, plots.FAKE, "0.45")):
            if part in history:
                axis.plot(history.epoch, history[part], "-o", ms=3, c=colour, label=name)
        if part == "skipped":
            axis.set_ylim(0, 1)
        else:
            axis.axhline(LN2, c="0.6", lw=1, ls=":")
        axis.set(title=title, xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
    for axis in axes[:3]:
        axis.annotate("ln 2", (1.01, LN2), xycoords=("axes fraction", "data"), va="center", color="0.4", fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


# --- tables and corruption ----------------------------------------------------------------------------------------


def channel_table(printed: pd.DataFrame, found: Mapping[str, tuple[str, list[int], list[int]]]) -> pd.DataFrame:
    """Table 7: channels before and after AFFS as printed, and of the networks that stand there at this scale."""
    rows = []
    for (run, (network, before, after)), (_, line) in zip(found.items(), printed.set_index("model").iterrows()):
        printed_here = [f"{line[f'c{i}_in']:.0f} → {line[f'c{i}_out']:.0f}" for i in range(2, 2 + len(before))]
        ours = [f"{c} → {m}" for c, m in zip(before, after)]
        for source, model, channels in ((PAPER, line.name, printed_here), (plots.NAMES[HERE], network, ours)):
            rows.append({"run": run, "source": source, "network": model} | dict(zip(STAGES, channels)))
    return pd.DataFrame(rows)


def reduction(measured: Mapping[str, Evidence], runs: Mapping[str, str], test: str = "ffpp") -> pd.DataFrame:
    """R = (AUC − clean AUC) / clean AUC, of videos, in percent: by detector, corruption and level."""
    columns = {
        f"{name}-{level}": {"metric": "video_auc", "test": test, "change": "relative", "condition": f"{name}-{level}"}
        for name in CORRUPTIONS for level in range(1, 6)
    }  # fmt: skip
    cells = levels(runs, columns, measured, key="detector", percent=list(columns))
    parts = cells.column.str.rsplit("-", n=1)
    return cells.assign(corruption=parts.str[0], level=parts.str[-1].astype(int))


def draw_reduction(cells: pd.DataFrame, label: str) -> "Figure":
    """Draw Figure 3: R over the levels of four corruptions, a line a detector and source with its interval."""
    import matplotlib.pyplot as plt

    sources = [source for source in SOURCES if (cells.source == source).any()]
    figure, axes = plt.subplots(2, 2, figsize=(8, 6.4), sharey=True, sharex=True)
    for axis, (corruption, title) in zip(axes.flat, CORRUPTIONS.items()):
        axis.axhline(0, c="0.6", lw=1, ls=":")
        for name, colour in zip(cells.detector.unique(), (plots.REAL, plots.FAKE)):
            for source in sources:
                kind = (cells.detector == name) & (cells.corruption == corruption) & (cells.source == source)
                part, style = cells[kind], "--s" if source == HERE else "-o"
                axis.plot(part.level, part.value, style, ms=4, c=colour, label=f"{name}, {plots.NAMES[source]}")
                axis.fill_between(part.level, part.low, part.high, color=colour, alpha=0.12, lw=0)
        axis.set(title=title, xticks=range(1, 6))
    for axis in axes[-1]:
        axis.set_xlabel("level")
    figure.supylabel(f"change of video AUC, % (FF++, {label})", fontsize=11)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _bare(figure: "Figure", axes: np.ndarray, titles: Sequence[str] = ()) -> "Figure":
    """Pictures without ticks and frames; `titles` over the first row."""
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for axis, title in zip(axes[0], titles):
        axis.set_title(title, fontsize=9, loc="center", fontweight="normal")
    return figure
