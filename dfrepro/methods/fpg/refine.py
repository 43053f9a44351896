"""FPG's refinement: self-blended fakes are changed to what the detector, as it stands, still has to learn.

The two refinements (what FPG's public code does; the supplement gives Eq. 1 and the orders of Table 1).
A fake is x_f = M s + (1 − M) x_r + d, with M in [0, 1] the mask, s the picture blended in, x_r the real and d all that
happened after the blending (JPEG, rounding). With the detector in evaluation mode:

- shape, S: P is where Grad-CAM for "fake" exceeds the mean of its positive values. Where P covers less than t = .2 of
  the mask's support and p(fake) > .5, with probability p(fake): M′ = soften(erode(support minus P)),
  x_f ← (1 − M′) x_r + M′ x_f, M ← M′. What is perceived becomes real again, so the rest has to be learnt.
- magnitude, Mg: G = ∂CE/∂x_f ⊙ (s − x_r), the gradient of the mask's opacity; z = ±1 its sign, one a sample or one a
  pixel; M ← clip(M (1 + ε z)), x_f ← clip(M s + (1 − M) x_r + d). With d carried along, ε = 0 changes nothing.

Cost. S is a forward pass of the fakes; Mg needs its backward pass down to the pixels as well. In evaluation mode images
do not see each other, so behind S, Mg reuses S's forward pass for every fake that S left alone: that is exact. The
training step's own forward pass is of no use: it is in training mode (batch statistics, dropout), and it sees the
refined fakes, which do not exist before.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfrepro.errors import WorkbookError
from dfrepro.methods.fpg.fakes import FAKE, Draws, Fakes, pair_up, soften
from dfrepro.nets.layout import layout_of, stage_maps

Order = Literal["S->M", "M->S", "S", "M"]
Perturbation = Literal["unified", "discrete", "random"]
ORDERS: tuple[str, ...] = ("S->M", "M->S", "S", "M")
PERTURBATIONS: tuple[str, ...] = ("unified", "discrete", "random")


@dataclass(frozen=True)
class Refinement:
    """The refinement as a hook of the training loop: `refined = refinement(model, batch, generator)`, once a step.

    order: Table 1's, or one refinement alone. perturbation: one sign a sample by majority ("unified"), Eq. 1's sign a
    pixel ("discrete"), or a random sign a sample (a control of ours). overlap: t. eps, probability: of Mg, whether it
    is applied being one draw a batch. positions: Grad-CAM's layer is the deepest stage whose map has at least so many a
    side; 1 is the last one, as in the code. A small network on small faces ends in 2 x 2 positions, which is no region.
    """

    order: Order = "S->M"
    perturbation: Perturbation = "unified"
    overlap: float = 0.2
    eps: float = 0.01
    probability: float = 0.5
    positions: int = 1

    def __post_init__(self) -> None:
        if self.order not in ORDERS or self.perturbation not in PERTURBATIONS:
            raise WorkbookError(
                f"order is {self.order!r} and perturbation is {self.perturbation!r}",
                where="FPG's refinement",
                remedy=f"Orders: {', '.join(ORDERS)}; perturbations: {', '.join(PERTURBATIONS)}",
            )
        if not (0 <= self.eps <= 1 and 0 <= self.probability <= 1 and self.overlap >= 0):
            raise WorkbookError(
                f"eps is {self.eps}, probability {self.probability}, overlap {self.overlap}",
                where="FPG's refinement",
                remedy="eps and probability lie in [0, 1], overlap is not negative",
            )

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], generator: torch.Generator) -> dict[str, Any]:
        """The batch with its fakes refined, detached; the network, its gradients and statistics stay as they are.

        batch: `image` (B, 3, S, S) in [0, 255] and `label` (B,), pairs as `pair_up` reads them; `mask` (B, S, S), uint8
        or float in [0, 1], of which the fakes' rows count; where it is there `ratio` (B,), the blend's opacity, and
        `source` (B, 3, S, S), s under the same transforms as the pair (else see `estimated_source`).
        Returned: `image` float32 (a refinement is finer than a grey level), `mask` float32 times `ratio`, which becomes
        1, and two flags (B,) of float32: `refined`, S changed the shape; `emptied`, S was due but erosion left nothing,
        so it was skipped. All draws come from `generator`, the same number of them whatever the variant.
        """
        pairs = pair_up(batch)
        before = Fakes.of(batch, pairs)
        draws = Draws.of(generator, len(before.image), self.probability).to(before.image.device)
        with evaluating(model) as network:
            after = self._refine(network, before, draws)
        return after.back_into(batch, pairs)

    def _refine(self, network: nn.Module, fakes: "Fakes", draws: "Draws") -> "Fakes":
        """The refinements in turn. What S saw is kept for Mg, with the rows of which it still holds."""
        magnitude = draws.applied and "M" in self.order
        shared = magnitude and self.order == "S->M" and self.perturbation != "random"
        seen = None
        for part in self.order.split("->"):
            if part == "S":
                seen = look(network, fakes.image, shared, self.positions)
                fakes = self.shape(seen, fakes, draws)
            elif magnitude:
                fakes = perturbed(fakes, self._signs(network, fakes, seen, draws), self.eps)
        return fakes

    # --- S --------------------------------------------------------------------------------------------------------

    def shape(self, seen: "Seen", fakes: "Fakes", draws: "Draws") -> "Fakes":
        """Return the perceived part of each fake to real, where it is due."""
        support = fakes.mask > 0  # (b, S, S)
        p_fake = seen.logits.float().softmax(1)[:, FAKE]  # (b,)
        region = perceived(grad_cam(seen), fakes.mask.shape[-1])  # (b, S, S)
        covered = (region & support).sum((1, 2)) / support.sum((1, 2)).clamp_min(1)
        due = (covered < self.overlap) & (p_fake > 0.5) & (draws.uniform < p_fake)
        soft, filled = soften(support & ~region, draws.kernels)
        refined = (due & filled)[:, None, None]
        blended = torch.lerp(fakes.real, fakes.image, soft[:, None])
        return replace(
            fakes,
            image=torch.where(refined[:, None], blended, fakes.image),
            mask=torch.where(refined, soft, fakes.mask),
            refined=due & filled,
            emptied=due & ~filled,
        )

    # --- Mg -------------------------------------------------------------------------------------------------------

    def _signs(self, network: nn.Module, fakes: "Fakes", seen: "Seen | None", draws: "Draws") -> Tensor:
        """z: (b, 1, 1), or (b, S, S) where every pixel has its own."""
        if self.perturbation == "random":
            return draws.signs[:, None, None]
        slopes = pixel_slopes(network, fakes, seen)
        return signs_of(mask_gradient(slopes, fakes), unified=self.perturbation == "unified")


def mask_gradient(slopes: Tensor, fakes: "Fakes") -> Tensor:
    """G = ∂CE/∂x_f ⊙ (s − x_r), (b, 3, S, S). Outside the mask's support, which Mg cannot leave, it is 0: no vote."""
    return slopes * (fakes.source - fakes.real) * (fakes.mask > 0)[:, None]


def signs_of(gradient: Tensor, unified: bool) -> Tensor:
    """±1 where G (b, 3, S, S) raises the loss; ties are −1, as Eq. 1's "otherwise".

    Unified: the majority of pixels and channels, (b, 1, 1). Discrete: ∂CE/∂M of each pixel, which is G's sum over
    channels, (b, S, S).
    """
    if unified:
        up, down = ((gradient > 0).sum((1, 2, 3)), (gradient < 0).sum((1, 2, 3)))
        raises = (up > down)[:, None, None]
    else:
        raises = gradient.sum(1) > 0
    return 2.0 * raises - 1


def perturbed(fakes: "Fakes", signs: Tensor, eps: float) -> "Fakes":
    """M ← clip(M (1 + ε z)), and the fake with it.

    M′ s + (1 − M′) x_r + d with d = x_f − M s − (1 − M) x_r, written as the change of x_f: ε = 0 changes no bit.
    """
    mask = (fakes.mask * (1 + eps * signs)).clamp(0, 1)  # (b, S, S)
    change = (mask - fakes.mask)[:, None] * (fakes.source - fakes.real)
    return replace(fakes, image=(fakes.image + change).clamp(0, 255), mask=mask)


def pixel_slopes(network: nn.Module, fakes: "Fakes", seen: "Seen | None") -> Tensor:
    """∂CE/∂x_f, (b, 3, S, S). From `seen`, S's forward pass, for the fakes that S left alone; anew for the others."""
    if seen is None:
        return look(network, fakes.image, pixels=True).slopes()
    stale = fakes.refined
    if not stale.any():
        return seen.slopes()
    anew = look(network, fakes.image[stale], pixels=True).slopes()
    if stale.all():
        return anew
    return seen.slopes().index_put((stale,), anew)


# --- what the detector sees ---------------------------------------------------------------------------------------


class Seen(NamedTuple):
    """One forward pass of fakes, with its graph."""

    image: Tensor  # (b, 3, S, S), a leaf
    logits: Tensor  # (b, 2)
    maps: Tensor  # of Grad-CAM's layer, as the network lays them out
    as_map: Callable[[Tensor], Tensor]  # to (b, C, h, w)

    def slopes(self) -> Tensor:
        """∂CE/∂image of each fake's own cross-entropy."""
        labels = torch.full((len(self.logits),), FAKE, device=self.logits.device)
        loss = functional.cross_entropy(self.logits.float(), labels, reduction="sum")
        return torch.autograd.grad(loss, self.image)[0]


def look(network: nn.Module, images: Tensor, pixels: bool, positions: int = 1) -> Seen:
    """Run the network on (b, 3, S, S); `pixels`: the graph reaches down to them, and outlives Grad-CAM."""
    leaf = images.detach().requires_grad_(pixels)
    as_map = layout_of(network).as_map
    backbone: Any = getattr(network, "backbone", network)
    nothing: list[Tensor] = []
    with torch.enable_grad(), stage_maps(backbone) if positions > 1 else nullcontext(nothing) as stages:
        output = network(leaf)
    deep_first = (output.maps, *reversed(stages))
    maps = next((maps for maps in deep_first if min(as_map(maps).shape[2:]) >= positions), output.maps)
    return Seen(leaf, output.logits, maps, as_map)


def grad_cam(seen: Seen) -> Tensor:
    """Grad-CAM for "fake" at the layer seen (Selvaraju et al., ICCV 2017): (b, h, w), not negative, not rescaled."""
    (slopes,) = torch.autograd.grad(seen.logits[:, FAKE].sum(), seen.maps, retain_graph=seen.image.requires_grad)
    maps, slopes = seen.as_map(seen.maps.detach()).float(), seen.as_map(slopes).float()  # (b, C, h, w)
    return (slopes.mean((2, 3), keepdim=True) * maps).sum(1).clamp_min(0)


def perceived(cam: Tensor, size: int) -> Tensor:
    """P: where the map (b, h, w), brought to `size`, exceeds the mean of its positive values: (b, size, size) bool."""
    cam = functional.interpolate(cam[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]
    positive = (cam > 0).sum((1, 2), keepdim=True)
    return cam > cam.sum((1, 2), keepdim=True) / positive.clamp_min(1)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """The network inside `model`, in evaluation mode; after it, or an error, every module is in the mode it was in.

    Without Fabric's wrapping, for under DistributedDataParallel a forward pass announces a backward pass of the
    weights, which never comes; with Fabric's precision.
    """
    network: nn.Module = getattr(model, "module", model)
    was_training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        with _precision(model):
            yield network
    finally:
        for module in was_training:
            module.training = True


def _precision(model: nn.Module) -> AbstractContextManager[Any]:
    strategy = getattr(model, "_strategy", None)
    return nullcontext() if strategy is None else strategy.precision.forward_context()
