"""P4's evaluation model: a detector that also predicts where a face was forged, to see how well maps supervise it.

P4, Sec. IV-A and Figure 4: an EfficientNet, and a feature pyramid (Lin et al., CVPR 2017) that ends in a map at stride
4. L = CE + .1 BCE(map). Any timm network that gives features at several strides will do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfrepro.errors import WorkbookError
from dfrepro.methods.focus.detector import FAKE
from dfrepro.nets.detector import Backbone, Detector, Output
from dfrepro.nets.fpn import FPN

STRIDE = 4


class MapOutput(NamedTuple):
    """The verdict, whose first three fields are those of `Output`, and the map."""

    logits: Tensor  # (B, 2)
    features: Tensor  # (B, D)
    maps: Tensor  # (B, C, h, w)
    map_logits: Tensor  # (B, S / 4, S / 4): sigmoid gives P(forged) of a place


class MapDetector(nn.Module):
    """A detector with a map branch. `forward(images)` is that of `Detector`; the branch runs when it is asked for."""

    def __init__(self, spec: Backbone, width: int = 64):
        super().__init__()
        self.detector = Detector(spec)
        net: Any = self.detector.backbone
        info = getattr(net, "feature_info", [])
        levels = list(enumerate(getattr(info, "info", info)))
        self.indices = [i for i, level in levels if level["reduction"] >= STRIDE]
        if not self.indices or levels[self.indices[0]][1]["reduction"] != STRIDE:
            raise WorkbookError(
                "it has no features at stride 4", where=f"backbone {spec.name}", remedy="Name a convolutional network"
            )
        self.pyramid = FPN([levels[i][1]["num_chs"] for i in self.indices], width)
        self.map_head = nn.Conv2d(width, 1, 1)

    def forward(self, images: Tensor, with_map: bool = False) -> Output | MapOutput:
        if not with_map:
            return self.detector(images)
        net: Any = self.detector.backbone
        maps, features = net.forward_intermediates(self.detector.preprocess(images), indices=self.indices)
        pooled = net.forward_head(maps, pre_logits=True)  # (B, D)
        map_logits = self.map_head(functional.relu(self.pyramid(features)[0]))[:, 0]
        return MapOutput(net.get_classifier()(pooled), pooled, maps, map_logits)


def build_evaluation(spec: Backbone, seed: int, *, width: int = 64) -> MapDetector:
    """The evaluation model; its detector starts from the weights that `build_detector(spec, seed)` gives."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MapDetector(spec, width)


@dataclass(frozen=True)
class MapSupervision:
    """L = CE + `weight` BCE(map), the mean over pixels.

    The batch's `key` holds the targets (B, S, S): uint8, 255 where forged for certain, or float in [0, 1]. They are
    brought to the branch's size; those of reals count as zero whatever they hold.
    """

    weight: float = 0.1
    key: str = "mask"

    def __call__(self, model: nn.Module, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        output: MapOutput = model(batch["image"], with_map=True)
        classification = functional.cross_entropy(output.logits, batch["label"])
        wanted = self.targets(batch[self.key], batch["label"], output.map_logits)
        bce = functional.binary_cross_entropy_with_logits(output.map_logits, wanted)
        return classification + self.weight * bce, {"cls": classification, "map": bce}

    @staticmethod
    def targets(given: Tensor, labels: Tensor, like: Tensor) -> Tensor:
        """Targets (B, S, S) at the size and precision of `like` (B, h, w)."""
        x = given.to(like.dtype) / 255 if given.dtype == torch.uint8 else given.to(like.dtype)
        x = functional.interpolate(x[:, None], like.shape[-2:], mode="bilinear", antialias=True, align_corners=False)
        return x[:, 0].clamp(0, 1) * (labels == FAKE).to(like.dtype)[:, None, None]
