"""What FPG's step costs, relative to a plain step on the same self-blended pairs. One run, one thread, the two in turn.

The plain step is cross-entropy on the plain detector of the same network: forward, backward, optimiser. FPG's is the
refinement, its detector and its loss with L_sim and quality, forward, backward, optimiser. Batches and pairs are the
same. Both networks are trained on the pairs for a few steps first: how often a fake is refined depends on how sure the
detector is. The second row is the worst case, in which magnitude is applied in every step and every fake that the
detector takes for one is due for a new shape.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.forge import portrait
from bench.measure import Row, one_thread
from dfrepro.forge.sbi import SelfBlend
from dfrepro.methods.fpg.detector import FPG, FPGLoss, build
from dfrepro.methods.fpg.quality import LaplacianQuality
from dfrepro.methods.fpg.refine import Refinement
from dfrepro.nets.detector import Backbone, build_detector
from dfrepro.nets.losses import CrossEntropy

ASKED = 2.2
SIZE, PAIRS = 64, 16
BACKBONE = Backbone("convnext_atto", SIZE, {"depths": (2, 2, 2, 2), "dims": (24, 48, 96, 192)})
WARM_UP, ROUNDS = 12, 14
Batch = dict[str, Any]


def bench() -> list[Row]:
    """What a step costs with every kind of refinement; asked: at most 2.2."""
    with one_thread():
        batches = [_pairs(seed) for seed in range(8)]
        worst = FPG(overlap=2.0, probability=1.0)
        return [
            _measure("S->M, unified", FPG(), batches),
            _measure("M->S, unified", FPG(order="M->S"), batches),
            _measure("S->M, Grad-CAM on 8 x 8 positions", FPG(positions=8), batches),
            _measure("worst case: all fakes due, magnitude in every step", worst, batches),
        ]


def _measure(name: str, variant: FPG, batches: list[Batch]) -> Row:
    faces = batches[0]["image"].permute(0, 2, 3, 1).numpy()
    generator = torch.Generator().manual_seed(0)
    plain = _stepper(build_detector(BACKBONE, seed=0), CrossEntropy(), None, generator)
    loss = variant.loss(LaplacianQuality.of_faces(faces))
    ours = _stepper(build(variant, BACKBONE, seed=0), loss, variant.refinement(), generator)
    for i in range(WARM_UP):
        plain(batches[i % len(batches)])
        ours(batches[i % len(batches)])
    spent: dict[str, list[float]] = {"plain": [], "ours": []}
    refined = []
    for i in range(ROUNDS):
        for key, step in (("plain", plain), ("ours", ours)):
            start = time.thread_time()
            parts = step(batches[i % len(batches)])
            spent[key].append(time.thread_time() - start)
        refined.append(float(parts["refined"]))
    floor, mean = (statistics.mean(spent[key]) for key in ("plain", "ours"))  # of the same rounds
    return Row(
        f"FPG's step, {name}",
        "a plain step on the same pairs",
        mean / floor,  # means, for a step with magnitude costs more than one without
        ASKED,
        less=True,
        detail=f"{1e3 * mean:.0f} against {1e3 * floor:.0f} ms for {PAIRS} pairs of {SIZE} px, "
        f"{statistics.mean(refined):.0%} of fakes refined",
    )


def _stepper(
    model: nn.Module, loss_fn: CrossEntropy | FPGLoss, refine: Refinement | None, generator: torch.Generator
) -> Callable[[Batch], dict[str, Tensor]]:
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.2)

    def step(batch: Batch) -> dict[str, Tensor]:
        batch = batch if refine is None else refine(model, batch, generator)
        loss, parts = loss_fn(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return parts

    return step


def _pairs(seed: int) -> Batch:
    """Self-blended pairs of one portrait: what a data set would hand over."""
    picture, points = portrait(80)
    rng = np.random.default_rng(seed)
    forge = SelfBlend(SIZE, margin=None, with_source=True)
    pairs = [forge(picture, points, rng) for _ in range(PAIRS)]
    pictures = np.stack([picture for pair in pairs for picture in (pair.real, pair.fake)])  # (B, S, S, 3)
    sources = np.stack([pair.source for pair in pairs for _ in range(2)])
    masks = np.stack([mask for pair in pairs for mask in (np.zeros_like(pair.mask), pair.mask * pair.ratio)])
    return {
        "image": torch.from_numpy(pictures).permute(0, 3, 1, 2),
        "source": torch.from_numpy(sources).permute(0, 3, 1, 2),
        "mask": torch.from_numpy(np.float32(masks)),
        "label": torch.tensor([0, 1] * PAIRS),
    }
