"""One step rule: ERM, PIM, SAM and DualFlat are weights of the same object.

Guan et al., TIFS 2024, Alg. 1 and Eq. 14 (PIM, DualFlat); Foret et al., ICLR 2021 (SAM):

    g  = (1 − α − β) g1 + α g2 + β g3
    g1 = ∇L(θ)                          the plain gradient
    g2 = ∇L(θ) with Δ injected          Δ = r γ / ‖γ‖, see `dfrepro.nets.pim`
    g3 = ∇L(θ + r′ g1 / ‖g1‖)           with Δ = 0

ERM is α = β = 0, PIM α = 1, SAM β = 1. A term of weight zero is computed only where a later one needs it; PIM alone
needs γ from its first pass and no gradient of a weight. All evaluations of a step see the same dropout and drop-path
draws, and batch-norm's running statistics move in the first alone. γ and the norms are float32 at least and belong to
the joint batch: micro-batches and ranks are averaged before Δ and the ascent are taken.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from dfrepro import settings
from dfrepro.nets.pim import PIM, sites_of, step_along
from dfrepro.nets.trunk import Trunk, generators, set_generators
from dfrepro.settings import CHECKED, ROUNDING

Batch = Mapping[str, Any]  # of tensors (B, ...): "image", "label", whatever the loss reads
Loss = Callable[[nn.Module, Batch], tuple[Tensor, Mapping[str, Tensor]]]  # -> the loss, and its parts for the history
TINY_NORM = 1e-12  # no gradient, no ascent


@dataclass(frozen=True, config=CHECKED)
class StepRule(settings.Step):
    """The weights of Eq. 14, as a run declares them, and what follows from them. `seed`: of a random direction."""

    seed: int = 0

    @property
    def plain(self) -> float:
        """The weight of g1."""
        weight = 1 - self.alpha - self.beta
        return weight if weight > ROUNDING else 0.0

    def deltas(self, gammas: Sequence[Tensor], index: int) -> list[Tensor]:
        """Δ of every site, from γ of every site, at the step called `index`."""
        if self.direction == "random":
            rng = np.random.default_rng([self.seed, index])  # the same on every rank
            gammas = [torch.from_numpy(rng.standard_normal(gamma.shape)).to(gamma) for gamma in gammas]
        return step_along(gammas, self.r, self.per_site)


class Step:
    """A step rule on a network: each call leaves g in the parameters' `.grad`. A context manager (it attaches PIM).

    `model` comes from `fabric.setup`. Where it is compiled, make the step before the first call: PIM's hooks are
    part of what is compiled; and set `reuse` to False, which else computes what lies before the first site once.
    """

    def __init__(self, rule: StepRule, fabric: Fabric, model: nn.Module, reuse: bool = True):
        self.rule, self.fabric, self.model = rule, fabric, model
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        network: nn.Module = model.module  # type: ignore[assignment]  # without Fabric's and DDP's wrapping
        self.norms: list[_NormBase] = [module for module in network.modules() if isinstance(module, _NormBase)]
        self.trunk = Trunk(network, sites_of(network, rule.sites)) if rule.alpha and reuse else None
        self.pim = PIM(network, rule.sites) if rule.alpha else None
        self._moving: list[nn.Parameter] = []  # those that have a gradient
        self._there: list[Tensor] = []  # where SAM takes them

    def __enter__(self) -> "Step":
        return self

    def __exit__(self, *_: object) -> None:
        if self.pim is not None:
            self.pim.remove()
        if self.trunk is not None:
            self.trunk.remove()

    def __call__(self, loss_fn: Loss, batches: Sequence[Batch], index: int = 0) -> dict[str, Tensor]:
        """Compute g on `batches`, micro-batches of one step and of equal size; return what is worth logging.

        `loss_fn` is called several times and must be a function of the network, the batch and torch's own generators.
        The values returned are detached 0-dim tensors: the loss and its parts at θ, and for PIM ‖γ‖ and what
        `PIM.strength` says of Δ. Nothing waits for the device. On one rank they are that rank's.
        """
        rule = self.rule
        for parameter in self.parameters:
            parameter.grad = None
        draws: list[list[Tensor]] = []
        stats = self._first(loss_fn, batches, draws)
        deltas = []
        if self.pim is not None:
            gammas = self._joint(self.pim.gammas())
            deltas = rule.deltas(gammas, index)
            stats |= self._describe(gammas, deltas)
        climbed = self._climbed() if rule.beta else []
        self._weigh(rule.plain)
        if self.pim is not None:
            with self.pim.shifted(deltas), self._trunk_kept():
                self._again(loss_fn, batches, draws, rule.alpha, last=not rule.beta)
        if rule.beta:
            with self._at(climbed):
                self._again(loss_fn, batches, draws, rule.beta, last=True)
        return stats

    # --- the evaluations ----------------------------------------------------------------------------------------

    def _first(self, loss_fn: Loss, batches: Sequence[Batch], draws: list[list[Tensor]]) -> dict[str, Tensor]:
        """At θ and Δ = 0. Leaves g1 in `.grad` where it is needed, γ in the module where it is."""
        rule = self.rule
        needs_g1 = bool(rule.plain or rule.beta)
        needs_sync = bool(rule.beta) or not rule.alpha  # SAM's norm needs the joint g1; else only the last pass' sum
        logged: list[dict[str, Tensor]] = []
        with self.pim.recording() if self.pim is not None else nullcontext():
            for i, batch in enumerate(batches):
                draws.append(generators(self.fabric.device) if rule.alpha or rule.beta else [])
                with self._sync(needs_sync and i == len(batches) - 1):
                    with self._keep_trunk(len(batches)):
                        loss, parts = loss_fn(self.model, batch)
                    self._backward(loss, 1 / len(batches), weights=needs_g1, again=needs_g1 and self._is_kept)
                logged.append({"loss": loss.detach(), **{name: part.detach() for name, part in parts.items()}})
        return {name: torch.stack([values[name] for values in logged]).mean() for name in logged[0]}

    def _again(
        self, loss_fn: Loss, batches: Sequence[Batch], draws: list[list[Tensor]], weight: float, last: bool
    ) -> None:
        """Add `weight` times the gradient at the present point to `.grad`, with the draws of the first evaluation."""
        with unmoved(self.norms):
            for i, (batch, draw) in enumerate(zip(batches, draws, strict=True)):
                set_generators(draw, self.fabric.device)
                with self._sync(last and i == len(batches) - 1):
                    loss, _ = loss_fn(self.model, batch)
                    self._backward(loss, weight / len(batches), weights=True)

    def _backward(self, loss: Tensor, weight: float, weights: bool, again: bool = False) -> None:
        """Backward into every leaf or, unless `weights`, into Δ alone: then no gradient of a weight is computed.

        `again`: a part of the graph, the trunk, will be gone through once more.
        """
        only: dict[str, Any] = {} if weights else {"inputs": self.pim.leaves() if self.pim is not None else []}
        self.fabric.backward(loss if weight == 1 else loss * weight, retain_graph=again, **only)

    @property
    def _is_kept(self) -> bool:
        return self.trunk is not None and self.trunk.kept

    def _keep_trunk(self, n_batches: int) -> AbstractContextManager[None]:
        """Of several micro-batches nothing is kept: the memory for one is what they are there to save."""
        return self.trunk.recording() if self.trunk is not None and n_batches == 1 else nullcontext()

    def _trunk_kept(self) -> AbstractContextManager[None]:
        return self.trunk.replayed() if self.trunk is not None and self.trunk.kept else nullcontext()

    def _sync(self, wanted: bool) -> AbstractContextManager[Any]:
        return self.fabric.no_backward_sync(self.model, enabled=not wanted)  # type: ignore[arg-type]

    # --- the arithmetic between them ----------------------------------------------------------------------------

    def _joint(self, gammas: Sequence[Tensor]) -> list[Tensor]:
        """γ averaged over ranks: then Δ is that of the joint batch."""
        if self.fabric.world_size == 1:
            return [gamma.detach() for gamma in gammas]
        together = torch.cat([gamma.flatten() for gamma in gammas])
        flat: Tensor = self.fabric.all_reduce(together, reduce_op="mean")  # type: ignore[assignment]
        parts = flat.split([gamma.numel() for gamma in gammas])
        return [part.view_as(gamma) for part, gamma in zip(parts, gammas)]

    @torch.no_grad()
    def _climbed(self) -> list[Tensor]:
        """θ + r′ g1 / ‖g1‖, one tensor a parameter that has a gradient; memory that is kept from step to step."""
        grads = self._gradients()
        scale = self.rule.r_prime / (norm_of(grads) + TINY_NORM)
        if [p.shape for p in self._moving] != [there.shape for there in self._there]:
            self._there = [torch.empty_like(parameter) for parameter in self._moving]
        torch._foreach_copy_(self._there, grads)
        torch._foreach_mul_(self._there, scale)
        torch._foreach_add_(self._there, [parameter.data for parameter in self._moving])
        return self._there

    @torch.no_grad()
    def _weigh(self, weight: float) -> None:
        """Multiply g1 by its weight."""
        if weight == 1:
            return
        if weight == 0:
            for parameter in self.parameters:
                parameter.grad = None
        elif grads := self._gradients():
            torch._foreach_mul_(grads, weight)

    @contextmanager
    def _at(self, there: list[Tensor]) -> Iterator[None]:
        """The weights are `there` inside; after it, the very tensors of before."""
        here = [parameter.data for parameter in self._moving]
        for parameter, elsewhere in zip(self._moving, there):
            parameter.data = elsewhere
        try:
            yield
        finally:
            for parameter, was in zip(self._moving, here):
                parameter.data = was

    def _gradients(self) -> list[Tensor]:
        self._moving = [parameter for parameter in self.parameters if parameter.grad is not None]
        return [parameter.grad for parameter in self._moving if parameter.grad is not None]

    def _describe(self, gammas: Sequence[Tensor], deltas: Sequence[Tensor]) -> dict[str, Tensor]:
        assert self.pim is not None
        return {"gamma": norm_of(gammas) / self._loss_scale(), **self.pim.strength(deltas)}

    def _loss_scale(self) -> Tensor:
        """What float16's gradient scaler multiplies the loss by; Δ and the ascent are directions and do not need it."""
        scaler = getattr(self.fabric.strategy.precision, "scaler", None)
        one = torch.ones((), device=self.fabric.device)
        return one if scaler is None else scaler.scale(one)


def norm_of(tensors: Sequence[Tensor]) -> Tensor:
    """The joint L2 norm of all tensors, in float32 at least."""
    wide = [tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for tensor in tensors]
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(wide)))


@contextmanager
def unmoved(norms: Sequence[_NormBase]) -> Iterator[None]:
    """Batch-norm normalises by the batch as ever and leaves its running statistics alone."""
    tracking = [bool(norm.track_running_stats) for norm in norms]
    for norm in norms:
        norm.track_running_stats = bool(norm.track_running_stats) and not norm.training
    try:
        yield
    finally:
        for norm, was in zip(norms, tracking):
            norm.track_running_stats = was
