"""What a network costs: parameters, floating-point operations, images per second (P4, Table VIII).

The printed values are lost from the supplied text, and its V100 with them: all of this is measured where it runs.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """Trainable and all parameters, and operations of one image's forward pass: a multiply-add counts as two."""

    parameters: int
    trainable: int
    flops: int

    @property
    def macs(self) -> float:
        """Multiply-adds, which most papers print as "FLOPs"."""
        return self.flops / 2


def cost(network: nn.Module, image_size: int) -> Cost:
    """Count with torch's own counter: matrix products and convolutions (attention included), in evaluation mode."""
    training = network.training
    network.eval()
    image = torch.zeros(1, 3, image_size, image_size, device=next(network.parameters()).device)
    try:
        # the counter does not know the CPU's fused attention: take the one that is made of matrix products
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            network(image)
    finally:
        network.train(training)
    sizes = [(p.numel(), p.requires_grad) for p in network.parameters()]
    return Cost(sum(n for n, _ in sizes), sum(n for n, learns in sizes if learns), counter.get_total_flops())


Work = Callable[[], object]


def inference(network: nn.Module, images: Tensor) -> Work:
    """One forward pass on `images` (B, 3, S, S), in evaluation mode, as work to be timed."""
    network.eval()

    @torch.no_grad()
    def work() -> object:
        return network(images)

    return work


def training(network: nn.Module, loss: Callable[..., tuple[Tensor, object]], batch: Mapping[str, Tensor]) -> Work:
    """One step of Adam on a batch, as work to be timed; the network is left in training mode and trained."""
    network.train()
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-4)

    def work() -> object:
        optimiser.zero_grad(set_to_none=True)
        loss(network, batch)[0].backward()
        return optimiser.step()

    return work


def seconds(
    works: Mapping[str, Work], *, repeats: int = 10, clock: Callable[[], float] | None = None
) -> dict[str, list[float]]:
    """What each of `repeats` calls of each work took, the works taking turns: the i-th calls were made side by side.

    The first call of each is not counted. `clock` gives seconds; the default is the wall's, which waits for the GPU.
    """
    now = clock or _wall
    took: dict[str, list[float]] = {name: [] for name in works}
    for i in range(repeats + 1):
        for name, work in works.items():
            start = now()
            work()
            if i:
                took[name].append(now() - start)
    return took


def images_per_second(works: Mapping[str, Work], images: int, *, repeats: int = 10) -> dict[str, float]:
    """How many images a second each work handles, `images` a call: medians of `repeats` calls, the wall's clock."""
    return {name: images / statistics.median(times) for name, times in seconds(works, repeats=repeats).items()}


def _wall() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
