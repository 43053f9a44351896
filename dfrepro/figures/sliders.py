"""Sliders for a notebook with a kernel: move the shallow statistics by hand and see a small batch judged anew.

Each turn of a slider passes the batch through the networks once more. Where there is no kernel the cell shows what it
drew for the sliders' first setting, as a picture; `python -m dfrepro notebook --publish` leaves the dead widget out.
"""

import base64
import io
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dfrepro.data.dataset import centre
from dfrepro.evaluate.probe import StatisticShift
from dfrepro.figures import faces as study
from dfrepro.nets.pim import PIM, step_along
from dfrepro.report import plots
from dfrepro.train.flatness import gammas

if TYPE_CHECKING:
    from ipywidgets import FloatSlider
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dfrepro.jobs.trained import TrainedRun

BINS, WIDE = 10, 2  # bins of P(fake), and faces side by side in one


def statistics(runs: Mapping[str, "TrainedRun"], faces: Tensor, labels: Tensor) -> None:
    """Show sliders for the scales of μ and σ (Table II: 1.2 and .65) over faces (B, 3, S, S) uint8, labels (B,)."""
    from ipywidgets import FloatSlider

    batches = {name: Batch(run, faces, labels) for name, run in runs.items()}

    def draw(mu: float, sigma: float) -> "Figure":
        shift = StatisticShift(mu, sigma)
        return draw_batches(batches, {name: batch.scores(shift.on(batch.detector)) for name, batch in batches.items()})

    _show(
        draw,
        mu=FloatSlider(1.2, min=0.5, max=1.5, step=0.05, description="μ ×"),
        sigma=FloatSlider(0.65, min=0.3, max=1.5, step=0.05, description="σ ×"),
    )


def radius(runs: Mapping[str, "TrainedRun"], faces: Tensor, labels: Tensor) -> None:
    """Show a slider for r: each network under its own Δ = r γ / ‖γ‖ (Eq. 9), γ being of this very batch."""
    from ipywidgets import FloatSlider

    batches = {name: Batch(run, faces, labels) for name, run in runs.items()}

    def draw(r: float) -> "Figure":
        return draw_batches(batches, {name: batch.along_gamma(r) for name, batch in batches.items()})

    _show(draw, r=FloatSlider(0.2, min=0, max=1, step=0.02, description="r"))


class Batch:
    """A small batch, faces (B, 3, S, S) uint8 and labels (B,), before the network of a run."""

    def __init__(self, run: "TrainedRun", faces: Tensor, labels: Tensor):
        self.detector, self.labels = run.detector(), labels
        self.pictures = centre(faces.permute(0, 2, 3, 1).numpy(), run.window)  # (B, s, s, 3)
        self.images = study.to_tensor(self.pictures)

    @cached_property
    def gammas(self) -> list[Tensor]:
        """γ of this batch at Δ = 0, (2, C) a site."""
        with PIM(self.detector) as pim:
            return gammas(pim, self.detector, self.images, self.labels)[0]

    def scores(self, seen_through: AbstractContextManager[None]) -> np.ndarray:
        """P(fake), (B,), with the network changed as `seen_through` changes it."""
        with torch.inference_mode(), seen_through:
            return self.detector(self.images).margins.double().sigmoid().numpy()

    def along_gamma(self, r: float) -> np.ndarray:
        """P(fake), (B,), under Δ of norm r along γ."""
        with PIM(self.detector) as pim:
            return self.scores(pim.shifted(step_along(self.gammas, r)))


def draw_batches(batches: Mapping[str, Batch], scores: Mapping[str, np.ndarray]) -> "Figure":
    """Draw one histogram of faces a network, with its accuracy and log-loss on the batch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(batches), 4.6), layout="constrained", dpi=100)
    for axis, (name, batch) in zip(figure.subplots(1, len(batches), squeeze=False)[0], batches.items()):
        labels, seen = batch.labels.numpy(), scores[name]
        loss = -np.log(np.clip(np.where(labels == 1, seen, 1 - seen), 1e-12, None)).mean()
        face_histogram(axis, batch.pictures, labels, seen)
        axis.set_title(f"{name}: {((seen > 0.5) == labels).mean():.0%} right, log-loss {loss:.2f}")
    return figure


def face_histogram(axis: "Axes", pictures: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> None:
    """Draw pictures (B, s, s, 3) as a histogram of their scores: fakes stand above the line, reals hang below it."""
    import matplotlib.colors

    tall, side = -(-int(np.bincount(labels).max()) // WIDE), pictures.shape[1] + 6
    sheet = np.zeros((2 * tall * side, BINS * WIDE * side, 4), np.uint8)  # nothing where no face is
    bins = np.clip((scores * BINS).astype(int), 0, BINS - 1)
    for label, colour in ((0, plots.REAL), (1, plots.FAKE)):
        for column in range(BINS):
            for k, i in enumerate(np.flatnonzero((labels == label) & (bins == column))):
                row = tall - 1 - k // WIDE if label else tall + k // WIDE
                y, x = row * side, (column * WIDE + k % WIDE) * side
                sheet[y : y + side, x : x + side] = (255 * np.array(matplotlib.colors.to_rgba(colour))).astype(np.uint8)
                sheet[y + 3 : y + side - 3, x + 3 : x + side - 3, :3] = pictures[i]
    axis.imshow(sheet, extent=(0, 1, -tall, tall), aspect="auto", interpolation="antialiased")
    axis.axhline(0, c="0.4", lw=1)
    axis.axvline(0.5, c="0.6", lw=1, ls=":")
    for name, place, colour in (("fakes", 0.9 * tall, plots.FAKE), ("reals", -0.9 * tall, plots.REAL)):
        axis.text(0.49, place, name, c=colour, ha="right", va="center")
    axis.set(xlim=(0, 1), ylim=(-tall, tall), yticks=[], xlabel="P(fake)")
    for name in ("left", "right", "top"):
        axis.spines[name].set_visible(False)


def _show(draw: Callable[..., "Figure"], **sliders: "FloatSlider") -> None:
    """Display the sliders above what `draw` makes of their values; for a reader without a kernel, the picture alone."""
    from IPython.display import display
    from ipywidgets import HBox, Image, VBox

    def picture() -> bytes:
        buffer = io.BytesIO()
        draw(**{name: slider.value for name, slider in sliders.items()}).savefig(buffer, format="png")
        return buffer.getvalue()

    image = Image(value=picture(), format="png")
    for slider in sliders.values():
        slider.continuous_update = False  # one pass when it is let go, not one a pixel
        slider.observe(lambda _: setattr(image, "value", picture()), "value")
    box = VBox([HBox(list(sliders.values())), image])
    still = {"image/png": base64.b64encode(image.value).decode(), "text/plain": f"sliders: {', '.join(sliders)}"}
    display({**box._repr_mimebundle_(), **still}, raw=True)
