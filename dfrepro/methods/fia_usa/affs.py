"""AFFS, automatic forgery-aware feature selection: keep the channels that answer to a forgery where its mask is.

FIA-USA (arXiv 2504.04827), Sec. 3.2.1, Eq. 3 = Eq. 9, Appendix E, Table 7. For channel k of stage i, over N
pairs,

    L_ik = 1/N Σ_n mean_xy ( F(f_ik(R_n), f_ik(F_n)) − M_n )²

and the m_i channels of least L are kept, for good, before the FPN is built. The printed parentheses do not balance;
E.2 says that the *difference* is normalised. So F is the min–max of |f(R) − f(F)|, per pair and channel, bilinearly
brought to the mask's size; other readings are in `NORMALISATIONS`.

A difference that is the same everywhere has no min–max: it becomes 0, which an ε under the fraction would give too. But
0 is a good guess where the mask is small, so a channel that is dead in every pair would be ranked before ones that
answer noisily. It goes last.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfrepro.errors import WorkbookError
from dfrepro.nets.detector import Detector

Batch = Mapping[str, Any]
D = TypeVar("D", bound=Detector)
UNRANKED = -1
KEPT = {  # Table 7, stages C2 to C5
    "resnet50": (196, 384, 768, 1536),
    "resnet101": (196, 384, 768, 1536),
    "efficientnet_b1": (16, 24, 40, 112),
    "efficientnet_b4": (24, 32, 56, 160),
}


def kept_channels(network: str, channels: Sequence[int]) -> tuple[int, ...]:
    """m_i of the stages C2 to C5 of a timm network with `channels` C_i, the last four of them those of C2 to C5.

    Table 7 where it has the network. Elsewhere by what the table does: for an EfficientNet m_i = C_{i−1}, the width of
    the stage before (exactly so for B1 and B4); for others three quarters of C_i (ResNet's, but for its 196).
    """
    family = network.split(".")[0].removeprefix("tf_")
    if family in KEPT:
        return KEPT[family]
    *_, c2, c3, c4, c5 = channels
    if "efficientnet" in family and len(channels) > 4:
        before = (*channels[-5:-1],)
        return tuple(min(m, c) for m, c in zip(before, (c2, c3, c4, c5)))
    return tuple(max(1, round(0.75 * c)) for c in (c2, c3, c4, c5))


# --- Eq. 9 --------------------------------------------------------------------------------------------------------


def unit_range(maps: Tensor) -> Tensor:
    """Min–max of every map (P, C, h, w) to [0, 1]; a constant map becomes 0."""
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    span = high - low
    return torch.where(span > 0, (maps - low) / span, 0)


def standardised(maps: Tensor) -> Tensor:
    """Every map (P, C, h, w) at mean 0 and deviation 1; a constant map becomes 0."""
    centred = maps - maps.mean((2, 3), keepdim=True)
    sigma = centred.square().mean((2, 3), keepdim=True).sqrt()
    varies = maps.amax((2, 3), keepdim=True) > maps.amin((2, 3), keepdim=True)  # a constant's σ may be rounding
    return torch.where(varies, centred / sigma, 0)


NORMALISATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # F of real and fake maps (P, C, h, w)
    "absolute": lambda real, fake: unit_range((real - fake).abs()),
    "signed": lambda real, fake: unit_range(real - fake),
    "each-map": lambda real, fake: (unit_range(real) - unit_range(fake)).abs(),
    "z-score": lambda real, fake: standardised((real - fake).abs()),
}


def squared_error(maps: Tensor, masks: Tensor) -> Tensor:
    """Mean squared difference (P, C) of maps (P, C, h, w), enlarged bilinearly, from masks (P, H, W).

    Enlarging is linear and separable, U = A m Bᵀ, so ‖U − M‖² = ⟨m, AᵀA m BᵀB⟩ − 2⟨m, AᵀM B⟩ + ‖M‖² is had on the
    small grid: nothing of size P x C x H x W is ever made (EfficientNet-B4's C5 would take 260 MB a pair).
    """
    rows, columns = (_enlarging(maps, axis, masks.shape[axis - 1]) for axis in (2, 3))  # (H, h), (W, w)
    masks = masks.to(maps.dtype)
    spread = (rows.T @ rows) @ maps @ (columns.T @ columns)  # (P, C, h, w)
    onto = rows.T @ masks @ columns  # (P, h, w)
    cross = (maps * (spread - 2 * onto[:, None])).sum((2, 3), dtype=torch.float64)  # (P, C)
    return (cross + masks.square().sum((1, 2), dtype=torch.float64)[:, None]) / masks[0].numel()


def _enlarging(maps: Tensor, axis: int, size: int) -> Tensor:
    """The matrix (size, s) by which bilinear interpolation enlarges `axis`, s long."""
    basis = torch.eye(maps.shape[axis], dtype=maps.dtype, device=maps.device)
    return functional.interpolate(basis[None], size, mode="linear", align_corners=False)[0].T


class ChannelErrors:
    """L_ik of Eq. 9, added up pair by pair; memory does not grow with N."""

    def __init__(self, normalisation: str = "absolute"):
        if normalisation not in NORMALISATIONS:
            raise WorkbookError(
                f"unknown normalisation {normalisation!r}", where="AFFS", remedy=f"One of {', '.join(NORMALISATIONS)}"
            )
        self.normalise = NORMALISATIONS[normalisation]
        self.pairs = 0
        self._sums: list[Tensor] = []  # (C_i,) a stage
        self._answers: list[Tensor] = []  # (C_i,) in how many pairs the difference was no constant

    @torch.no_grad()
    def update(self, real: Sequence[Tensor], fake: Sequence[Tensor], masks: Tensor) -> None:
        """Add P pairs: maps (P, C_i, h_i, w_i) of every stage for reals and fakes, masks (P, H, W) in [0, 1]."""
        maps = [self.normalise(r.float(), f.float()) for r, f in zip(real, fake, strict=True)]
        errors = [squared_error(one, masks).sum(0) for one in maps]  # (C_i,)
        answers = [(one.amax((2, 3)) > one.amin((2, 3))).sum(0) for one in maps]  # (C_i,)
        if not self.pairs:
            self._sums, self._answers = errors, answers
        else:
            self._sums = [total + error for total, error in zip(self._sums, errors, strict=True)]
            self._answers = [total + answer for total, answer in zip(self._answers, answers, strict=True)]
        self.pairs += len(masks)

    def result(self) -> list[Tensor]:
        """L_ik as (C_i,) float64 a stage; infinite for a channel that never answered. Raises without any pair."""
        if not self.pairs:
            raise WorkbookError("no pair was seen", where="AFFS", remedy="Give at least one batch of pairs")
        return [
            torch.where(answers > 0, total / self.pairs, torch.inf) for total, answers in zip(self._sums, self._answers)
        ]


# --- the selection ------------------------------------------------------------------------------------------------


class Agreement(NamedTuple):
    """Two rankings of one stage: the share of kept channels that both keep, what chance gives, and Spearman's ρ."""

    shared: float
    chance: float
    correlation: float


def agreement(one: Tensor, other: Tensor, kept: int) -> Agreement:
    """How far errors (C,) of a stage rank its channels as others do; of m of C kept at random, m/C are shared."""
    ranks = [torch.argsort(errors.cpu(), stable=True).argsort().double() for errors in (one, other)]
    shared = ((ranks[0] < kept) & (ranks[1] < kept)).sum().item() / kept
    correlation = torch.corrcoef(torch.stack(ranks))[0, 1].item() if len(one) > 1 else 1.0
    return Agreement(shared, kept / len(one), correlation)


class ChannelSelection(nn.Module):
    """f′_i: m_i channels of every stage. The indices are buffers, so that they travel with the checkpoint."""

    def __init__(self, channels: Sequence[int], kept: Sequence[int]):
        super().__init__()
        for i, (c, m) in enumerate(zip(channels, kept, strict=True)):
            if not 0 < m <= c:
                raise WorkbookError(f"cannot keep {m} of {c} channels", where=f"AFFS, stage C{i + 2}")
            self.register_buffer(f"stage{i}", torch.full((m,), UNRANKED))
        self.channels = tuple(channels)
        self._usable = False

    @property
    def indices(self) -> list[Tensor]:
        """(m_i,) int64 a stage, ascending; `UNRANKED` until they are set."""
        return [self.get_buffer(f"stage{i}") for i in range(len(self.channels))]

    def keep_least(self, errors: Sequence[Tensor]) -> None:
        """Freeze the m_i channels of least error (C_i,) a stage; of equals the first."""
        self._freeze([torch.argsort(error.cpu(), stable=True) for error in errors])

    def keep_random(self, seed: int) -> None:
        """Freeze m_i channels at random: the control for AFFS."""
        generator = torch.Generator().manual_seed(seed)
        self._freeze([torch.randperm(c, generator=generator) for c in self.channels])

    def _freeze(self, ranking: Sequence[Tensor]) -> None:
        for own, ranked, c in zip(self.indices, ranking, self.channels, strict=True):
            if len(ranked) != c:
                raise WorkbookError(f"a ranking of {len(ranked)} channels for a stage of {c}", where="AFFS")
            own.copy_(ranked[: len(own)].sort().values)

    def forward(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """(B, C_i, h_i, w_i) -> (B, m_i, h_i, w_i). Raises until the channels are chosen."""
        if not self._usable:
            self._require_indices()
        return [x.index_select(1, index) for x, index in zip(stages, self.indices, strict=True)]

    def _require_indices(self) -> None:
        if any(bool((index == UNRANKED).any()) for index in self.indices):
            raise WorkbookError(
                "the channels are not ranked yet",
                where="AFFS",
                remedy="Rank them (rank_channels, keep_least) or load a checkpoint before the first step",
            )
        self._usable = True


# --- over a training set ------------------------------------------------------------------------------------------


@torch.no_grad()
def rank_channels(detector: Any, batches: Iterable[Batch]) -> list[Tensor]:
    """L_ik (C_i,) of a FiaUsaDetector's stages C2 to C5 over batches of pairs, as its loss reads them, in eval mode.

    The paper runs a pretrained network over five epochs of the training set. Give the result to
    `detector.selection.keep_least`.
    """
    errors = ChannelErrors(detector.variant.normalisation)
    training = detector.training
    detector.eval()
    try:
        for batch in batches:
            _, stages = detector.stages(detector.preprocess(batch["image"].to(detector.mean.device)))
            masks = batch["mask"][1::2].to(stages[0]) / 255
            errors.update([x[0::2] for x in stages], [x[1::2] for x in stages], masks)
    finally:
        detector.train(training)
    return errors.result()


def warmed_up(detector: D, batches: Iterable[Batch], lr: float = 1e-3) -> D:
    """A copy of `detector`, trained with cross-entropy on one pass over `batches`: something to rank channels on.

    For networks without pretrained weights, whose channels say nothing yet. The copy starts where the detector will
    start, on the same kind of draws, so that channel k of the one becomes channel k of the other; the detector itself
    is unchanged, and gains no step over the arms it is compared with.
    """
    copy = deepcopy(detector).train().requires_grad_(True)
    network: Any = copy.backbone
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr)
    for batch in batches:
        image, label = (batch[key].to(copy.mean.device) for key in ("image", "label"))
        maps = network.forward_features(copy.preprocess(image))
        loss = functional.cross_entropy(network.forward_head(maps), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return copy.train(detector.training)
