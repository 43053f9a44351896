"""The statistic-shift probe: how much does a detector lean on the statistics of its shallow features?

TIFS 2024, Sec. III-A, Table II, Figures 1 and 3: at test time the mean of every channel of every image is scaled by 1.2
and its standard deviation by .65, at every site (the effects compound). The paper says "variance" and divides by it, so
it is the deviation; `sigma=.65**.5` is the literal reading.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from torch import Tensor, nn

from dfrepro.methods.pim import Site, SiteHooks, sites_of


@dataclass(frozen=True)
class StatisticShift:
    """μ -> `mu` μ and σ -> `sigma` σ at the `sites` of a network (its default ones unless named), while it is on."""

    mu: float = 1.2
    sigma: float = 0.65
    sites: Sequence[str] = ()

    @contextmanager
    def on(self, model: nn.Module) -> Iterator[None]:
        hooks = SiteHooks(sites_of(model, self.sites), self._shift)
        try:
            yield
        finally:
            hooks.remove()

    def _shift(self, i: int, site: Site, h: Tensor) -> Tensor:
        """n (.65 σ) + 1.2 μ with n = (h − μ) / σ: the deviation itself cancels."""
        mean = h.mean(site.axes(h), keepdim=True)
        return self.sigma * (h - mean) + self.mu * mean


Probe = StatisticShift | None  # None: the detector as it is


def under(probe: Probe, model: nn.Module) -> AbstractContextManager[None]:
    """The context in which `model` is seen through `probe`."""
    return nullcontext() if probe is None else probe.on(model)
