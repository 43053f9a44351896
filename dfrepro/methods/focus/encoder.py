"""FoCus' token encoders: any timm ViT, fixed positions, the attention of its class token, and a small ViT for laptops.

P4, Sec. III-A. At the paper's scale the encoder is DeiT-Small; `vit_conv_stem`, registered with timm when this module
is imported, is a small ViT whose patches are embedded by a few convolutions (Xiao et al., NeurIPS 2021), since a tiny
ViT that is trained from scratch learns little otherwise.
"""

from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

import timm
import torch
from timm.layers import build_sincos2d_pos_embed
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from dfrepro.errors import WorkbookError
from dfrepro.nets.detector import Backbone, Detector, Output

Positions = Literal["pretrained", "sincos"]
default_cfgs = generate_default_cfgs({"vit_conv_stem.untrained": {"classifier": "head", "first_conv": "patch_embed.0"}})


class ConvStem(nn.Module):
    """Tokens by log2(patch_size) stages of two 3 × 3 convolutions, the first of stride 2, and a linear map.

    Each stage doubles the width, up to `embed_dim`. In place of timm's `PatchEmbed`:
    (B, in_chans, S, S) -> (B, (S / patch_size)², embed_dim).
    """

    def __init__(self, img_size: int, patch_size: int, in_chans: int, embed_dim: int, **_: Any):
        super().__init__()
        depth = patch_size.bit_length() - 1
        if 2**depth != patch_size or depth < 1 or img_size % patch_size:
            raise WorkbookError(
                f"patches of {patch_size} px in images of {img_size} px",
                where="vit_conv_stem",
                remedy="patch_size must be a power of two above 1 that divides img_size",
            )
        self.grid_size = (img_size // patch_size, img_size // patch_size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        widths = [in_chans, *(embed_dim >> (depth - 1 - i) for i in range(depth))]
        self.stages = nn.Sequential(*(_stage(*pair) for pair in pairwise(widths)))
        self.proj = nn.Conv2d(embed_dim, embed_dim, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(self.stages(images)).flatten(2).transpose(1, 2)


def _stage(width: int, wider: int) -> nn.Sequential:
    return nn.Sequential(*_convolution(width, wider, stride=2), *_convolution(wider, wider, stride=1))


def _convolution(width: int, wider: int, stride: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(width, wider, 3, stride, 1, bias=False), nn.BatchNorm2d(wider), nn.GELU()


@register_model
def vit_conv_stem(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """A small ViT with a convolutional stem; every argument of timm's VisionTransformer can be overridden."""
    sizes = {"img_size": 64, "patch_size": 8, "embed_dim": 64, "depth": 3, "num_heads": 2}
    return build_model_with_cfg(
        VisionTransformer, "vit_conv_stem", pretrained, **(sizes | kwargs), embed_layer=ConvStem
    )


def at_own_size(spec: Backbone) -> Backbone:
    """The spec with ViT's `img_size`, which timm wants when positions are made, from the spec's `image_size`."""
    families = ("vision_transformer", "deit", __name__.rpartition(".")[2])
    if timm.is_model(spec.name) and not timm.models.is_model_in_modules(spec.name, families):
        raise WorkbookError(
            "FoCus reads tokens, and this network has none",
            where=f"backbone {spec.name}",
            remedy="Name a ViT, for example deit_small_patch16_224 or vit_conv_stem",
        )
    return replace(spec, kwargs={"img_size": spec.image_size, **spec.kwargs})


def encode(vit: VisionTransformer, x: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens of normalised images (B, 3, S, S): those that enter the last block, and those after it and the final norm.

    Both are (B, 1 + N, D) with the class token first (or without it, where the network has none).
    """
    x = vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(x))))
    entering = vit.blocks[:-1](x)
    return entering, vit.norm(vit.blocks[-1](entering))


def on_grid(vit: VisionTransformer, tokens: Tensor) -> Tensor:
    """The patches' tokens (B, prefix + N, D) as a map (B, D, h, w); class token and registers are left out."""
    patches = tokens[:, vit.num_prefix_tokens :]
    return patches.transpose(1, 2).unflatten(2, vit.patch_embed.grid_size)


def class_attention(vit: VisionTransformer, entering: Tensor) -> Tensor:
    """What the class token attends to in the last block, the mean over its heads: (B, h, w), not negative.

    `entering` (B, 1 + N, D): the tokens before that block. The weights sum to 1 with those of the prefix tokens.
    """
    block: Any = vit.blocks[-1]
    attention = block.attn
    qkv = attention.qkv(block.norm1(entering)).unflatten(2, (3, attention.num_heads, -1))  # (B, 1 + N, 3, H, d)
    q, k = attention.q_norm(qkv[:, 0, 0]), attention.k_norm(qkv[:, :, 1])  # (B, H, d), (B, 1 + N, H, d)
    weights = torch.einsum("bhd,bnhd->bhn", q * attention.scale, k).softmax(-1)
    return weights[:, :, vit.num_prefix_tokens :].mean(1).unflatten(1, vit.patch_embed.grid_size)


def fix_positions(vit: VisionTransformer, kind: Positions, pretrained: bool) -> None:
    """Make the positional encoding a constant: the pretrained one or, without pretrained weights, sines and cosines."""
    if vit.pos_embed is None:
        raise WorkbookError("the network has no positional encoding", where="FoCus", remedy="Name another ViT")
    vit.pos_embed.requires_grad_(False)
    if kind == "pretrained" and pretrained:
        return
    waves = build_sincos2d_pos_embed(list(vit.patch_embed.grid_size), vit.embed_dim, interleave_sin_cos=True)
    with torch.no_grad():
        vit.pos_embed.zero_()
        vit.pos_embed[:, -vit.patch_embed.num_patches :] = waves  # the class token has no position


class TokenDetector(Detector):
    """A plain ViT that reads its class token: the network behind the self-attention, Grad-CAM and Score-CAM maps.

    `Output.maps` (B, 1 + N, D) are the tokens that enter the last block. After it, only the class token reaches the
    logits: the slope with respect to every patch's token is zero there, and so would be every Grad-CAM.
    """

    backbone: Any

    def __init__(self, spec: Backbone):
        super().__init__(at_own_size(spec))
        if not self.backbone.has_class_token:
            raise WorkbookError("it has no class token", where=f"backbone {spec.name}", remedy="Set class_token: true")

    def read(self, x: Tensor) -> Output:
        vit = self.backbone
        entering, tokens = encode(vit, x)
        features = vit.forward_head(tokens, pre_logits=True)  # (B, D)
        return Output(vit.head(features), features, entering)

    def attention(self, images: Tensor) -> Tensor:
        """The class token's attention on images as stored (B, 3, S, S): (B, h, w)."""
        return class_attention(self.backbone, encode(self.backbone, self.preprocess(images))[0])


def build_plain(spec: Backbone, seed: int) -> TokenDetector:
    """A plain ViT detector whose initial weights depend on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TokenDetector(spec)
