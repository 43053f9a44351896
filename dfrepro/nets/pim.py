"""PIM, the perturbation injection module: shallow features' statistics are moved along the loss' gradient.

Guan, Wang, Dong, Peng, "Improving Generalization of Deepfake Detectors by Imposing Gradient Regularization", TIFS 2024,
Sec. III-C and III-D, Eq. 6-9. The step that uses it (Alg. 1, and DualFlat) is `dfrepro.train.steps`.

At a site with features h, with μ and σ the mean and standard deviation of one channel of one image over its positions,

    n      = (h − μ) / σ                        (Eq. 6)
    PIM(h) = n ⊙ (σ + Δσ) + (μ + Δμ)            (Eq. 7)   with Δμ, Δσ (C,) shared by the whole batch
    Δ      = r γ / ‖γ‖,   γ = ∂L / ∂(Δμ, Δσ) at Δ = 0    (Eq. 9), the norm taken over all sites and both statistics

γ is the gradient with respect to *zero tensors that are added*. The gradient with respect to μ and σ themselves is
another thing, and zero: they also stand in n, where they cancel. A public re-implementation has that fault.

The sites are named modules; hooks on them are attached and removed without touching the network. The paper calls σ the
variance and divides by it (Eq. 6), so it is the standard deviation.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from dfrepro.errors import WorkbookError
from dfrepro.nets.layout import layout_of

EPS = 1e-6  # under the root of σ: a dead channel has σ = 1e-3, not 0
TINY = 1e-24  # under the root of ‖γ‖: no gradient, no perturbation


# --- where: sites, and the statistics of what passes there --------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """A module whose output is a feature map, and how that map is laid out.

    `axes`: the positions' axes, (2, 3) for (B, C, H, W), (1, 2) for (B, H, W, C), (1,) for tokens (B, N, C).
    `prefix`: how many leading tokens are no positions (class token, registers); they pass unchanged.
    """

    name: str
    module: nn.Module
    channels_last: bool
    prefix: int

    def axes(self, h: Tensor) -> tuple[int, ...]:
        if h.ndim == 3:
            return (1,)
        if h.ndim != 4:
            raise WorkbookError(f"its output has {h.ndim} axes", where=self.name, remedy="Name a module with a map")
        return (1, 2) if self.channels_last else (2, 3)

    def statistics(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """μ and σ of every channel of every image, in float32 at least, with the positions' axes kept as 1."""
        axes = self.axes(h)
        mu = h.mean(axes, keepdim=True)
        return mu, (h - mu).square().mean(axes, keepdim=True).add(EPS).sqrt()

    def channels(self, h: Tensor) -> tuple[int, ...]:
        """The shape in which (C,) numbers meet `h`."""
        return (1, -1, 1, 1) if self.axes(h) == (2, 3) else (1,) * (h.ndim - 1) + (-1,)


def sites_of(model: nn.Module, names: Sequence[str] = ()) -> tuple[Site, ...]:
    """The modules called `names`, or the default: after each block of the network's first stage (Sec. III-C)."""
    return tuple(_site(model, name) for name in (names or default_sites(model)))


def default_sites(model: nn.Module) -> tuple[str, ...]:
    """Names of the modules after which the paper perturbs, found by how timm builds its families.

    ConvNeXt and its kin: every block of `stages.0`; ResNet: of `layer1`; Swin: of `layers.0`; EfficientNet: its first
    two stages, and Xception: its first two blocks (our reading); ViT, which has no stages: its first three blocks.
    Raises WorkbookError for a network built otherwise: name its sites.
    """
    for prefix, net in model.named_modules():
        names = _first_stage(net)
        if names:
            return tuple(f"{prefix}.{name}".lstrip(".") for name in names)
    raise WorkbookError(
        f"{type(model).__name__} is built unlike the known families", remedy="Name the sites of PIM (sites=...)"
    )


def _first_stage(net: nn.Module) -> list[str]:
    children = dict(net.named_children())
    for name in ("stages", "layers"):
        stages = children.get(name)
        if _items(stages):
            return _blocks(stages[0], f"{name}.0")
    if "layer1" in children:
        return _blocks(children["layer1"], "layer1")
    if {"block1", "block2", "block12"} <= children.keys():
        return ["block1", "block2"]
    blocks = children.get("blocks")
    if _items(blocks):
        nested = isinstance(blocks[0], nn.Sequential)  # EfficientNet's stages, or ViT's blocks
        return [f"blocks.{i}" for i in range(2 if nested else 3)][: len(blocks)]
    return []


def _blocks(stage: nn.Module, name: str) -> list[str]:
    for inner, blocks in (("blocks.", getattr(stage, "blocks", None)), ("", stage)):
        if _items(blocks):
            return [f"{name}.{inner}{child}" for child, _ in blocks.named_children()]
    return [name]


def _items(modules: nn.Module | None) -> TypeGuard[nn.Sequential | nn.ModuleList]:
    return isinstance(modules, nn.Sequential | nn.ModuleList) and len(modules) > 0


def _site(model: nn.Module, name: str) -> Site:
    try:
        module = model.get_submodule(name)
    except AttributeError:
        raise WorkbookError(f"the network has no module {name!r}", remedy="See `model.named_modules()`") from None
    layout = layout_of(model, name)
    return Site(name, module, layout.channels_last, layout.prefix)


class SiteHooks:
    """Replaces h by `transform(i, site, h)` after every site i, until `remove()`.

    h comes in float32 at least, without prefix tokens; None means unchanged. Removed, the network is what it was.
    """

    def __init__(self, sites: Sequence[Site], transform: Callable[[int, Site, Tensor], Tensor | None]):
        self.sites, self.transform = tuple(sites), transform
        self._handles = [site.module.register_forward_hook(self._hook(i, site)) for i, site in enumerate(self.sites)]

    def remove(self) -> None:
        while self._handles:
            self._handles.pop().remove()

    def _hook(self, i: int, site: Site) -> Callable[[nn.Module, Any, Any], Tensor | None]:
        @torch.compiler.disable  # the transform keeps state between passes: a compiled graph must stop here
        def hook(module: nn.Module, inputs: Any, output: Any) -> Tensor | None:
            if not isinstance(output, Tensor):
                raise WorkbookError(f"its output is a {type(output).__name__}", where=site.name, remedy="Name another")
            return self._apply(i, site, output)

        return hook

    def _apply(self, i: int, site: Site, output: Tensor) -> Tensor | None:
        prefix = site.prefix if output.ndim == 3 else 0
        h = output[:, prefix:] if prefix else output
        with torch.autocast(h.device.type, enabled=False):
            shifted = self.transform(i, site, h.to(torch.promote_types(h.dtype, torch.float32)))
        if shifted is None:
            return None
        shifted = shifted.to(output.dtype)
        return torch.cat([output[:, :prefix], shifted], dim=1) if prefix else shifted


# --- what: Eq. 6 to 9 ---------------------------------------------------------------------------------------------


class Injection(torch.autograd.Function):
    """Eq. 6 and 7, n (σ + Δσ) + (μ + Δμ), as h a + b with a = (σ + Δσ) / σ and b = μ + Δμ − μ a.

    Differentiable in h, where μ and σ are functions of h, and in Δ; the gradients are written out because what autograd
    makes of the same lines reads and writes the map three times as often. Once differentiable.
    σ + Δσ is kept from going below zero, which would turn the texture's sign (papers/pim/DEVIATIONS.md).
    `mu`, `sigma`, `delta_mu`, `delta_sigma` broadcast to h (B, C, H, W); `axes` are those of the positions.
    """

    @staticmethod
    def forward(
        ctx: Any, h: Tensor, delta_mu: Tensor, delta_sigma: Tensor, mu: Tensor, sigma: Tensor, axes: tuple[int, ...]
    ) -> Tensor:
        a = (sigma + delta_sigma).clamp_min(0) / sigma  # (B, C, 1, 1)
        b = (mu + delta_mu) - mu * a  # (B, C, 1, 1)
        ctx.save_for_backward(h, mu, sigma, delta_sigma, a)
        ctx.axes = axes
        return h.mul(a).add_(b)

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        h, mu, sigma, delta_sigma, a = ctx.saved_tensors
        of_mu = g.sum(ctx.axes, keepdim=True)  # Σ g, (B, C, 1, 1)
        of_sigma = ((g * h).sum(ctx.axes, keepdim=True) - mu * of_mu) / sigma  # Σ g n, (B, C, 1, 1)
        of_sigma = of_sigma * (sigma + delta_sigma > 0)  # where it is clamped, σ has no say
        if ctx.needs_input_grad[1]:  # the pass at Δ = 0: a is 1, and the map's gradient passes
            return g, of_mu.sum_to_size(delta_sigma.shape), of_sigma.sum_to_size(delta_sigma.shape), None, None, None
        share = (1 - a) / (h.numel() // of_mu.numel())  # ∂b/∂μ and −∂a/∂ln σ, a position
        slope = share * of_sigma / sigma
        return g.mul(a).addcmul_(h, slope).add_(share * of_mu - mu * slope), None, None, None, None, None


def inject(site: Site, h: Tensor, delta: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    """PIM(h), Eq. 7, for `delta` (2, C): Δμ and Δσ, either constants or zeros that take a gradient.

    `mu`, `sigma`: `site.statistics(h)`, as numbers; that they depend on h, the gradient knows.
    """
    delta_mu, delta_sigma = (part.view(site.channels(h)) for part in delta)
    return Injection.apply(h, delta_mu, delta_sigma, mu, sigma, site.axes(h))  # type: ignore[no-any-return]


def step_along(gammas: Sequence[Tensor], r: float, per_site: bool = False) -> list[Tensor]:
    """Eq. 9: Δ = r γ / ‖γ‖, for `gammas` (2, C) a site. The norm is joint over the sites, or each site's own."""
    squares = torch.stack([gamma.square().sum() for gamma in gammas])  # (sites,)
    norms = (squares if per_site else squares.sum().expand_as(squares)).add(TINY).sqrt()
    return [gamma * (r / norm) for gamma, norm in zip(gammas, norms)]


class PIM:
    """Perturbation injection at the sites of a network. A context manager; outside it the network is untouched.

    Idle it does nothing. Inside `recording()` Δ are zero leaves, through which a backward pass leaves γ in `gammas()`;
    inside `shifted(deltas)` they are the given constants.
    """

    def __init__(self, model: nn.Module, sites: Sequence[str] = ()):
        self.sites = sites_of(model, sites)
        self._deltas: list[Tensor | None] = [None] * len(self.sites)  # (2, C) a site
        self._sigmas: list[Tensor | None] = [None] * len(self.sites)  # (2, C) a site: mean and least over the batch
        self._mode = ""
        self._hooks = SiteHooks(self.sites, self._transform)

    def __enter__(self) -> "PIM":
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        self._hooks.remove()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Δ = 0, as leaves. Within one context, backward passes of several micro-batches add up in γ."""
        self._deltas, self._sigmas = [None] * len(self.sites), [None] * len(self.sites)
        with self._in("record"):
            yield

    @contextmanager
    def shifted(self, deltas: Sequence[Tensor]) -> Iterator[None]:
        """Δ = `deltas` ((2, C) a site: Δμ, Δσ), constants."""
        self._deltas = [delta.detach() for delta in deltas]
        with self._in("shift"):
            yield

    def leaves(self) -> list[Tensor]:
        """The zero tensors Δ of the forward passes recorded so far, (2, C) a site."""
        missing = [site.name for site, delta in zip(self.sites, self._deltas) if delta is None]
        if missing:
            raise WorkbookError(f"the forward pass never reached the sites {', '.join(missing)}")
        return [delta for delta in self._deltas if delta is not None]

    def gammas(self) -> list[Tensor]:
        """γ = ∂L/∂Δ left by the backward passes, (2, C) a site."""
        return [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in self.leaves()]

    def strength(self, deltas: Sequence[Tensor]) -> dict[str, Tensor]:
        """How strong Δ is, and in which of its halves.

        `mu_share`: ‖Δμ‖² / ‖Δ‖², 0 where a shared Δμ cancels (batch norm follows) and Δ is all Δσ; `sigma_norm`: ‖Δσ‖;
        `delta_sigma`: the mean of |Δσ| / σ; `sigma_min`: the least σ + Δσ (below 0: clamped).
        """
        pairs = [(delta[1], sigma) for delta, sigma in zip(deltas, self._sigmas) if sigma is not None]
        relative = torch.cat([delta.abs() / sigma[0] for delta, sigma in pairs])
        least = torch.cat([sigma[1] + delta for delta, sigma in pairs])
        mu, sigma = torch.stack([delta.square().sum(1) for delta in deltas]).sum(0)  # squared norms of the two halves
        share = mu / (mu + sigma).clamp_min(TINY)
        return {"mu_share": share, "sigma_norm": sigma.sqrt(), "delta_sigma": relative.mean(), "sigma_min": least.min()}

    @contextmanager
    def _in(self, mode: str) -> Iterator[None]:
        self._mode = mode
        try:
            yield
        finally:
            self._mode = ""

    def _transform(self, i: int, site: Site, h: Tensor) -> Tensor | None:
        if not self._mode:
            return None
        with torch.no_grad():
            mu, sigma = site.statistics(h)
        if self._mode == "record":
            self._record(i, h, sigma)
        delta = self._deltas[i]
        assert delta is not None
        return inject(site, h, delta, mu, sigma)

    def _record(self, i: int, h: Tensor, sigma: Tensor) -> None:
        each = sigma.reshape(len(h), -1)  # (B, C)
        if self._deltas[i] is None:
            self._deltas[i] = torch.zeros(2, each.shape[1], dtype=h.dtype, device=h.device, requires_grad=True)
        self._sigmas[i] = torch.stack([each.mean(0), each.amin(0)])
