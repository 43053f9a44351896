"""FoCus: where a face was forged, learned from labels alone, by two token encoders that compete for every position.

"Learning to Discover Forgery Cues for Face Forgery Detection", TIFS 19, 2024 (P4), Sec. III. The supplied text has lost
its formulas: the readings are named options of `FocusConfig`, their reasons in papers/focus/DEVIATIONS.md.

    t_m = encoder_m(image_m)                        tokens of the modalities m: RGB and a filtered image
    F_m = conv(t_m)                                 CARP: K maps for each class c
    z_c = mean_k max_hw F_ck,  p = softmax(z)       the maximum over space comes first
    A_m = Σ_c p_c mean_k F_ck                       Eq. 4, the CAR map
    A¹_m = p_1 mean_k F_1k                          Eq. 9, its class-1 form
    B   = [s_2(t_2) + g_2 > s_1(t_1) + g_1]         CL: Gumbel noise g while training only
    A   = (1 − B) ⊙ A_1 + B ⊙ A_2                   Eq. 5, the fused map; p_fuse reads (1 − B) t_1 + B t_2
    L   = CE(p_fuse, y) + λ Σ_m CE(p_m, y)          Eq. 6 to 8

What the maps are for is `focus_supervision`; encoders and filters are in `focus_encoder` and `focus_inputs`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args, get_type_hints

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from dfrepro.errors import WorkbookError
from dfrepro.methods.focus.encoder import Positions, at_own_size, class_attention, encode, fix_positions, on_grid
from dfrepro.methods.focus.inputs import modality_filter
from dfrepro.nets.detector import Backbone, Detector, Output

Reading = Literal["expected", "positive", "label", "pooled", "pooled_all"]
READINGS: tuple[Reading, ...] = get_args(Reading)
FAKE = 1


@dataclass(frozen=True)
class FocusConfig:
    """One FoCus. The defaults are the paper's; where its text is silent, the reading of papers/focus/DEVIATIONS.md.

    modality: what the second encoder looks at; "none" is RGB alone. k: maps a class. carp: False takes the class
    token's attention for the CAR map (−CARP). cl: False takes the larger of the two maps (−CL), without a fused head.
    competition: False scores each stream by itself (P4-C7). tau: temperature of the Gumbel softmax.
    kernel: side of CARP's convolution, 1 or 3. lam: λ of Eq. 8, which is a run's setting for Figure 11.
    car_map: how Eq. 4 and 9 are read: "expected", as above; "positive", Σ_c p_c ReLU(mean_k F_ck), in which a class
    that speaks against a place cannot cancel the other; "label", mean_k F_yk; "pooled", Σ_k GAP(F_yk) F_yk;
    "pooled_all", that summed over both classes. It changes maps, not the training: `read_as`.
    fusion: "replace" (Eq. 5 as above) or "add", A_1 + B ⊙ A_2. gumbel: noise is added to the
    "scores", or to their "log_softmax" (the same), or to their "softmax" (which flattens the choice). positions: fixed
    "pretrained" ones (sines and cosines without pretrained weights), or "sincos". sobel: "grey" filters the mean
    colour.
    """

    modality: Literal["sobel", "rgb", "dct", "srm", "none"] = "sobel"
    k: int = 32
    carp: bool = True
    cl: bool = True
    competition: bool = True
    tau: float = 1.0
    kernel: Literal[1, 3] = 1
    car_map: Reading = "expected"
    lam: float = 0.1
    fusion: Literal["replace", "add"] = "replace"
    gumbel: Literal["scores", "log_softmax", "softmax"] = "scores"
    positions: Positions = "pretrained"
    sobel: Literal["channels", "grey"] = "channels"

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            if get_args(hint) and getattr(self, name) not in get_args(hint):
                known = ", ".join(str(value) for value in get_args(hint))
                raise WorkbookError(f"{name} is {getattr(self, name)!r}", where="FoCus", remedy=f"Choose of {known}")
        if self.k < 1 or self.tau <= 0 or self.lam <= 0:
            values = f"k is {self.k}, tau {self.tau} and lam {self.lam}"
            raise WorkbookError(values, where="FoCus", remedy="All must be positive")
        if self.modality == "none" and not self.cl:
            raise WorkbookError("RGB alone has no maps to fuse", where="FoCus", remedy="Leave `cl` as it is")


# the FoCus networks behind the runs of papers/focus/README.md
VARIANTS: Mapping[str, FocusConfig] = {
    "focus": FocusConfig(),
    "no-competition": FocusConfig(competition=False),
    "no-carp": FocusConfig(carp=False),
    "no-cl": FocusConfig(cl=False),
    "rgb": FocusConfig(modality="none"),
    "rgb2": FocusConfig(modality="rgb"),
    "dct": FocusConfig(modality="dct"),
    "srm": FocusConfig(modality="srm"),
    "k1": FocusConfig(k=1),
    "k8": FocusConfig(k=8),
    "k64": FocusConfig(k=64),
    "lambda001": FocusConfig(lam=0.01),
    "lambda1": FocusConfig(lam=1.0),
}


class FocusOutput(NamedTuple):
    """What FoCus says of B faces in M streams; the first three fields are those of `Output`."""

    logits: Tensor  # (B, 2): of the fused head; −CL: the mean of z
    features: Tensor  # (B, D), what the fused head reads; −CL: (B, M D)
    maps: Tensor  # (B, D, h, w): the fused tokens; −CL: (B, M D, h, w)
    z: Tensor  # (B, M, 2): the localisation logits of each stream
    evidence: Tensor  # (B, M, 2, h, w), detached: one map a class, what the CAR maps weigh by p
    selection: Tensor  # (B, N), detached: B of Eq. 5, 1 where the second modality has won; 0 where none competes


class CarMaps(NamedTuple):
    """Maps of B faces, on the tokens' grid, neither negative-free nor rescaled."""

    streams: Tensor  # (B, M, h, w)
    fused: Tensor  # (B, h, w)


# --- CARP (Sec. III-B) ----------------------------------------------------------------------------------------------


class CARP(nn.Module):
    """Classification attentive regions proposal: tokens -> logits z and a map of evidence for each class."""

    def __init__(self, dim: int, config: FocusConfig):
        super().__init__()
        self.k, self.pooled = config.k, config.car_map in ("pooled", "pooled_all")
        self.conv = nn.Conv2d(dim, 2 * config.k, config.kernel, padding=config.kernel // 2)

    def forward(self, g: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D, h, w) -> z (B, 2), evidence (B, 2, h, w)."""
        f = self.conv(g).unflatten(1, (2, self.k))  # (B, 2, K, h, w)
        return class_scores(f), evidence(f.detach(), self.pooled)


def class_scores(f: Tensor) -> Tensor:
    """z_c = mean_k max_hw F_ck: each of the K maps of a class proposes one region. (B, 2, K, h, w) -> (B, 2)."""
    return f.amax((-2, -1)).mean(-1)


def evidence(f: Tensor, pooled: bool = False) -> Tensor:
    """mean_k F_ck, or Σ_k GAP(F_ck) F_ck: (B, 2, K, h, w) -> (B, 2, h, w)."""
    return (f.mean((-2, -1), keepdim=True) * f).sum(2) if pooled else f.mean(2)


def car_map(evidence: Tensor, z: Tensor, reading: Reading, labels: Tensor | None = None) -> Tensor:
    """Eq. 4: the CAR map (..., h, w) of evidence (..., 2, h, w) and logits z (..., 2).

    "label" and "pooled" need a class: `labels` (...), or where there are none the predicted one.
    """
    if reading in ("expected", "positive"):
        parts = evidence.clamp_min(0) if reading == "positive" else evidence
        return (z.softmax(-1)[..., None, None] * parts).sum(-3)
    if reading == "pooled_all":
        return evidence.sum(-3)
    y = z.argmax(-1) if labels is None else labels.expand(z.shape[:-1])
    return torch.where(y[..., None, None] == FAKE, evidence[..., 1, :, :], evidence[..., 0, :, :])


def class_1_map(evidence: Tensor, z: Tensor, reading: Reading) -> Tensor:
    """Eq. 9: what speaks for a fake, whatever the face is. Shapes as in `car_map`."""
    of_fake = evidence[..., FAKE, :, :]
    if reading in ("expected", "positive"):
        return z.softmax(-1)[..., FAKE, None, None] * (of_fake.clamp_min(0) if reading == "positive" else of_fake)
    return of_fake


class AttentionHead(nn.Module):
    """−CARP: logits from the class token; its attention, for either class, is the evidence."""

    def __init__(self, dim: int):
        super().__init__()
        self.linear = nn.Linear(dim, 2)

    def forward(self, class_token: Tensor, attention: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) and (B, h, w) -> z (B, 2), evidence (B, 2, h, w)."""
        return self.linear(class_token), attention.detach()[:, None].expand(-1, 2, -1, -1)


class Stream(nn.Module):
    """One modality: filter, encoder, localisation."""

    def __init__(self, vit: Any, modality: str, image_size: int, config: FocusConfig):
        super().__init__()
        self.filter = modality_filter(modality, image_size, grey_sobel=config.sobel == "grey")
        self.vit = vit
        self.carp = CARP(vit.embed_dim, config) if config.carp else None
        self.head = None if config.carp else AttentionHead(vit.embed_dim)

    def forward(self, images: Tensor, mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images in [0, 1] -> token map (B, D, h, w), z (B, 2), evidence (B, 2, h, w)."""
        entering, tokens = encode(self.vit, (self.filter(images) - mean) / deviation)
        g = on_grid(self.vit, tokens)
        if self.carp is not None:
            return g, *self.carp(g)
        assert self.head is not None
        return g, *self.head(tokens[:, 0], class_attention(self.vit, entering.detach()))


# --- complementary learning (Sec. III-C) ---------------------------------------------------------------------------


def compete(scores: Tensor, tau: float = 1.0, noise: bool = False) -> Tensor:
    """One-hot winners of `scores` (..., 2), to the bit, with the slope of softmax((scores + noise) / tau).

    With `noise`, Gumbel noise of torch's generator is added (Jang et al., ICLR 2017). Through the slope both streams
    learn from every position, the loser by what the fused token would have gained from it.
    """
    logits = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if noise:
        logits = logits - torch.empty_like(logits).exponential_().log()
    soft = (logits / tau).softmax(-1)
    return _one_hot(soft) + (soft - soft.detach())


def each_by_itself(scores: Tensor) -> Tensor:
    """No competition: sigmoids instead of a softmax, no noise, and a slope for the winner alone. Shapes as above."""
    soft = scores.to(torch.promote_types(scores.dtype, torch.float32)).sigmoid()
    return _one_hot(soft) * (1 + (soft - soft.detach()))


def _one_hot(soft: Tensor) -> Tensor:
    return functional.one_hot(soft.argmax(-1), 2).to(soft.dtype)  # a tie goes to RGB


class ComplementaryLearning(nn.Module):
    """The CL block: tokens are scored, compete and are fused; one transformer block, a pool and a linear layer follow.

    With one stream there is nothing to score.
    """

    def __init__(self, dim: int, heads: int, streams: int, config: FocusConfig):
        super().__init__()
        self.config = config
        self.scores = nn.ModuleList(_score_mlp(dim) for _ in range(streams if streams > 1 else 0))
        self.block = Block(dim, heads, qkv_bias=True)
        self.head = nn.Linear(dim, 2)

    def forward(self, streams: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Token maps (B, D, h, w) of the streams -> logits (B, 2), features (B, D), maps (B, D, h, w), B (B, N)."""
        grid = streams[0].shape[-2:]
        tokens = [g.flatten(2).transpose(1, 2) for g in streams]  # (B, N, D) each
        fused, selection = self.fuse(tokens)
        maps = self.block(fused).transpose(1, 2).unflatten(2, grid)
        features = maps.mean((2, 3))
        return self.head(features), features, maps, selection

    def fuse(self, tokens: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The winning token of every position (B, N, D), and B (B, N), detached."""
        if len(tokens) == 1:
            return tokens[0], tokens[0].new_zeros(tokens[0].shape[:2])
        scores = torch.cat([mlp(t) for mlp, t in zip(self.scores, tokens)], dim=-1)  # (B, N, 2)
        weights = self.select(scores)
        rgb, other = weights.to(tokens[0].dtype).split(1, dim=-1)  # (B, N, 1) each
        return rgb * tokens[0] + other * tokens[1], weights[..., 1].detach()

    def select(self, scores: Tensor) -> Tensor:
        if not self.config.competition:
            return each_by_itself(scores)
        match self.config.gumbel:
            case "log_softmax":
                scores = scores.log_softmax(-1)
            case "softmax":
                scores = scores.softmax(-1)
        return compete(scores, self.config.tau, noise=self.training)


def _score_mlp(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, dim // 4), nn.GELU(), nn.Linear(dim // 4, 1))


# --- the network ---------------------------------------------------------------------------------------------------


class Focus(nn.Module):
    """FoCus on two encoders of one kind. Images (B, 3, S, S) come as stored: uint8, or float in [0, 255]."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: FocusConfig, spec: Backbone):
        super().__init__()
        self.config, self.spec = config, at_own_size(spec)
        modalities = ["rgb"] if config.modality == "none" else ["rgb", config.modality]
        encoders = [_encoder(self.spec, config.positions) for _ in modalities]
        for name in ("mean", "deviation"):
            self.register_buffer(name, getattr(encoders[0], name) / 255, persistent=False)  # of images in [0, 1]
        vits: list[Any] = [encoder.backbone for encoder in encoders]
        self.streams = nn.ModuleList(Stream(v, m, spec.image_size, config) for v, m in zip(vits, modalities))
        dim, heads = vits[0].embed_dim, vits[0].blocks[0].attn.num_heads
        self.cl = ComplementaryLearning(dim, heads, len(vits), config) if config.cl else None

    def forward(self, images: Tensor, detail: bool = False) -> Output | FocusOutput:
        """The fused head's verdict; with `detail` also what each stream says. Gumbel noise while training only."""
        output = self._read(images)
        return output if detail else Output(*output[:3])

    def _read(self, images: Tensor) -> FocusOutput:
        x = self._resized(images)
        said = [stream(x, self.mean, self.deviation) for stream in self.streams]
        maps = [g for g, _, _ in said]  # (B, D, h, w) each
        z = torch.stack([z for _, z, _ in said], dim=1)  # (B, M, 2)
        evidence = torch.stack([e for _, _, e in said], dim=1)  # (B, M, 2, h, w)
        if self.cl is not None:
            logits, features, fused, selection = self.cl(maps)
            return FocusOutput(logits, features, fused, z, evidence, selection)
        both = torch.cat(maps, dim=1)
        nobody = z.new_zeros(len(z), both[0, 0].numel())
        return FocusOutput(z.mean(1), both.mean((2, 3)), both, z, evidence, nobody)

    def _resized(self, images: Tensor) -> Tensor:
        """Images in [0, 255] of any size -> (B, 3, image_size, image_size) in [0, 1]."""
        x = images.to(self.mean.dtype) / 255
        size = (self.spec.image_size, self.spec.image_size)
        if x.shape[-2:] == size:
            return x
        return functional.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)

    def car_maps(self, images: Tensor, labels: Tensor | None = None, *, class_1: bool = False) -> CarMaps:
        """The maps of Eq. 4 (or with `class_1` of Eq. 9) and 5, detached, in evaluation mode (which is then restored).

        `labels` (B,), where known, choose the class under the readings of `car_map` that need one.
        """
        output = self._at_rest(images)
        reading: Reading = self.config.car_map if self.config.carp else "expected"
        if class_1:
            streams = class_1_map(output.evidence, output.z, reading)
        else:
            streams = car_map(output.evidence, output.z, reading, None if labels is None else labels[:, None])
        return CarMaps(streams, self._fuse(streams, output.selection))

    def _fuse(self, streams: Tensor, selection: Tensor) -> Tensor:
        """Eq. 5: (B, M, h, w) and B (B, N) -> (B, h, w)."""
        if streams.shape[1] == 1:
            return streams[:, 0]
        if not self.config.cl:
            return streams.amax(1)
        b = selection.view_as(streams[:, 1])
        rgb, other = streams.unbind(1)
        return (rgb if self.config.fusion == "add" else (1 - b) * rgb) + b * other

    def read_as(self, reading: Reading) -> "Focus":
        """This network, its maps read in another way (`FocusConfig.car_map`); it says and learns what it did."""
        self.config = replace(self.config, car_map=reading)
        for module in self.modules():
            if isinstance(module, CARP):
                module.pooled = reading in ("pooled", "pooled_all")
        return self

    def second_share(self, images: Tensor) -> Tensor:
        """The share of tokens taken from the second modality, (B,) in [0, 1], in evaluation mode (P4-C7)."""
        return self._at_rest(images).selection.mean(1)

    def _at_rest(self, images: Tensor) -> FocusOutput:
        training = self.training
        self.eval()
        try:
            with torch.no_grad():
                return self._read(images)
        finally:
            self.train(training)


def interior(shares: Tensor) -> float:
    """min(share, 1 − share) of the mean over faces: 0 where one modality has taken every token, at most .5 (P4-C7)."""
    share = float(shares.mean())
    return min(share, 1 - share)


def _encoder(spec: Backbone, positions: Positions) -> Detector:
    """An encoder with its preprocessing, without a classifier of its own, positions fixed."""
    encoder = Detector(spec)
    vit: Any = encoder.backbone
    vit.reset_classifier(0)
    fix_positions(vit, positions, bool(spec.pretrained))
    return encoder


def build(config: FocusConfig | str, spec: Backbone, seed: int) -> Focus:
    """FoCus, by configuration or by name in `VARIANTS`. The initial weights depend on `seed` alone."""
    if isinstance(config, str):
        if config not in VARIANTS:
            raise WorkbookError(f"no variant {config!r}", where="FoCus", remedy=f"Known: {', '.join(VARIANTS)}")
        config = VARIANTS[config]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Focus(config, spec)


# --- the loss (Sec. III-D) -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FocusLoss:
    """Eq. 8, L = `cls` L_cls + `loc` L_loc. The paper's λ = .1 is `loc`; which loss it weighs is lost from the text.

    The parts are L_cls, L_loc (the sum over streams) and the share of tokens that the second modality has won.
    """

    cls: float = 1.0
    loc: float = 0.1

    def __call__(self, model: nn.Module, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        y = batch["label"]  # (B,)
        output: FocusOutput = model(batch["image"], detail=True)
        l_cls = functional.cross_entropy(output.logits, y)
        l_loc = torch.stack([functional.cross_entropy(z, y) for z in output.z.unbind(1)]).sum()
        parts = {"cls": l_cls, "loc": l_loc, "second_share": output.selection.mean()}
        return self.cls * l_cls + self.loc * l_loc, parts


def loss_of(config: FocusConfig, loss: FocusLoss | None = None) -> FocusLoss:
    """The loss of a variant: without CL there is no fused head, and L_loc is all there is."""
    loss = loss or FocusLoss(loc=config.lam)
    return loss if config.cl else replace(loss, cls=0.0)
