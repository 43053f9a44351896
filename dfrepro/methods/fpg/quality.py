"""What FPG's quality branch learns to predict: a number Q in [0, 1] for every face (supplement, Section 1, Figure 1).

The paper takes Q from a frozen face-quality network (of SDD-FIQA's kind in the public code), which nobody has offline.
Anything that maps a batch to Q will do, and three such things are here: the sharpness of the picture, a degradation
whose level is known, and the scores of a real quality network where a user has put them into the manifest's column
`quality`.

All are standardised alike: linearly between two quantiles of the training faces, and clipped. The best is 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dfrepro.errors import WorkbookError

QUANTILES = (0.05, 0.95)  # of the training faces: what they map to is 0 and 1
LUMA = (0.299, 0.587, 0.114)  # BT.601
LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


class QualityTarget(Protocol):
    """Q (B,) float32 in [0, 1] of a batch, without a gradient. A pure function: SAM's step asks twice."""

    def __call__(self, batch: Mapping[str, Any]) -> Tensor: ...


@dataclass(frozen=True)
class LaplacianQuality:
    """Sharpness of `image` (B, 3, S, S), between `low` (Q = 0) and `high` (Q = 1) in the unit of `sharpness`.

    Sharpness depends on the size of the picture: `of_faces` takes pictures as the network will see them.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_span(self.low, self.high, "sharpness")

    @classmethod
    def of_faces(cls, faces: np.ndarray) -> "LaplacianQuality":
        """Standardised on `faces` (N, S, S, 3) uint8: a few hundred of the training set, cut to the input's size."""
        values = sharpness(torch.from_numpy(np.ascontiguousarray(faces)).permute(0, 3, 1, 2))
        return cls(*np.quantile(values.numpy(), QUANTILES).tolist())

    @torch.no_grad()
    def __call__(self, batch: Mapping[str, Any]) -> Tensor:
        return _standardised(sharpness(batch["image"]), self.low, self.high)


@dataclass(frozen=True)
class DegradationQuality:
    """1 − `degradation` / `worst`: the level (B,) to which the data set degraded each picture, 0 for not at all."""

    worst: float

    def __call__(self, batch: Mapping[str, Any]) -> Tensor:
        return _standardised(batch["degradation"].float(), self.worst, 0.0)


class ManifestQuality:
    """The column `quality` of a face store's manifest, (N,) of any unit, the higher the better; read by `row`.

    A fake blended while training has its real's row, and so its score: the network never saw the blend.
    """

    def __init__(self, scores: np.ndarray):
        """Raises WorkbookError when a face has no score, or all have the same."""
        scores = np.asarray(scores, np.float64)
        if missing := int((~np.isfinite(scores)).sum()):
            raise WorkbookError(
                f"{missing} of {len(scores)} faces have no quality",
                where="manifest, column quality",
                remedy="Score every face, or take LaplacianQuality",
            )
        low, high = np.quantile(scores, QUANTILES).tolist()
        _check_span(low, high, "quality")
        self.targets = _standardised(torch.from_numpy(scores).float(), low, high)  # (N,)

    def __call__(self, batch: Mapping[str, Any]) -> Tensor:
        rows = batch["row"]
        return self.targets.to(rows.device)[rows]


def sharpness(images: Tensor) -> Tensor:
    """ln(1 + variance of the Laplacian) of the luma of (B, 3, H, W) in [0, 255], borders left out: (B,) float32."""
    weights = torch.tensor(LUMA, device=images.device).view(1, 3, 1, 1)
    luma = (images.float() * weights).sum(1, keepdim=True)  # (B, 1, H, W)
    edges = functional.conv2d(luma, torch.tensor([[LAPLACIAN]], device=images.device))
    return edges.flatten(1).var(1, unbiased=False).log1p()


def _standardised(values: Tensor, low: float, high: float) -> Tensor:
    return ((values - low) / (high - low)).clamp(0, 1)


def _check_span(low: float, high: float, what: str) -> None:
    if not low < high:  # NaN fails too
        raise WorkbookError(f"{what} runs from {low:g} to {high:g}", where="quality target", remedy="Low is below high")
