"""Losses that train a detector on labels alone. A loss takes the network and a batch and returns (loss, parts).

The parts are what the history shows beside the loss. A paper's own loss lives in its file under `dfrepro/methods`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy of real (0) against fake (1), the mean over the batch (TIFS 2024, Eq. 1).

    `label_smoothing` in [0, 1): the share of the target that is spread over both classes.
    """

    label_smoothing: float = 0.0

    def __call__(self, model: nn.Module, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        logits = model(batch["image"]).logits  # (B, 2)
        return functional.cross_entropy(logits, batch["label"], label_smoothing=self.label_smoothing), {}
