"""Detectors: timm's networks, their own preprocessing, and weights that depend on a seed alone."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from dfrepro.errors import WorkbookError
from dfrepro.nets.detector import Backbone, build_detector

NETWORKS = {
    "test_convnext": ({}, 64),
    "test_resnet": ({}, 64),
    "test_efficientnet": ({}, 64),
    "test_vit": ({"img_size": 64}, 64),
    "legacy_xception": ({}, 71),
    "convnext_atto": ({"depths": (2, 2, 2, 2), "dims": (24, 48, 96, 192)}, 64),
}


def pixels(n=2, size=64) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_logits_are_timms_own(name):
    kwargs, size = NETWORKS[name]
    detector = build_detector(Backbone(name, size, kwargs), seed=0).eval()
    x = detector.preprocess(pixels(size=size))
    output = detector.read(x)
    torch.testing.assert_close(output.logits, detector.backbone(x))
    assert output.logits.shape == (2, 2)
    assert output.features.shape == (2, detector.backbone.get_classifier().in_features)
    torch.testing.assert_close(detector.backbone.get_classifier()(output.features), output.logits)
    torch.testing.assert_close(output.maps, detector.backbone.forward_features(x))


def test_the_sigmoid_of_a_margin_is_the_probability_of_fake_and_a_margin_ranks_where_that_is_1():
    detector = build_detector(Backbone("test_resnet", 32), seed=0).eval()
    output = detector(pixels(size=32))
    torch.testing.assert_close(output.margins.sigmoid(), output.logits.softmax(1)[:, 1])
    sure = output._replace(logits=torch.tensor([[-25.0, 25.0], [-25.0, 25.0001]]))
    assert sure.margins.double().sigmoid().tolist() == [1, 1]
    assert sure.margins[1] > sure.margins[0] == 50


def test_preprocessing_is_timms_configuration_of_the_network():
    for name, size in (("test_resnet", 32), ("legacy_xception", 71), ("vit_tiny_patch16_224", 224)):
        detector = build_detector(Backbone(name, size), seed=0)
        config = timm.data.resolve_data_config(model=timm.create_model(name))
        images = pixels(size=size)
        mean, deviation = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
        torch.testing.assert_close(detector.preprocess(images), (images / 255 - mean) / deviation)


def test_bytes_and_floats_of_the_same_pixels_are_one():
    detector = build_detector(Backbone("test_resnet", 32), seed=0).eval()
    images = pixels(size=32)
    assert torch.equal(detector(images).logits, detector(images.float()).logits)


def test_images_of_another_size_are_resized():
    detector = build_detector(Backbone("test_resnet", 32), seed=0)
    assert detector.preprocess(pixels(size=50)).shape == (2, 3, 32, 32)
    flat = torch.full((1, 3, 50, 50), 100, dtype=torch.uint8)
    torch.testing.assert_close(detector.preprocess(flat), detector.preprocess(flat[..., :32, :32]))


def test_weights_depend_on_the_seed_alone():
    spec = Backbone("test_resnet", 32)
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    first = build_detector(spec, seed=5).state_dict()
    assert torch.equal(torch.rand(2), expected)
    second, third = build_detector(spec, seed=5).state_dict(), build_detector(spec, seed=6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], third[name]) for name in first)


def test_the_preprocessing_is_not_in_the_checkpoint():
    names = build_detector(Backbone("test_resnet", 32), seed=0).state_dict()
    assert all(name.startswith("backbone.") for name in names)


def test_an_unknown_network_is_named_with_close_ones():
    with pytest.raises(WorkbookError, match="convnext_atto"):
        build_detector(Backbone("convnext_attto", 64), seed=0)


def test_kwargs_that_the_network_does_not_take_are_refused():
    with pytest.raises(WorkbookError, match="depthz"):
        build_detector(Backbone("convnext_atto", 64, {"depthz": 3}), seed=0)


def test_pretrained_weights_that_cannot_be_had_are_a_clear_error(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(WorkbookError, match="Go online once"):
        build_detector(Backbone("convnext_atto", 64, pretrained=True), seed=0)


def test_pretrained_weights_from_a_file_replace_all_but_the_classifier(tmp_path):
    source = timm.create_model("test_resnet", num_classes=1000)
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    detector = build_detector(Backbone("test_resnet", 32, pretrained=str(tmp_path / "weights.safetensors")), seed=0)
    ours, theirs = detector.backbone.state_dict(), source.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if not name.startswith("fc."))
    assert ours["fc.weight"].shape == (2, 96)


@pytest.mark.parametrize("content", [b"", b"\x80\x04."])
def test_a_pretrained_file_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(WorkbookError, match="safetensors"):
        build_detector(Backbone("test_resnet", 32, pretrained=str(tmp_path / "weights.pth")), seed=0)


def test_pretrained_weights_of_another_network_are_refused(tmp_path):
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(WorkbookError, match="lacks"):
        build_detector(Backbone("test_resnet", 32, pretrained=str(tmp_path / "weights.safetensors")), seed=0)
