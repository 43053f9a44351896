"""How a network lays its features out: the one place that knows, for Grad-CAM, PIM's sites and FPG's refinement.

timm has three layouts: (B, C, h, w); channels last, (B, h, w, C), as in Swin and MambaOut; and tokens (B, P + N, C),
the first P of which (class token, registers) have no place in the image.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dfrepro.errors import WorkbookError


@dataclass(frozen=True)
class Layout:
    """Of the maps of one module.

    channels_last: four axes are (B, h, w, C). prefix: leading tokens without a place. grid: (h, w) of the tokens that
    leave the network's patch embedding, where it says; tokens of another number lie on a square.
    """

    channels_last: bool = False
    prefix: int = 0
    grid: tuple[int, int] | None = None

    def axes(self, x: Tensor) -> tuple[int, ...]:
        """The axes of the positions. Raises WorkbookError where `x` is neither a map nor tokens."""
        if x.ndim == 3:
            return (1,)
        if x.ndim != 4:
            raise WorkbookError(f"features {tuple(x.shape)} are neither a map nor tokens", where="layout")
        return (1, 2) if self.channels_last else (2, 3)

    def as_map(self, x: Tensor) -> Tensor:
        """(B, C, h, w), a view, of features in this layout; tokens without a place are left out."""
        axes = self.axes(x)
        if axes == (2, 3):
            return x
        if axes == (1, 2):
            return x.permute(0, 3, 1, 2)
        prefix, (h, w) = self._tokens(x.shape[1])
        return x[:, prefix:].transpose(1, 2).unflatten(2, (h, w))

    def _tokens(self, n: int) -> tuple[int, tuple[int, int]]:
        """The prefix and the grid of `n` tokens: with or without the prefix on the grid, else on a square."""
        for prefix in (self.prefix, 0):
            if self.grid and n - prefix == self.grid[0] * self.grid[1]:
                return prefix, self.grid
        for prefix in (self.prefix, 0):
            side = round(max(n - prefix, 0) ** 0.5)
            if side and side * side == n - prefix:
                return prefix, (side, side)
        raise WorkbookError(
            f"{n} tokens, {self.prefix} of them without a place, lie on no grid",
            where="layout",
            remedy="Name a network with square maps",
        )


def layout_of(model: nn.Module, name: str = "") -> Layout:
    """The layout of what leaves `model`'s module `name`; "" is the model itself, of a detector its backbone."""
    path = name.split(".") if name else []
    owners: list[Any] = [model.get_submodule(".".join(path[:depth])) for depth in range(len(path) + 1)]
    if not name and isinstance(inner := getattr(model, "backbone", None), nn.Module):
        owners.append(inner)
    formats = [str(getattr(owner, "output_fmt", "")) for owner in owners]
    prefix = max(getattr(owner, "num_prefix_tokens", 0) for owner in owners)
    grids = [getattr(getattr(owner, "patch_embed", None), "grid_size", None) for owner in owners]
    grid = next((tuple(grid) for grid in grids if grid is not None), None)
    return Layout(any("NHWC" in each for each in formats), prefix, grid)  # type: ignore[arg-type]


@contextmanager
def stage_maps(network: nn.Module) -> Iterator[list[Tensor]]:
    """What leaves the stages that timm's `feature_info` names, shallow first, in the forward passes inside."""
    info = getattr(network, "feature_info", [])
    known = dict(network.named_modules())
    stages = [known[name] for level in getattr(info, "info", info) if (name := level["module"]) in known and name]
    maps: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            maps.append(output)

    handles = [stage.register_forward_hook(keep) for stage in stages]
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()
