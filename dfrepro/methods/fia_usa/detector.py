"""The FIA-USA detector: AFFS, FPN and RCR, the region-aware contrastive regularisation.

The FIA-USA paper (arXiv 2504.04827), Sec. 3.2, Eq. 3 to 7, Appendices D to F, Tables 6 and 7. Its pseudo-fakes
are `dfrepro.methods.fia_usa.pseudo_fakes`, the ranking of channels `dfrepro.methods.fia_usa.affs`.

    images -> backbone -> C2..C5 ---- head "c5": the network's own ----------> real | fake
                            | AFFS: m_i channels of each
                            | FPN: lateral 1x1, nearest top-down, 3x3 smoothing
                          P2..P5 ---- head "fpn": pooled, concatenated ------> real | fake
                            P2 (stride 4) ------- RCR, while training

A pair is a real face R and the fake F made of it, equal outside the mask M. With δ̄ the mean cosine over all pairs of
pixels of two regions,

    L1 = softplus( LSE_n δ̄(F_in, F_out)/τ − LSE_n δ̄(R_in, R_out)/τ )      (Eq. 4, PCR: within one face)
    L2 = softplus( LSE_n δ̄(R_in, F_in)/τ − LSE_n δ̄(R_out, F_out)/τ )      (Eq. 6, ICR: between the two)
    L  = λ1 CE + λ2 L1 + λ3 L2                                             (Eq. 7)

Eq. 5 prints a sum over pairs of pixels. Millions of them overflow e^(δ/τ), and the text says "normalized": the mean it
is. The classifier reads the unsliced C5, so that without RCR neither FPN nor AFFS has any say; such a variant has none.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from dfrepro.errors import WorkbookError
from dfrepro.methods.fia_usa.affs import NORMALISATIONS, ChannelSelection, kept_channels
from dfrepro.nets.detector import Backbone, Detector, Output
from dfrepro.nets.fpn import FPN

STRIDES = (4, 8, 16, 32)  # C2 to C5
INSIDE, OUTSIDE = 0.5, 0.05  # of the mask's area in a cell; cells between hold the boundary and are dropped (App. F)
LEAST = 4  # cells a region must have
WIDTHS = {"resnet50": 196, "resnet101": 196, "efficientnet_b1": 128, "efficientnet_b4": 128}  # App. D


# --- variants -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Variant:
    """What a run can change about the detector and its loss.

    ce, pcr, icr: λ1, λ2, λ3 of Eq. 7, not negative. channels: "affs", "all", or "random", as many as AFFS keeps. head:
    what is classified, the network's own "c5" or the pooled levels of the "fpn". tau: τ > 0. width: channels of the
    FPN, 0 for Appendix D's or, in networks it does not name, those of C2 up to 64. inside: a cell of which the mask
    covers more than this share is inside (.95: none that the boundary cuts). coverage: scale PCR and ICR by the share
    of pairs that have a say in them, as cross-entropy is over all. normalisation: AFFS' F, one of `NORMALISATIONS`.
    """

    ce: float = 1.0
    pcr: float = 2.5
    icr: float = 0.25
    channels: Literal["affs", "random", "all"] = "affs"
    head: Literal["c5", "fpn"] = "c5"
    tau: float = 0.7
    width: int = 0
    inside: float = INSIDE
    coverage: bool = False
    normalisation: str = "absolute"

    def __post_init__(self) -> None:
        if min(self.ce, self.pcr, self.icr) < 0 or self.tau <= 0:
            raise WorkbookError(f"weights must not be negative and tau be positive: {self}", where="FIA-USA")
        if not OUTSIDE < self.inside < 1:
            raise WorkbookError(f"inside is {self.inside}", where="FIA-USA", remedy=f"Between {OUTSIDE} and 1")
        choices = {"channels": ("affs", "random", "all"), "head": ("c5", "fpn"), "normalisation": NORMALISATIONS}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise WorkbookError(
                    f"{name} is {getattr(self, name)!r}", where="FIA-USA", remedy=f"One of {', '.join(known)}"
                )

    @property
    def contrasts(self) -> bool:
        """Whether RCR is in the loss."""
        return bool(self.pcr or self.icr)

    @property
    def has_pyramid(self) -> bool:
        return self.contrasts or self.head == "fpn"

    @property
    def needs_ranking(self) -> bool:
        """Whether `rank_channels` has to run before the training."""
        return self.has_pyramid and self.channels == "affs"

    def loss(self, label_smoothing: float = 0.0) -> "FiaUsaLoss":
        return FiaUsaLoss(self, label_smoothing)


VARIANTS = {  # the detector's rows of Tables 6a, 6c and 8, and controls; rows about the pseudo-fakes are the forge's
    "full": Variant(),
    "full-fpn": Variant(head="fpn"),
    "no-rcr-fpn": Variant(pcr=0, icr=0, head="fpn"),
    "no-affs-fpn": Variant(channels="all", head="fpn"),
    "full-coverage": Variant(coverage=True),
    "no-pcr": Variant(pcr=0),
    "no-icr": Variant(icr=0),
    "no-rcr": Variant(pcr=0, icr=0),
    "no-affs": Variant(channels="all"),
    "random-channels": Variant(channels="random"),
    "pcr100-icr100": Variant(pcr=1, icr=1),
    "pcr100-icr025": Variant(pcr=1, icr=0.25),
    "pcr250-icr100": Variant(pcr=2.5, icr=1),
    "pcr025-icr250": Variant(pcr=0.25, icr=2.5),
}


# --- the detector -------------------------------------------------------------------------------------------------


class Pyramid(NamedTuple):
    """A detector's output with the finest level of its FPN."""

    output: Output
    finest: Tensor  # (B, width, H/4, W/4)


class FiaUsaDetector(Detector):
    """A timm network with stages at strides 4 to 32, AFFS and an FPN on them.

    `detector(images)` is an `Output` like any detector's, and does not compute the FPN unless its head reads it;
    `detector(images, finest=True)` is a `Pyramid`. Attributes: `selection` (None: all channels), `fpn` (None: the
    variant reads it nowhere), `channels` (C2 to C5), `kept` (m_2 to m_5).
    """

    def __init__(self, spec: Backbone, variant: Variant):
        super().__init__(spec)
        self.variant = variant
        infos = _pyramid_stages(self.backbone, spec.name)
        self._places = [place for place, _ in infos]
        self.channels = tuple(c for _, c in infos)
        self.kept = self.channels if variant.channels == "all" else kept_channels(spec.name, _widths(self.backbone))
        width = variant.width or _width(spec.name, self.channels[0])
        self.selection: ChannelSelection | None = None
        self.fpn: FPN | None = None
        self.head: nn.Linear | None = None
        if variant.has_pyramid:
            if variant.channels != "all":
                self.selection = ChannelSelection(self.channels, self.kept)
            levels = len(STRIDES) if variant.head == "fpn" else 1
            self.fpn = FPN(self.kept, width, levels)
            if variant.head == "fpn":
                self.head = nn.Linear(levels * width, 2)
                _freeze_unread(self.backbone, self._places)

    def forward(self, images: Tensor, finest: bool = False) -> Output | Pyramid:  # type: ignore[override]
        """images (B, 3, S, S) uint8, or float in [0, 255]. Raises WorkbookError for a finest level there is not."""
        maps, stages = self.stages(self.preprocess(images))
        if self.fpn is None:
            if finest:
                raise WorkbookError("this variant has no FPN", where="FIA-USA", remedy="Give pcr or icr a weight")
            return self._classify(maps)
        if self.head is None and not finest:
            return self._classify(maps)
        levels = self.fpn(stages if self.selection is None else self.selection(stages))
        output = self._classify(maps) if self.head is None else self._classify_levels(levels)
        return Pyramid(output, levels[0]) if finest else output

    def stages(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Of preprocessed input: the maps (B, D, h, w) that the network's head pools; C2 to C5 (B, C_i, h_i, w_i)."""
        network: Any = self.backbone
        return network.forward_intermediates(x, indices=self._places)

    def _classify(self, maps: Tensor) -> Output:
        network: Any = self.backbone
        features = network.forward_head(maps, pre_logits=True)  # (B, D)
        return Output(network.get_classifier()(features), features, maps)

    def _classify_levels(self, levels: Sequence[Tensor]) -> Output:
        assert self.head is not None
        features = torch.cat([level.mean((2, 3)) for level in levels], dim=1)  # (B, 4 width)
        return Output(self.head(features), features, levels[0])


def build(variant: Variant, spec: Backbone, seed: int) -> FiaUsaDetector:
    """A detector whose initial weights, and random channels, depend on `seed` alone.

    The backbone's are those of `build_detector(spec, seed)`, in every variant: arms of a comparison start alike. Where
    `variant.needs_ranking`, rank the channels before the first step.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        detector = FiaUsaDetector(spec, variant)
    if variant.channels == "random" and detector.selection is not None:
        detector.selection.keep_random(seed)
    return detector


def _freeze_unread(backbone: Any, places: list[int]) -> None:
    """Freeze what lies behind the pyramid: without a gradient, several ranks would wait for one for ever."""
    pruned = deepcopy(backbone)
    pruned.prune_intermediate_layers(places, prune_norm=True, prune_head=True)
    read = {name for name, _ in pruned.named_parameters()}
    for name, weight in backbone.named_parameters():
        weight.requires_grad_(name in read)


def _width(name: str, c2: int) -> int:
    return WIDTHS.get(name.split(".")[0].removeprefix("tf_"), min(64, c2))


def _infos(backbone: nn.Module) -> list[dict[str, Any]]:
    infos: Any = getattr(backbone, "feature_info", [])
    return list(getattr(infos, "info", infos))


def _widths(backbone: nn.Module) -> list[int]:
    """Channels of the stages up to C5, C1 among them where the network has one."""
    return [int(info["num_chs"]) for info in _infos(backbone)]


def _pyramid_stages(backbone: nn.Module, name: str) -> list[tuple[int, int]]:
    """Place in timm's list of stages, and channels, of C2 to C5."""
    stages = {info["reduction"]: (place, int(info["num_chs"])) for place, info in enumerate(_infos(backbone))}
    missing = [stride for stride in STRIDES if stride not in stages]
    if missing or not hasattr(backbone, "forward_intermediates"):
        raise WorkbookError(
            f"it has no stages at strides {missing or STRIDES} that could be read",
            where=f"backbone {name}",
            remedy="FIA-USA needs a pyramid: EfficientNet, ResNet, ConvNeXt, ...",
        )
    return [stages[stride] for stride in STRIDES]


# --- RCR, Eq. 4 to 6 ----------------------------------------------------------------------------------------------


class Contrast(NamedTuple):
    """L1, L2 and the share of pairs that were skipped, 0-dim."""

    pcr: Tensor
    icr: Tensor
    skipped: Tensor


def regions(masks: Tensor, size: Sequence[int], inside: float = INSIDE) -> Tensor:
    """Cells inside and outside of masks (P, H, W) in [0, 1] on a grid of `size`: (P, 2, h·w) of 0 and 1.

    A cell of which the mask covers more than `inside` is inside, less than .05 outside, else neither.
    """
    covered = functional.interpolate(masks[:, None], tuple(size), mode="area")[:, 0]  # (P, h, w)
    return torch.stack([covered > inside, covered < OUTSIDE], dim=1).flatten(2).to(masks.dtype)


def usable(cells: Tensor) -> Tensor:
    """Which pairs have a say in RCR, (P,) bool: those with four cells or more on either side of (P, 2, h·w)."""
    return (cells.sum(2) >= LEAST).all(1)


def mean_units(features: Tensor, cells: Tensor) -> Tensor:
    """Mean of the unit features (P, D, h, w) over each region's cells (P, 2, h·w): (P, 2, D).

    The inner product of two such means is the mean cosine over all pairs of their pixels, without the pairs.
    """
    units = functional.normalize(features.flatten(2), dim=1)  # (P, D, h·w)
    return cells @ units.transpose(1, 2) / cells.sum(2, keepdim=True).clamp_min(1)


def rcr(
    real: Tensor, fake: Tensor, masks: Tensor, tau: float = 0.7, *, inside: float = INSIDE, coverage: bool = False
) -> Contrast:
    """Eq. 4 to 6 on P pairs: features (P, D, h, w) of reals and fakes, masks (P, H, W) in [0, 1] before any ratio.

    Computed in float32 at least. A pair with fewer than four cells inside or outside has no say; without any other
    pair both losses are 0. `coverage` multiplies them by the share of pairs that have one. `inside`: see `regions`.
    Over several ranks, which must hold equally many pairs, it is that of all their pairs.
    """
    with torch.autocast(real.device.type, enabled=False):
        wide = torch.promote_types(real.dtype, torch.float32)
        cells = regions(masks.to(wide), real.shape[-2:], inside)  # (P, 2, h·w)
        enough = usable(cells)  # (P,)
        (r_in, r_out), (f_in, f_out) = (mean_units(x.to(wide), cells).unbind(1) for x in (real, fake))  # (P, D) each
        delta = torch.stack(
            [(f_in * f_out).sum(1), (r_in * r_out).sum(1), (r_in * f_in).sum(1), (r_out * f_out).sum(1)]
        )  # (4, P)
        delta, enough, ranks = _joint(delta, enough)
        any_left = enough.any()
        kept = torch.where(enough | ~any_left, delta / tau, -torch.inf).logsumexp(1)  # (4,)
        losses = functional.softplus(torch.stack([kept[0] - kept[1], kept[2] - kept[3]])) * any_left  # (2,)
        if coverage:
            losses = losses * enough.to(wide).mean()
        losses = ranks * losses - (ranks - 1) * losses.detach()  # DDP takes the mean of gradients; each is a part of L
        return Contrast(losses[0], losses[1], 1 - enough.to(wide).mean())


def _joint(delta: Tensor, enough: Tensor) -> tuple[Tensor, Tensor, int]:
    """δ̄ (4, P) and `enough` (P,) of all ranks' pairs, this rank's with their graph; and the number of ranks."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return delta, enough, 1
    ranks = dist.get_world_size()
    own = torch.cat([delta.detach(), enough[None].to(delta.dtype)])  # (5, P)
    parts = [torch.empty_like(own) for _ in range(ranks)]
    dist.all_gather(parts, own)
    deltas = [part[:4] for part in parts]
    deltas[dist.get_rank()] = delta
    return torch.cat(deltas, dim=1), torch.cat([part[4] > 0 for part in parts]), ranks


# --- Eq. 7 --------------------------------------------------------------------------------------------------------


@dataclass
class FiaUsaLoss:
    """λ1 CE + λ2 L1 + λ3 L2 of a batch of pairs, which reads real, fake, real, fake, ... (`check_pairs`).

    CE is the mean over all images; with two logits it is the binary cross-entropy of their difference. The parts are
    `ce`, `pcr`, `icr` before their weights, and `skipped`, the share of pairs without a say in RCR. Without RCR any
    batch will do. A function of network and batch alone: SAM's second pass sees the same pairs, and RCR anew.
    """

    variant: Variant = field(default_factory=Variant)
    label_smoothing: float = 0.0
    _checked: bool = field(default=False, init=False, repr=False, compare=False)

    def __call__(self, model: nn.Module, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        v = self.variant
        if not v.contrasts:
            ce = self._cross_entropy(model(batch["image"]).logits, batch["label"])
            return v.ce * ce, {"ce": ce}
        if not self._checked:  # once: the look waits for the device, and a data set's layout does not change
            check_pairs(batch)
            self._checked = True
        output, finest = model(batch["image"], finest=True)
        ce = self._cross_entropy(output.logits, batch["label"])
        masks = batch["mask"][1::2].to(torch.float32) / 255  # (P, S, S)
        pcr, icr, skipped = rcr(finest[0::2], finest[1::2], masks, v.tau, inside=v.inside, coverage=v.coverage)
        parts = {"ce": ce, "pcr": pcr, "icr": icr, "skipped": skipped}
        return v.ce * ce + v.pcr * pcr + v.icr * icr, parts

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)


def check_pairs(batch: Mapping[str, Any]) -> None:
    """Raise WorkbookError unless the batch is pairs: real and fake of one draw in turn, with `mask` (B, S, S) uint8.

    The fake's mask is read: the blend's, after the geometry that both share and before the ratio scales it.
    """
    remedy = "Train on pairs of a real face and the pseudo-fake made of it, and keep them together"
    if "mask" not in batch:
        raise WorkbookError("the batch has no masks", where="RCR", remedy=remedy)
    label = batch["label"]
    if len(label) % 2 or not (bool((label[0::2] == 0).all()) and bool((label[1::2] == 1).all())):
        raise WorkbookError("the batch is not real and fake in turn", where="RCR", remedy=remedy)
    if "draw" in batch and not bool((batch["draw"][0::2] == batch["draw"][1::2]).all()):
        raise WorkbookError("neighbours in the batch are not of the same draw", where="RCR", remedy=remedy)
    if batch["mask"].dtype != torch.uint8:
        raise WorkbookError(f"masks are {batch['mask'].dtype}", where="RCR", remedy="uint8, 255 where manipulated")
