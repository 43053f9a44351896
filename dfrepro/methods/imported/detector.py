"""An imported network: a timm network whose padding and features are those of the code that it was trained with."""

from collections.abc import Sequence
from typing import Any

import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional

from dfrepro.nets.detector import Backbone, Detector, Output


class ImportedDetector(Detector):
    """A `Detector` with two differences that checkpoints of others may need.

    padded_at: the side in pixels for which TensorFlow's SAME padding was fixed, as efficientnet-pytorch fixes it when
    the network is made; None leaves timm's, which follows the input. stem: whether the first convolution is padded
    (DeepfakeBench replaces it by one that is not). unit: the classifier reads features of length one (GenD).
    """

    def __init__(self, spec: Backbone, *, padded_at: int | None = None, stem: bool = True, unit: bool = False):
        super().__init__(spec)
        self.unit = unit
        if padded_at is not None:
            fix_padding(self.backbone, padded_at, stem=stem)

    def read(self, x: Tensor) -> Output:
        whole = super().read(x)
        if not self.unit:
            return whole
        features = functional.normalize(whole.features, dim=1)
        return Output(self.backbone.get_classifier()(features), features, whole.maps)


def fix_padding(network: nn.Module, side: int, *, stem: bool = True) -> None:
    """Give the convolutions that timm pads by their input's size the padding that they have in a picture of `side`."""
    for name, conv in [(name, module) for name, module in network.named_modules() if isinstance(module, Conv2dSame)]:
        owner, _, attribute = name.rpartition(".")
        first = attribute == "conv_stem"
        setattr(network.get_submodule(owner), attribute, _padded(conv, same(conv, side) if stem or not first else None))
        side = -(-side // conv.stride[0])


def same(conv: nn.Conv2d, side: int) -> list[int]:
    """TensorFlow's SAME padding of a square map: left, right, top, bottom."""
    (kernel, _), (stride, _) = conv.kernel_size, conv.stride
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return [total // 2, total - total // 2] * 2


def _padded(conv: nn.Conv2d, padding: Sequence[int] | None) -> nn.Conv2d:
    """The same weights and names, with a padding that does not follow the input."""
    made = nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, groups=conv.groups,  # type: ignore[arg-type]
        bias=conv.bias is not None, device=torch.device("meta"),
    )  # fmt: skip
    made.weight, made.bias = conv.weight, conv.bias
    made.training = conv.training
    if padding is not None:
        made.register_forward_pre_hook(_Pad(padding))
    return made


class _Pad:
    """A hook, as an object: a detector can be copied."""

    def __init__(self, padding: Sequence[int]):
        self.padding = list(padding)

    def __call__(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor]:
        return (functional.pad(inputs[0], self.padding),)
