"""FPG, forgery perception guidance: a detector that knows a face's quality, trained on fakes refined against it.

Of the paper only the supplement is at hand: Section 1 and Figure 1 (quality branch, attention), Eq. 1 (discrete
perturbation), Tables 1 and 2. The rest is what the authors' public code does; which part comes from where
is in `papers/fpg/DEVIATIONS.md`. Training reads pairs of a real and the fake self-blended of it.

- here: the variants, the detector, the loss
- `refine`: shape and magnitude refinement, the hook a step calls once before its evaluations
- `fpg_fakes`: what the hook works on; `fpg_quality`: what the quality branch is taught
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfrepro.errors import WorkbookError
from dfrepro.methods.fpg.fakes import pair_up, unit_mask
from dfrepro.methods.fpg.quality import QualityTarget
from dfrepro.methods.fpg.refine import Order, Perturbation, Refinement
from dfrepro.nets.detector import Backbone, Detector, Output, build_detector
from dfrepro.nets.layout import layout_of
from dfrepro.nets.losses import CrossEntropy

Attention = Literal["quality", "squeeze"]
TINY = 1e-8  # under a norm or an area of zero


@dataclass(frozen=True)
class FPG:
    """A variant, by name: everything that a run of the paper's tables may change.

    attention: fed by the quality branch ("quality", the code) or by the averaged channels ("squeeze", as in
    Squeeze-and-Excitation). quality_width, attention_width, dropout: of the detector. order: Table 1's, one refinement
    alone, or "none". perturbation, overlap (t), eps, probability, positions: see `Refinement`. similarity, quality: the
    weights of the loss' two other terms. plain: the network alone, on cross-entropy: the self-blending baseline that
    the supplement compares with, without branch, attention and the two other terms.
    """

    attention: Attention = "quality"
    quality_width: int = 512
    attention_width: int = 256
    dropout: float = 0.4
    order: Order | Literal["none"] = "S->M"
    perturbation: Perturbation = "unified"
    overlap: float = 0.2
    eps: float = 0.01
    probability: float = 0.5
    positions: int = 1
    similarity: float = 0.075
    quality: float = 1.0
    plain: bool = False

    def refinement(self) -> Refinement | None:
        """The hook that refines a batch before a step; None for the baselines."""
        if self.order == "none":
            return None
        return Refinement(self.order, self.perturbation, self.overlap, self.eps, self.probability, self.positions)

    def loss(self, target: QualityTarget) -> "FPGLoss | CrossEntropy":
        return CrossEntropy() if self.plain else FPGLoss(target, self.similarity, self.quality)


# the variants behind the runs of papers/fpg/README.md (fpg-third is fpg-full, stopped early)
VARIANTS: Mapping[str, FPG] = {
    "fpg-full": FPG(),
    "fpg-ms": FPG(order="M->S"),
    "fpg-discrete": FPG(perturbation="discrete"),
    "fpg-random-sign": FPG(perturbation="random"),
    "fpg-squeeze": FPG(attention="squeeze"),
    "fpg-baseline": FPG(order="none"),
    "fpg-plain": FPG(order="none", plain=True),
}


def build(variant: FPG, spec: Backbone, seed: int) -> "Detector":
    """The variant's detector on a timm network in stages. Initial weights depend on `seed` alone."""
    if variant.plain:
        return build_detector(replace(spec, kwargs={**spec.kwargs, "drop_rate": variant.dropout}), seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FPGDetector(spec, variant)


# --- the detector (supplement, Section 1, Figure 1) ---------------------------------------------------------------


class FPGDetector(Detector):
    """A staged timm network with a quality branch and a channel attention before its classifier.

    `forward(images (B, 3, S, S))` takes uint8, or float in [0, 255].
    """

    backbone: Any  # a timm network: its methods are beyond nn.Module

    def __init__(self, spec: Backbone, variant: FPG):
        super().__init__(spec)
        channels = self.backbone.num_features
        self.branch = QualityBranch(channels, variant.quality_width)
        self.squeezes = variant.attention == "squeeze"
        if variant.attention == "quality":
            ends = variant.quality_width, self.backbone.get_classifier().in_features
        elif variant.attention == "squeeze":
            ends = channels, channels
        else:
            raise WorkbookError(f"attention is {variant.attention!r}; must be quality or squeeze", where="FPG")
        self.attention = ChannelAttention(ends[0], variant.attention_width, ends[1])
        self.dropout = nn.Dropout(variant.dropout)

    def forward(self, images: Tensor, with_quality: bool = False) -> Any:
        """An `Output`, or with_quality a pair of it and q̂ (B,). Its features are weighted ones, its maps F0."""
        output, quality = self.judge(self.preprocess(images))
        return (output, quality) if with_quality else output

    def read(self, x: Tensor) -> Output:
        return self.judge(x)[0]

    def judge(self, x: Tensor) -> tuple[Output, Tensor]:
        """Output and q̂ (B,) of an input that is preprocessed already."""
        maps = self.backbone.forward_features(x)
        if maps.ndim != 4:
            raise WorkbookError(
                f"{type(self.backbone).__name__} has no feature map, its last features are {tuple(maps.shape)}",
                where="FPG",
                remedy="Take a network in stages: ConvNeXt, EfficientNet, ResNet, Swin, ...",
            )
        f0 = layout_of(self).as_map(maps)  # (B, C, h, w)
        u, quality = self.branch(f0)
        if self.squeezes:
            weights = self.attention(f0.mean((2, 3)))  # (B, C)
            shape = (len(x), -1, 1, 1) if f0 is maps else (len(x), 1, 1, -1)
            features = self.backbone.forward_head(maps * weights.view(shape), pre_logits=True)  # (B, D)
        else:
            features = self.backbone.forward_head(maps, pre_logits=True) * self.attention(u)
        return Output(self.backbone.get_classifier()(self.dropout(features)), features, maps), quality


class QualityBranch(nn.Module):
    """F0 (B, C, h, w) -> u (B, width) and q̂ (B,): a depthwise separable convolution, averaged, and one linear layer."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.separable = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.Conv2d(channels, width, 1, bias=False),  # batch-norm has the bias
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.regression = nn.Linear(width, 1)

    def forward(self, f0: Tensor) -> tuple[Tensor, Tensor]:
        u = self.separable(f0).mean((2, 3))  # (B, width)
        return u, self.regression(u)[:, 0]


class ChannelAttention(nn.Sequential):
    """(B, inputs) -> weights (B, channels) in (0, 1), through `width` (supplement: 256), without biases."""

    def __init__(self, inputs: int, width: int, channels: int):
        layers = nn.Linear(inputs, width, bias=False), nn.Linear(width, channels, bias=False)
        super().__init__(layers[0], nn.ReLU(), layers[1], nn.Sigmoid())


# --- the loss -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FPGLoss:
    """CE + `similarity` L_sim + `quality` MSE(q̂, Q), on a batch of pairs with `mask` (B, S, S), refined or not.

    `target` gives Q. Parts for the history: the three terms and, of a refined batch, the shares of its fakes whose
    shape was refined, and whose refinement was skipped because erosion left nothing.
    """

    target: QualityTarget
    similarity: float = 0.075
    quality: float = 1.0

    def __call__(self, model: nn.Module, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        output, quality = model(batch["image"], with_quality=True)
        pairs = pair_up(batch)
        maps = layout_of(getattr(model, "module", model)).as_map(output.maps)
        parts = {
            "cross_entropy": functional.cross_entropy(output.logits, batch["label"]),
            "similarity": similarity(maps[pairs.real], maps[pairs.fake], unit_mask(batch)[pairs.fake]),
            "quality": functional.mse_loss(quality, self.target(batch).to(quality.dtype)),
        }
        loss = parts["cross_entropy"] + self.similarity * parts["similarity"] + self.quality * parts["quality"]
        flags = {name: batch[name][pairs.fake].mean() for name in ("refined", "emptied") if name in batch}
        return loss, parts | flags


def similarity(real: Tensor, fake: Tensor, mask: Tensor) -> Tensor:
    """L_sim, the mean of (cos(ā_r, ā_f) + 1) / 2 over pairs: in [0, 1], 0-dim.

    ā is the mean of the features (b, C, h, w) inside the support of the fake's mask (b, S, S), each position weighing
    as much of it as it covers. A pair whose mask is empty does not count; without any, the value is 0.
    """
    with torch.autocast(real.device.type, enabled=False):
        cells = (int(real.shape[-2]), int(real.shape[-1]))
        support = functional.adaptive_avg_pool2d((mask > 0).float()[:, None], cells)  # (b, 1, h, w)
        area = support.sum((2, 3))  # (b, 1)
        a_r, a_f = ((maps.float() * support).sum((2, 3)) / area.clamp_min(TINY) for maps in (real, fake))  # (b, C)
        counts = (area[:, 0] > 0).float()  # (b,)
        alike = (functional.cosine_similarity(a_r, a_f, dim=1, eps=TINY) + 1) / 2  # (b,)
        return (alike * counts).sum() / counts.sum().clamp_min(1)
