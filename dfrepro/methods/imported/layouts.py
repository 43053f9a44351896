"""Key layouts of the code that checkpoints come from, translated into timm's names.

A layout's `anchor` is a name that its trunk surely has: what stands before it in a file is the file's prefix
("module.", "net.", "backbone."). `rename` takes the trunk's tensors without the prefix and gives them timm's names;
tensors that it does not know keep theirs and are reported as unexpected, but for those that `unused` matches.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Layout:
    anchor: str
    rename: Callable[[Mapping[str, Tensor], Any], Tensors]  # of the trunk's tensors and timm's network
    unused: str = ""  # a regular expression of names that the detector does not read


def _by_rules(trunk: Mapping[str, Tensor], rules: Mapping[str, str]) -> Tensors:
    """Each name with the first rule that matches its beginning applied: pattern -> replacement."""
    found = {}
    for name, value in trunk.items():
        for pattern, replacement in rules.items():
            new, n = re.subn(f"^{pattern}", replacement, name)
            if n:
                name = new
                break
        found[name] = value
    return found


def _efficientnet(trunk: Mapping[str, Tensor], network: Any) -> Tensors:
    """efficientnet-pytorch: blocks in one list, which timm has by stage."""
    rules = {r"_conv_stem\.": "conv_stem.", r"_bn0\.": "bn1.", r"_conv_head\.": "conv_head.", r"_bn1\.": "bn2."}
    places = [(stage, block) for stage, blocks in enumerate(network.blocks) for block in range(len(blocks))]
    for number, (stage, block) in enumerate(places):
        theirs, ours = rf"_blocks\.{number}\.", f"blocks.{stage}.{block}."
        if f"_blocks.{number}._expand_conv.weight" in trunk:
            names = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
                     "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip
        else:
            names = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
        names |= {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
        rules |= {rf"{theirs}{old}\.": f"{ours}{new}." for old, new in names.items()}
    return _by_rules(trunk, rules)


def _sequential_resnet(trunk: Mapping[str, Tensor], network: Any) -> Tensors:
    """torchvision's ResNet as a list of its children."""
    stages = {rf"resnet\.{number + 3}\.": f"layer{number}." for number in (1, 2, 3, 4)}
    return _by_rules(trunk, {r"resnet\.0\.": "conv1.", r"resnet\.1\.": "bn1.", **stages})


def _as_it_is(trunk: Mapping[str, Tensor], network: Any) -> Tensors:
    return dict(trunk)


def _clip(trunk: Mapping[str, Tensor], network: Any) -> Tensors:
    """The vision tower of transformers' CLIP."""
    found = _by_rules(_fused(trunk, "q_proj", "k_proj", "v_proj"), {
        r"embeddings\.class_embedding": "cls_token",
        r"embeddings\.patch_embedding\.": "patch_embed.proj.",
        r"embeddings\.position_embedding\.weight": "pos_embed",
        r"pre_layrnorm\.": "norm_pre.",
        r"post_layernorm\.": "norm.",
        r"encoder\.layers\.(\d+)\.layer_norm(\d)\.": r"blocks.\1.norm\2.",
        r"encoder\.layers\.(\d+)\.self_attn\.out_proj\.": r"blocks.\1.attn.proj.",
        r"encoder\.layers\.(\d+)\.self_attn\.qkv\.": r"blocks.\1.attn.qkv.",
        r"encoder\.layers\.(\d+)\.mlp\.": r"blocks.\1.mlp.",
    })  # fmt: skip
    shapes = {"cls_token": (1, 1, -1), "pos_embed": (1, -1, found["cls_token"].shape[-1])}
    return {name: value.reshape(shapes[name]) if name in shapes else value for name, value in found.items()}


def _dinov2(trunk: Mapping[str, Tensor], network: Any) -> Tensors:
    """transformers' DINOv2, with or without registers: timm gives positions to patches alone where there are some."""
    fused = _fused(_fused(trunk, "query", "key", "value"), "q_proj", "k_proj", "v_proj")  # transformers 4, and 5
    found = _by_rules(fused, {
        r"embeddings\.cls_token": "cls_token",
        r"embeddings\.register_tokens": "reg_token",
        r"embeddings\.position_embeddings": "pos_embed",
        r"embeddings\.patch_embeddings\.projection\.": "patch_embed.proj.",
        r"layernorm\.": "norm.",
        r"encoder\.layer\.(\d+)\.attention\.(output\.dense|o_proj)\.": r"blocks.\1.attn.proj.",
        r"encoder\.layer\.(\d+)\.layer_scale(\d)\.lambda1": r"blocks.\1.ls\2.gamma",
        r"encoder\.layer\.(\d+)\.attention\.(attention\.)?qkv\.": r"blocks.\1.attn.qkv.",
        r"encoder\.layer\.(\d+)\.(norm\d|mlp)\.": r"blocks.\1.\2.",
    })  # fmt: skip
    if "reg_token" in found and "pos_embed" in found:
        found["cls_token"] = found["cls_token"] + found["pos_embed"][:, :1]
        found["pos_embed"] = found["pos_embed"][:, 1:]
    return found


def _fused(trunk: Mapping[str, Tensor], query: str, key: str, value: str) -> Tensors:
    """Query, key and value of every block in one matrix, "qkv", as timm has them."""
    found = dict(trunk)
    for name in trunk:
        owner, _, kind = name.rpartition(".")  # "encoder.layers.0.self_attn.q_proj", "weight"
        stem = owner.removesuffix(query)
        three = [f"{stem}{part}.{kind}" for part in (query, key, value)]
        if stem != owner and all(part in found for part in three):
            found[f"{stem}qkv.{kind}"] = torch.cat([found.pop(part) for part in three])
    return found


IGNORED = r"(^|\.)(position_ids|num_batches_tracked)$"
EFFICIENTNET = Layout("_conv_stem.weight", _efficientnet, r"^_fc\.")
SEQUENTIAL_RESNET = Layout("resnet.0.weight", _sequential_resnet, r"^adjust_channel\.")
XCEPTION = Layout("block1.rep.0.conv1.weight", _as_it_is, r"^adjust_channel\.")
CLIP = Layout("embeddings.class_embedding", _clip, r"(^|\.)(visual_projection\.|logit_scale$)")
DINOV2 = Layout("embeddings.cls_token", _dinov2, r"^embeddings\.mask_token$")
