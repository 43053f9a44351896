"""PEL, progressive enhancement learning: an RGB and a frequency stream that enhance themselves and each other.

Gu, Chen, Yao, Chen, Ding, Yi, "Exploiting Fine-grained Face Forgery Clues via Progressive Enhancement Learning", AAAI
2022, Sec. 3. With f the features of one stream after a stage, σ the sigmoid, M a 3 × 3 median:

    noise      f ← f + a ⊙ σ(f − M(f)) + b                                         (Eq. 2, 3)
    channels   f ← f + g ⊙ f ⊙ σ(MLP(GAP f + GMP f))                               (Eq. 4)
    mutual     f_s ← f_s + a_s ⊙ (f_s ⊙ A_s) + b_s,  A = σ(conv [f_rgb; f_freq])   (Eq. 5, 6)

The first stands after the stages 1 and 2, the others after the stages 2 to the last but one. a, b, g are one number a
channel (the depthwise 1 × 1 convolutions) and start at zero: σ(0) is ½, so anything else would add constants to the
pretrained statistics, and a new PEL computes what its plain streams compute. g is ours; without it Eq. 4 multiplies by
1.5 wherever it stands. `start: printed` takes Eq. 4 as printed and torch's own initialisation.

The frequency input is `pel_frequency`, the walk through a network `pel_streams`, the filters `pel_denoise`, what the
figures show `residuals`. The loss (Eq. 7) is `train.losses.CrossEntropy`: the logits are (0, z), whose cross-entropy
is the binary one of z.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dfrepro.errors import WorkbookError
from dfrepro.methods.pel.denoise import DENOISERS
from dfrepro.methods.pel.frequency import CHANNELS, Bank, FrequencyInput, Size, Statistics
from dfrepro.methods.pel.streams import Stream, build_network, replace_first_convolution
from dfrepro.nets.detector import Backbone, Output

Start = Literal["identity", "printed"]
STREAMS = ("rgb", "freq")
REDUCTION = 16  # of the MLP of Eq. 4 (the paper is silent)


# --- which PEL ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Variant:
    """Which parts a PEL has. The default is the paper's.

    streams: some of "rgb", "freq". denoisers: of the noise block, names of `pel_denoise.DENOISERS`; several are weighed
    by a grouped 1 × 1 convolution (Table 5), () is no noise block. attention, mutual: Eq. 4, and Eq. 5 and 6, which for
    one stream are spatial attention (Sec. 4.3). bank, size: see `FrequencyInput`. stem_is_block: count the stem as the
    first "convolutional block" (the other reading of Sec. 3). dropout: before the last layer.
    """

    streams: tuple[str, ...] = STREAMS
    denoisers: tuple[str, ...] = ("median3",)
    attention: bool = True
    mutual: bool = True
    bank: Bank = "fine"
    size: Size = "half"
    start: Start = "identity"
    stem_is_block: bool = False
    dropout: float = 0.2

    def __post_init__(self) -> None:
        for name in ("streams", "denoisers"):  # YAML has lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _known("streams", self.streams, STREAMS)
        _known("denoisers", self.denoisers, DENOISERS)
        _known("start", (self.start,), ("identity", "printed"))
        if not self.streams:
            raise WorkbookError("streams is empty", where="PEL", remedy=f"Name one or both of {', '.join(STREAMS)}")

    @property
    def has_modules(self) -> bool:
        return bool(self.denoisers) or self.attention or self.mutual


def _known(name: str, values: Sequence[str], known: Sequence[str] | Mapping[str, object]) -> None:
    if not set(values) <= set(known) or len(set(values)) < len(values):
        raise WorkbookError(f"{name} is {list(values)}", where="PEL", remedy=f"Take some of {list(known)}, each once")


# By the names of the papers' runs without "pel-" (papers/pel/README.md): Table 4, Table 5, and the controls
VARIANTS: dict[str, Variant] = {
    "rgb": Variant(("rgb",), (), False, False),
    "freq": Variant(("freq",), (), False, False),
    "rgb-modules": Variant(("rgb",)),
    "freq-modules": Variant(("freq",)),
    "two-stream": Variant(STREAMS, (), False, False),
    "self": Variant(mutual=False),
    "mutual": Variant(STREAMS, (), False, True),
    "full": Variant(),
    "mean3": Variant(denoisers=("mean3",)),
    "nlm3": Variant(denoisers=("nlm3",)),
    "median5": Variant(denoisers=("median5",)),
    "median7": Variant(denoisers=("median7",)),
    "median35": Variant(denoisers=("median3", "median5")),
    "median357": Variant(denoisers=("median3", "median5", "median7")),
    "no-noise": Variant(denoisers=()),
    "freq-coarse": Variant(("freq",), (), False, False, bank="coarse"),
}
# What a variant with modules is with Eq. 4 and every initial weight as printed
VARIANTS |= {f"{name}-printed": replace(v, start="printed") for name, v in VARIANTS.items() if v.has_modules}
# Other readings of the frequency input's size and of "convolutional block" (papers/pel/DEVIATIONS.md)
VARIANTS |= {
    "full-double": Variant(size="double", start="printed"),
    "full-unpadded": Variant(size="unpadded", start="printed"),
    "full-stem": Variant(stem_is_block=True, start="printed"),
}
TABLE_4 = ("rgb", "freq", "rgb-modules", "freq-modules", "two-stream", "self", "mutual", "full")
TABLE_5 = ("full", "mean3", "nlm3", "median5", "median7", "median35", "median357")


# --- Eq. 2 to 6 ---------------------------------------------------------------------------------------------------


class NoiseEnhancement(nn.Module):
    """Eq. 2 and 3 on (B, C, h, w). Several denoisers: the sigmoid of each noise, and a grouped 1 × 1 convolution.

    float32 whatever the autocast: the noise is a small difference of large numbers.
    """

    def __init__(self, channels: int, denoisers: Sequence[str], start: Start = "identity"):
        super().__init__()
        self.denoisers = [DENOISERS[name] for name in denoisers]
        self.weight = _depthwise(len(denoisers), channels, start, fan_in=len(denoisers))  # a
        self.bias = _depthwise(1, channels, start, fan_in=len(denoisers))  # b

    def forward(self, f: Tensor) -> Tensor:
        with torch.autocast(f.device.type, enabled=False):
            f = f.to(self.bias.dtype)
            out = f + self.bias
            for denoise, a in zip(self.denoisers, self.weight):
                out = torch.addcmul(out, a, torch.sigmoid(f - denoise(f)))
            return out


class ChannelAttention(nn.Module):
    """Eq. 4 on (B, C, h, w): the pooled vectors are summed before the one MLP."""

    def __init__(self, channels: int, start: Start = "identity"):
        super().__init__()
        hidden = max(1, channels // REDUCTION)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.gain = nn.Parameter(torch.zeros(channels)) if start == "identity" else None

    def forward(self, f: Tensor) -> Tensor:
        weight = torch.sigmoid(self.mlp(f.mean((2, 3)) + f.amax((2, 3))))  # (B, C)
        if self.gain is not None:
            weight = self.gain * weight
        return f * (1 + weight)[..., None, None]


class MutualEnhancement(nn.Module):
    """Eq. 5 and 6 on a list of S streams' (B, C, h, w), all updated from what came in. S = 1 is spatial attention."""

    def __init__(self, channels: int, streams: int, start: Start = "identity"):
        super().__init__()
        self.attention = nn.Conv2d(streams * channels, streams, 1)
        self.weight, self.bias = (_depthwise(streams, channels, start) for _ in range(2))  # a and b

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        maps = torch.sigmoid(self.attention(torch.cat(features, dim=1)))  # A, (B, S, h, w)
        return [
            f + torch.addcmul(b, f * maps[:, s : s + 1], a)
            for s, (f, a, b) in enumerate(zip(features, self.weight, self.bias))
        ]


def _depthwise(n: int, channels: int, start: Start, fan_in: int = 1) -> nn.Parameter:
    """Weights or biases of n depthwise 1 × 1 convolutions, (n, C, 1, 1): zero, or torch's own draws."""
    bound = 0.0 if start == "identity" else fan_in**-0.5
    return nn.Parameter(torch.empty(n, channels, 1, 1).uniform_(-bound, bound))


# --- composition --------------------------------------------------------------------------------------------------


class Enhancement(nn.Module):
    """What follows a stage: each stream's self-enhancement, then the mutual one. What a variant lacks is Identity."""

    def __init__(self, own: Sequence[nn.Module], mutual: nn.Module):
        super().__init__()
        self.own, self.mutual = nn.ModuleList(own), mutual

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return self.mutual([module(f) for module, f in zip(self.own, features)])


class PEL(nn.Module):
    """The detector. `forward(images (B, 3, S, S))` takes uint8, or float in [0, 255], of any size.

    `Output.features`: the streams' pooled features, concatenated; `Output.maps`: their last maps, likewise.
    """

    def __init__(
        self, streams: Mapping[str, Stream], enhancements: Sequence[nn.Module], classifier: nn.Module, image_size: int
    ):
        super().__init__()
        self.streams = nn.ModuleDict(streams)
        self.enhancements = nn.ModuleList(enhancements)  # after the stem, and after each stage
        self.classifier = classifier
        self.image_size = image_size

    def forward(self, images: Tensor) -> Output:
        return self.read(self.tops(images))

    def tops(self, images: Tensor) -> list[Tensor]:
        """Each stream's last features before pooling, (B, C, h, w)."""
        streams = self._streams()
        x = self.resize(images)
        features = self.enhancements[0]([stream.stem(x) for stream in streams])
        for i, enhance in enumerate(self.enhancements[1:]):
            features = enhance([stream.stage(i, f) for stream, f in zip(streams, features)])
        return [stream.top(f) for stream, f in zip(streams, features)]

    def read(self, tops: list[Tensor]) -> Output:
        """The decision, from what `tops` gives."""
        features = torch.cat([stream.pool(f) for stream, f in zip(self._streams(), tops)], dim=1)  # (B, S D)
        logit = self.classifier(features)  # z of Eq. 7, (B, 1)
        return Output(functional.pad(logit, (1, 0)), features, torch.cat(tops, dim=1))

    def resize(self, images: Tensor) -> Tensor:
        """Images in [0, 255] as float, (B, 3, image_size, image_size)."""
        x = images.float() if not images.is_floating_point() else images
        size = (self.image_size, self.image_size)
        if x.shape[-2:] != size:
            x = functional.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
        return x

    def standardise(self, statistics: Statistics) -> None:
        """Set the statistics of the frequency input; nothing to do for a PEL without one."""
        if "freq" in self.streams:
            self.streams["freq"].entry.standardise(statistics)  # type: ignore[union-attr,operator]

    def _streams(self) -> list[Stream]:
        return list(self.streams.values())  # type: ignore[arg-type]


def build(variant: Variant, backbone: Backbone, seed: int, statistics: Statistics | None = None) -> PEL:
    """A PEL on two copies of `backbone` (unshared), or on one, whose initial weights depend on `seed` alone.

    Every part draws from a seed of its own: what two variants have in common starts equal. `statistics`: of the
    frequency input over the training set, from `pel_frequency.measure`; None where they come with a checkpoint.
    Raises WorkbookError for a network without stages, or whose streams do not meet at the same size.
    """
    streams = {name: _build_stream(name, variant, backbone, seed) for name in STREAMS if name in variant.streams}
    channels = _common_channels(streams, backbone)
    enhancements = [_enhancement(variant, i, channels, seed) for i in range(len(channels))]
    width = sum(stream.width(backbone.image_size) for stream in streams.values())
    with _drawing(seed, "classifier", *streams):
        classifier = nn.Sequential(nn.Dropout(variant.dropout), nn.Linear(width, 1))
    model = PEL(streams, enhancements, classifier, backbone.image_size)
    if statistics is not None:
        model.standardise(statistics)
    return model


def _build_stream(name: str, variant: Variant, backbone: Backbone, seed: int) -> Stream:
    network, entry = build_network(backbone, _derived(seed, name))
    if name == "rgb":
        return Stream(entry, network)
    with _drawing(seed, name, "input"):
        replace_first_convolution(network, CHANNELS, stride_divisor=1 if variant.size == "double" else 2)
        return Stream(FrequencyInput(variant.bank, variant.size), network)


def _common_channels(streams: Mapping[str, Stream], backbone: Backbone) -> list[int]:
    """Channels after the stem and after each stage, which the streams have in common."""
    shapes = {name: stream.shapes(backbone.image_size) for name, stream in streams.items()}
    first, last = next(iter(shapes.values())), list(shapes.values())[-1]
    if first != last:
        raise WorkbookError(
            f"its streams do not meet: {shapes}",
            where=f"backbone {backbone.name}",
            remedy="Take an image size that the network's strides divide, or another network",
        )
    return [shape[0] for shape in first]


def _enhancement(variant: Variant, i: int, channels: Sequence[int], seed: int) -> Enhancement:
    """What stands after stage i (from 1; 0 is the stem), by the schedule of Sec. 3.2 and 3.3."""
    block, last = i + variant.stem_is_block, len(channels) - 1 + variant.stem_is_block
    early, inner = block in (1, 2), 2 <= block < last
    own = []
    for name in sorted(variant.streams, key=STREAMS.index):
        parts: list[nn.Module] = []
        if early and variant.denoisers:
            with _drawing(seed, "noise", name, i):
                parts.append(NoiseEnhancement(channels[i], variant.denoisers, variant.start))
        if inner and variant.attention:
            with _drawing(seed, "attention", name, i):
                parts.append(ChannelAttention(channels[i], variant.start))
        own.append(nn.Sequential(*parts) if parts else nn.Identity())
    with _drawing(seed, "mutual", *variant.streams, i):
        mutual = MutualEnhancement(channels[i], len(own), variant.start) if inner and variant.mutual else nn.Identity()
    return Enhancement(own, mutual)


def _derived(seed: int, *key: object) -> int:
    """A seed for the part of that name."""
    return int(np.random.SeedSequence([seed, *"/".join(map(str, key)).encode()]).generate_state(1)[0])


@contextmanager
def _drawing(seed: int, *key: object) -> Iterator[None]:
    """Initial weights made inside are drawn from the part's own seed; the global generator is left where it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_derived(seed, *key))
        yield
