"""The part of a network before its first site, computed once a step.

PIM's second evaluation is at the same weights and with the same draws as its first, and differs from it only from the
first site on: what came before is the same to the bit, and so are its gradient's paths. It is kept, with its graph, and
replayed. This takes the cost of a step off by the trunk's forward pass and changes no number.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dfrepro.nets.pim import Site


class Trunk:
    """Keeps and replays the modules of `network` that end before, or are, the first of `sites`.

    `kept` is false where that is not possible: another site came first, a module ran twice or gave no tensor.
    Make it before PIM, whose hooks must see what this one has seen.
    """

    def __init__(self, network: nn.Module, sites: Sequence[Site]):
        self.site = sites[0].module
        modules = [*_before(network, sites[0].name), self.site]
        self._handles = [module.register_forward_hook(self._seen) for module in modules]
        self._handles += [site.module.register_forward_hook(self._other) for site in sites[1:]]
        self._forget()

    def remove(self) -> None:
        while self._handles:
            self._handles.pop().remove()
        self._forget()

    @property
    def kept(self) -> bool:
        return self._sound and self.site in self._outputs

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Keep the outputs of one evaluation."""
        self._forget()
        self._recording = True
        try:
            yield
        finally:
            self._recording = False

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """The kept modules return what they returned, once; torch's generators go on from where the site left them."""
        outputs, draws = self._outputs, self._draws
        for module, output in outputs.items():
            module.forward = _constant(output, draws if module is self.site else [])  # type: ignore[method-assign]
        try:
            yield
        finally:
            for module in outputs:
                del module.forward  # the instance's attribute: the class's method is back
            self._forget()

    def _forget(self) -> None:
        self._recording, self._sound = False, True
        self._outputs: dict[nn.Module, Tensor] = {}
        self._draws: list[Tensor] = []

    def _seen(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if not self._recording:
            return
        if self.site in self._outputs:  # past the site: what runs here for the first time is no part of the trunk
            self._sound &= module not in self._outputs
        elif module in self._outputs or not isinstance(output, Tensor) or "forward" in vars(module):
            self._sound = False
        else:
            self._outputs[module] = output
            if module is self.site:
                self._draws = generators(output.device)

    def _other(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._sound &= not self._recording or self.site in self._outputs


def generators(device: torch.device) -> list[Tensor]:
    """The states of torch's generators that a network on `device` draws from."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def set_generators(states: Sequence[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state, device)


def seed_generators(seed: int, device: torch.device) -> None:
    """What `torch.manual_seed` gives those generators; it also notes the stack for every device that is not there yet.

    A twentieth of a small network's step went into that.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def _constant(output: Tensor, draws: list[Tensor]) -> Callable[..., Tensor]:
    def forward(*args: Any, **kwargs: Any) -> Tensor:
        if draws:
            set_generators(draws, output.device)
        return output

    return forward


def _before(network: nn.Module, site: str) -> list[nn.Module]:
    """The modules beside the path to `site`, which may run before it."""
    path = site.split(".")
    on_path = [network.get_submodule(".".join(path[:depth])) for depth in range(len(path) + 1)]
    return [child for owner in on_path[:-1] for child in owner.children() if child not in on_path]
