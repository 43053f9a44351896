"""The feature pyramid of Lin et al., CVPR 2017, as FIA-USA (App. D) and FoCus (Figure 4) use it: its finest levels.

torchvision's smooths every level, also those that nobody reads, whose weights then see no gradient.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional


class FPN(nn.Module):
    """Feature pyramid. `levels`: how many are smoothed and returned, finest first.

    The coarser ones always flow into the finer ones; smoothed for nobody, their weights would never see a gradient.
    """

    def __init__(self, channels: Sequence[int], width: int, levels: int = 1):
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(levels))

    def forward(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """Stages (B, C_i, h_i, w_i), finest first -> levels (B, width, h_i, w_i)."""
        levels: list[Tensor] = []
        for lateral, x in zip(reversed(self.lateral), reversed(stages), strict=True):  # type: ignore[call-overload]
            level = lateral(x)  # (B, width, h, w)
            if levels:
                level = level + functional.interpolate(levels[0], level.shape[-2:], mode="nearest")
            levels.insert(0, level)
        return [smooth(level) for smooth, level in zip(self.smooth, levels)]
