"""How the loss rises when shallow statistics move: what PIM says it flattens, measured (TIFS 2024, Eq. 10 and 11).

At a trained network, Δ = r γ / ‖γ‖ is the direction in which a small move of the channel statistics hurts most. To
first order L(Δ) = L(0) + r ‖γ‖; a network that is flat along Δ has a small ‖γ‖.

γ has two halves, of Δμ and of Δσ. Where every reader of a site's map is a convolution followed by batch norm, the first
is (nearly) zero in training mode: a constant a channel, the same for the whole batch, is what batch norm subtracts.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase

from dfrepro.nets.pim import PIM, step_along
from dfrepro.train.steps import norm_of, unmoved


def rise(
    detector: nn.Module, images: Tensor, labels: Tensor, radii: Sequence[float], *, seed: int = 0, random: int = 5
) -> pd.DataFrame:
    """The loss under Δ of norm r, along γ and along random directions, for each r.

    images (B, 3, S, S) as stored, labels (B,) int. Returns one row an r: r, gradient (the loss along γ), linear
    (Eq. 11's L(0) + r ‖γ‖), random (the mean over `random` directions of that norm). The network is left as it was.
    """
    training = detector.training
    detector.eval()
    try:
        with PIM(detector) as pim:
            gamma, start = gammas(pim, detector, images, labels)
            directions = [gamma, *_random_like(gamma, random, seed)]
            losses = np.array([[_loss(pim, detector, images, labels, d, r) for d in directions] for r in radii])
    finally:
        detector.train(training)
    linear = start + np.asarray(radii) * float(norm_of(gamma))
    return pd.DataFrame({"r": radii, "gradient": losses[:, 0], "linear": linear, "random": losses[:, 1:].mean(1)})


def halves(detector: nn.Module, images: Tensor, labels: Tensor) -> pd.DataFrame:
    """The two halves of γ at each default site and together ("all"), in training mode and in evaluation mode.

    images (B, 3, S, S) as stored, labels (B,) int. Columns: mode, site, mu (‖γ_μ‖), sigma (‖γ_σ‖), mu_share, which is
    ‖γ_μ‖² / ‖γ‖² and so ‖Δμ‖² / ‖Δ‖². Mode, weights and running statistics are left as they were.
    """
    training, lines = detector.training, []
    norms = [module for module in detector.modules() if isinstance(module, _NormBase)]
    try:
        for mode in ("training", "evaluation"):
            detector.train(mode == "training")
            with torch.random.fork_rng(), unmoved(norms), PIM(detector) as pim:
                gamma, _ = gammas(pim, detector, images, labels)
                parts = {site.name: [part] for site, part in zip(pim.sites, gamma)} | {"all": gamma}
            for site, found in parts.items():
                mu, sigma = (float(norm_of([part[half] for part in found])) for half in (0, 1))
                share = mu**2 / (mu**2 + sigma**2) if mu or sigma else float("nan")
                lines.append({"mode": mode, "site": site, "mu": mu, "sigma": sigma, "mu_share": share})
    finally:
        detector.train(training)
    return pd.DataFrame(lines)


def gammas(pim: PIM, detector: nn.Module, images: Tensor, labels: Tensor) -> tuple[list[Tensor], float]:
    """γ = ∂L/∂Δ at Δ = 0, (2, C) a site of `pim`, and the loss there."""
    with torch.enable_grad(), pim.recording():
        loss = functional.cross_entropy(detector(images).logits, labels)
        grads = torch.autograd.grad(loss, pim.leaves())
    return [grad.detach() for grad in grads], loss.item()


def _loss(pim: PIM, detector: nn.Module, images: Tensor, labels: Tensor, direction: list[Tensor], r: float) -> float:
    with torch.no_grad(), pim.shifted(step_along(direction, r)):
        return functional.cross_entropy(detector(images).logits, labels).item()


def _random_like(gammas: list[Tensor], count: int, seed: int) -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        [torch.randn(g.shape, generator=generator, dtype=g.dtype).to(g.device) for g in gammas] for _ in range(count)
    ]
