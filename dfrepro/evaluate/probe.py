"""What a detector is seen through: a shift of its shallow statistics, or a corruption of the faces it is shown.

The statistic-shift probe: how much does a detector lean on the statistics of its shallow features?

TIFS 2024, Sec. III-A, Table II, Figures 1 and 3: at test time the mean of every channel of every image is scaled by 1.2
and its standard deviation by .65, at every site (the effects compound). The paper says "variance" and divides by it, so
it is the deviation; `sigma=.65**.5` is the literal reading. Under `STRONG`, the probe's positive control, means are
doubled and nine tenths of the texture are gone: who reads faces at all has to suffer.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from dfrepro.errors import WorkbookError
from dfrepro.evaluate.corruptions import CORRUPTIONS, corrupt
from dfrepro.nets.pim import Site, SiteHooks, sites_of


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


STRONG = {"strong-shift": StatisticShift(2.0, 0.1)}  # a condition by its name


@dataclass(frozen=True)
class Corrupted:
    """The faces corrupted by `name`, one of `CORRUPTIONS`, at `level`. A face's draws depend on `seed` and its row."""

    name: str
    level: int
    seed: int = 0

    def __call__(self, faces: np.ndarray, rows: np.ndarray, clips: np.ndarray) -> np.ndarray:
        """Faces (B, S, S, 3) uint8 with their row and the number of their video (B,) -> a new array like them."""
        starts = np.flatnonzero(np.r_[True, np.diff(clips) != 0]) if self.name == "video" else np.arange(len(faces))
        parts = [
            corrupt(part, self.name, self.level, seed=self.seed, first=int(row))
            for part, row in zip(np.split(faces, starts[1:]), rows[starts])
        ]
        return np.concatenate(parts)


def corruptions(conditions: Sequence[str]) -> dict[str, Corrupted | StatisticShift]:
    """Conditions as `Run.conditions` names them, one by one: "blur-3", "blur" for all five levels, a name of STRONG."""
    found: dict[str, Corrupted | StatisticShift] = {}
    for condition in conditions:
        if condition in STRONG:
            found[condition] = STRONG[condition]
            continue
        name, _, level = (condition, "", "") if condition in CORRUPTIONS else condition.rpartition("-")
        if name not in CORRUPTIONS or level not in ("", *"12345"):
            known = ", ".join([*CORRUPTIONS, *STRONG])
            raise WorkbookError(
                f"no condition {condition!r}", where="conditions", remedy=f"Name one of {known}, or blur-3"
            )
        found |= {f"{name}-{n}": Corrupted(name, n) for n in ([int(level)] if level else range(1, 6))}
    return found


Probe = StatisticShift | Corrupted | None  # None: the detector, and the faces, as they are


def under(probe: Probe, model: nn.Module) -> AbstractContextManager[None]:
    """The context in which `model` is seen through `probe`."""
    return probe.on(model) if isinstance(probe, StatisticShift) else nullcontext()
