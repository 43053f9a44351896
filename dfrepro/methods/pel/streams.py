"""A stream of PEL: a timm network behind its own input, walked stage by stage (AAAI 2022, Sec. 3 and Fig. 1).

The paper inserts its modules "after each convolutional block"; a block is a stage of the network (our reading,
papers/pel/DEVIATIONS.md). Two networks exchange features after a stage, so neither can be run by one call: a stream
knows its stem, stages and top.
"""

import re
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dfrepro.errors import WorkbookError
from dfrepro.nets.detector import Backbone, build_detector, evaluating

HEADS = {"global_pool", "head", "head_drop", "fc_norm", "classifier", "fc"}  # where timm's networks start to pool


class Anatomy(NamedTuple):
    """Names of a network's modules, in the order in which they run. `top` is what stands between stages and pooling."""

    stem: tuple[str, ...]
    stages: tuple[str, ...]
    top: tuple[str, ...]


class RgbInput(nn.Module):
    """Images in [0, 255] (B, 3, S, S) -> normalised as the network expects them."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor):
        super().__init__()
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("deviation", deviation, persistent=False)

    def shape(self, image_size: int) -> tuple[int, int, int]:
        """(C, h, w) of what it gives for images of that size."""
        return 3, image_size, image_size

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.deviation


class Stream(nn.Module):
    """`entry`, then the network: `stem`, `stage` 0 and on, `top`, `pool`.

    `entry` is an `RgbInput` or a `FrequencyInput`: images in [0, 255] -> the network's input.
    """

    def __init__(self, entry: nn.Module, network: nn.Module):
        super().__init__()
        self.entry, self.network = entry, network
        self.anatomy = anatomy(network)

    def stem(self, images: Tensor) -> Tensor:
        return self._through(self.anatomy.stem, self.entry(images))

    def stage(self, i: int, f: Tensor) -> Tensor:
        """The output of stage i (0-based) on the features before it."""
        return self._through(self.anatomy.stages[i : i + 1], f)

    def top(self, f: Tensor) -> Tensor:
        """The last features before pooling (B, C, h, w), from those of the last stage."""
        return self._through(self.anatomy.top, f)

    def pool(self, f: Tensor) -> Tensor:
        """Global features (B, D), from those of `top`."""
        return self.network.forward_head(f, pre_logits=True)  # type: ignore[operator]

    @torch.no_grad()
    def shapes(self, image_size: int) -> list[tuple[int, ...]]:
        """(C, h, w) after the stem and after every stage, for images of that size."""
        with evaluating(self):
            return [tuple(f.shape[1:]) for f in self._maps(image_size)]

    @torch.no_grad()
    def width(self, image_size: int) -> int:
        """D, the number of pooled features."""
        with evaluating(self):
            return self.pool(self.top(self._maps(image_size)[-1])).shape[1]

    def _maps(self, image_size: int) -> list[Tensor]:
        x = torch.zeros(1, *self.entry.shape(image_size))  # type: ignore[operator]
        maps = [self._through(self.anatomy.stem, x)]
        for i in range(len(self.anatomy.stages)):
            maps.append(self.stage(i, maps[-1]))
        return maps

    def _through(self, names: tuple[str, ...], x: Tensor) -> Tensor:
        for name in names:
            x = self.network.get_submodule(name)(x)
        return x


def build_network(spec: Backbone, seed: int) -> tuple[nn.Module, RgbInput]:
    """A timm network without classifier, its weights drawn from `seed` alone, and its own normalisation of images.

    Raises WorkbookError for one that is not a CNN of stages, or does not run its parts in the order it holds them.
    """
    detector = build_detector(spec, seed)
    network = detector.backbone
    network.reset_classifier(0)  # type: ignore[operator]
    stream = Stream(RgbInput(detector.mean, detector.deviation), network)
    _check_walk(stream, spec)
    return network, stream.entry  # type: ignore[return-value]


def replace_first_convolution(network: nn.Module, channels: int, stride_divisor: int) -> None:
    """Give the network a new first convolution that reads `channels` channels, at a stride divided by that number.

    At the same stride it keeps its kernel. At half the stride the frequency input is already at half resolution:
    3 × 3 (the paper is silent), and where kernel and stride are one (ConvNeXt's patches) a patch of half the side.
    """
    name, old = next((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
    kernel, stride, padding = old.kernel_size[0], old.stride[0], old.padding[0]
    if stride % stride_divisor:
        raise WorkbookError(
            f"its first convolution has stride {stride}",
            where=type(network).__name__,
            remedy="The frequency input is at half resolution: take a network that starts with a stride of 2 or 4",
        )
    if stride_divisor > 1:
        patches = kernel == stride
        stride = stride // stride_divisor
        kernel, padding = (stride, 0) if patches else (3, 1)
    new = nn.Conv2d(channels, old.out_channels, kernel, stride, padding, bias=old.bias is not None)
    owner, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(owner), leaf, new)


def anatomy(network: nn.Module) -> Anatomy:
    """How a staged CNN of timm is built: EfficientNet's kin (`blocks`), ConvNeXt's (`stages`), ResNet, RegNet."""
    children = dict(network.named_children())
    names = list(children)
    stages = _stages(children)
    if not stages:
        raise WorkbookError(
            "has no stages that PEL could stand between",
            where=type(network).__name__,
            remedy="Take an EfficientNet, ResNet, ConvNeXt, RegNet or the like",
        )
    first, last = (names.index(stages[i].partition(".")[0]) for i in (0, -1))
    after = names[last + 1 :]
    top = after[: next((i for i, name in enumerate(after) if name in HEADS), len(after))]
    return Anatomy(tuple(names[:first]), stages, tuple(top))


def _stages(children: dict[str, nn.Module]) -> tuple[str, ...]:
    for name in ("blocks", "stages"):
        items = children.get(name)
        # a ViT's `blocks` are no stages
        if isinstance(items, nn.Sequential) and (name == "stages" or isinstance(items[0], nn.Sequential)):
            return tuple(f"{name}.{i}" for i in range(len(items)))
    return tuple(name for name in children if re.fullmatch(r"(layer|s)\d", name))


@torch.no_grad()
def _check_walk(stream: Stream, spec: Backbone) -> None:
    """timm promises no order of children: walk the network once and compare with its own forward."""
    size = spec.image_size
    x = torch.linspace(-1, 1, 3 * size * size).view(1, 3, size, size)
    with evaluating(stream):
        walked = stream._through((*stream.anatomy.stem, *stream.anatomy.stages, *stream.anatomy.top), x)
        whole = stream.network.forward_features(x)  # type: ignore[operator]
    if not torch.equal(walked, whole):
        raise WorkbookError("does not run its parts in the order it holds them", where=f"backbone {spec.name}")
