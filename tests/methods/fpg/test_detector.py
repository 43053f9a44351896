"""FPG's detector, loss and quality targets, against their definitions."""

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from dfrepro.errors import WorkbookError
from dfrepro.methods.fpg.detector import FPG, FPGLoss, QualityBranch, build, similarity
from dfrepro.methods.fpg.quality import DegradationQuality, LaplacianQuality, ManifestQuality, sharpness
from dfrepro.nets.detector import Backbone, Detector, Output
from tests.synthetic import noise

CONVNEXT = Backbone("convnext_atto", 32, {"depths": (1, 1, 1, 1), "dims": (8, 12, 16, 24)})
SWIN = Backbone("swin_tiny_patch4_window7_224", 32, {"img_size": 32, "depths": (1, 1, 1, 1), "embed_dim": 12})
SMALL = FPG(quality_width=16, attention_width=8)


pytestmark = pytest.mark.usefixtures("one_thread")


def pairs(n: int, size: int = 32) -> dict[str, torch.Tensor]:
    mask = torch.zeros(2 * n, size, size)
    mask[1::2, 4:20, 6:25] = 0.5
    return {"image": noise(2 * n, size).float(), "label": torch.arange(2 * n) % 2, "mask": mask}


# --- the detector -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["quality", "squeeze"])
@pytest.mark.parametrize("spec", [CONVNEXT, SWIN, Backbone("test_efficientnet", 32), Backbone("test_resnet", 32)])
def test_any_staged_network_gives_logits_and_a_quality(spec, attention):
    detector = build(FPG(attention=attention, quality_width=16, attention_width=8), spec, seed=0)
    output, quality = detector(noise(3).float(), with_quality=True)
    assert output.logits.shape == (3, 2)
    assert quality.shape == (3,)
    assert output.features.shape == (3, detector.backbone.get_classifier().in_features)
    torch.testing.assert_close(output.margins.sigmoid(), output.logits.softmax(1)[:, 1])
    (output.logits.sum() + quality.sum()).backward()
    idle = [name for name, parameter in detector.named_parameters() if parameter.grad is None]
    assert idle == []  # DistributedDataParallel would wait for them


def test_the_widths_are_the_papers_by_default():
    detector = build(FPG(), CONVNEXT, seed=0)
    depthwise, pointwise = detector.branch.separable[:2]
    assert depthwise.weight.shape == (24, 1, 3, 3)
    assert pointwise.weight.shape == (512, 24, 1, 1)
    assert detector.attention[0].weight.shape == (256, 512)
    assert detector.attention[2].weight.shape == (24, 256)
    assert build(FPG(attention="squeeze"), CONVNEXT, seed=0).attention[0].weight.shape == (256, 24)


def test_the_quality_branch_equals_convolutions_written_as_loops():
    torch.manual_seed(0)
    branch = QualityBranch(3, 5).eval()
    branch.separable[2].running_mean.uniform_(-0.1, 0.1)
    f0 = torch.randn(2, 3, 4, 4)
    u, quality = branch(f0)
    depthwise, pointwise, norm, _ = branch.separable
    padded = functional.pad(f0, (1, 1, 1, 1))
    expected = torch.zeros(2, 5)
    for y in range(4):
        for x in range(4):
            window = padded[:, :, y : y + 3, x : x + 3]
            each = (window * depthwise.weight[:, 0]).sum((2, 3))  # one filter a channel
            mixed = each @ pointwise.weight[:, :, 0, 0].T
            mixed = (mixed - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
            expected += mixed.clamp_min(0) / 16
    torch.testing.assert_close(u, expected)
    torch.testing.assert_close(quality, expected @ branch.regression.weight[0] + branch.regression.bias)


def test_attention_fed_by_quality_weighs_the_pooled_features():
    detector = build(SMALL, CONVNEXT, seed=0).eval()
    output = detector(noise(3).float())
    plain = Detector.read(detector, detector.preprocess(noise(3).float()))
    u = detector.branch(output.maps)[0]
    down, _, up, _ = detector.attention
    weights = torch.sigmoid(up(down(u).clamp_min(0)))
    torch.testing.assert_close(output.features, plain.features * weights)
    torch.testing.assert_close(output.logits, detector.backbone.get_classifier()(output.features))


def test_squeeze_attention_weighs_the_map_by_its_own_channels():
    detector = build(FPG(attention="squeeze", quality_width=16), Backbone("test_resnet", 32), seed=0).eval()
    output = detector(noise(3).float())
    plain = Detector.read(detector, detector.preprocess(noise(3).float()))
    weights = detector.attention(plain.maps.mean((2, 3)))
    torch.testing.assert_close(output.features, plain.features * weights)  # this network pools and does no more


def test_without_being_asked_for_its_quality_it_is_a_detector_like_any_other():
    detector = build(SMALL, CONVNEXT, seed=0).eval()
    asked, _ = detector(noise(3).float(), with_quality=True)
    for read in (detector(noise(3).float()), detector.read(detector.preprocess(noise(3).float()))):
        assert isinstance(read, Output)
        assert all(torch.equal(one, other) for one, other in zip(read, asked))


def test_initial_weights_depend_on_the_seed_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, same, other = (build(SMALL, CONVNEXT, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["attention.0.weight"], other["attention.0.weight"])


def test_a_network_without_a_map_and_an_unknown_attention_are_refused():
    with pytest.raises(WorkbookError, match="in stages"):
        build(SMALL, Backbone("test_vit", 64, {"img_size": 64}), seed=0)(noise(2, 64).float())
    with pytest.raises(WorkbookError, match="quality or squeeze"):
        build(FPG(attention="none"), CONVNEXT, seed=0)


def test_neither_the_separable_convolution_nor_the_attention_has_biases():
    names = {name for name, _ in build(SMALL, CONVNEXT, seed=0).named_parameters() if not name.startswith("backbone")}
    assert {name for name in names if name.endswith("bias")} == {"branch.separable.2.bias", "branch.regression.bias"}


def test_the_plain_arm_is_the_network_alone_on_cross_entropy():
    plain = FPG(order="none", plain=True)
    detector, batch = build(plain, CONVNEXT, seed=0).train(), pairs(3)
    assert type(detector) is Detector
    assert plain.refinement() is None
    assert detector.backbone.head.drop.p == 0.4
    loss, _ = plain.loss(LaplacianQuality(8.0, 12.0))(detector.eval(), batch)
    logits = detector(batch["image"]).logits
    torch.testing.assert_close(loss, -logits.log_softmax(1)[torch.arange(6), batch["label"]].mean())


# --- the loss -----------------------------------------------------------------------------------------------------


def brute_similarity(real: torch.Tensor, fake: torch.Tensor, mask: torch.Tensor) -> float:
    """Position by position; every map cell covers a whole number of mask pixels."""
    values = []
    cell = mask.shape[-1] // real.shape[-1]
    for one, other, m in zip(real, fake, mask):
        sums, area = [torch.zeros(real.shape[1]), torch.zeros(real.shape[1])], 0.0
        for y in range(mask.shape[-1]):
            for x in range(mask.shape[-1]):
                if m[y, x] > 0:
                    area += 1
                    sums = [total + f[:, y // cell, x // cell] for total, f in zip(sums, (one, other))]
        if area:
            a, b = (total / area for total in sums)
            values.append((float(a @ b / (a.norm() * b.norm())) + 1) / 2)
    return sum(values) / len(values)


def test_similarity_equals_brute_force_and_leaves_out_empty_masks():
    generator = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(4, 6, 3, 3, generator=generator) for _ in range(2))
    mask = torch.zeros(4, 12, 12)
    mask[0, 1:3, 2:5], mask[0, 3:9, 5:7], mask[1, 3:, :], mask[2, 5, 5] = 0.9, 0.1, 1.0, 0.01  # all count alike
    assert similarity(real, fake, mask).item() == pytest.approx(brute_similarity(real, fake, mask), abs=1e-6)


def test_similarity_is_one_for_equal_and_zero_for_opposite_features():
    maps, mask = torch.randn(2, 5, 2, 2), torch.ones(2, 8, 8)
    assert similarity(maps, maps, mask).item() == pytest.approx(1)
    assert similarity(maps, -maps, mask).item() == pytest.approx(0, abs=1e-6)
    assert similarity(maps, maps, torch.zeros(2, 8, 8)) == 0


def test_the_loss_is_the_weighed_sum_of_its_three_terms():
    detector, batch = build(SMALL, CONVNEXT, seed=0).eval(), pairs(3)
    target = LaplacianQuality(8.0, 12.0)
    loss, parts = FPG(similarity=0.2, quality=0.5).loss(target)(detector, batch)
    output, q = detector(batch["image"], with_quality=True)
    cross_entropy = -output.logits.log_softmax(1)[torch.arange(6), batch["label"]].mean()
    alike = similarity(output.maps[0::2], output.maps[1::2], batch["mask"][1::2])
    quality = ((q - target(batch)) ** 2).mean()
    torch.testing.assert_close(loss, cross_entropy + 0.2 * alike + 0.5 * quality)
    assert set(parts) == {"cross_entropy", "similarity", "quality"}
    torch.testing.assert_close(parts["quality"], quality)


def test_the_loss_has_the_weights_of_the_code_and_the_classifier_its_dropout():
    """The public code's loss: CE + .075 L_sim + MSE(q, Q), and a dropout of .4."""
    detector, batch, target = build(SMALL, CONVNEXT, seed=0).eval(), pairs(3), LaplacianQuality(8.0, 12.0)
    for loss_fn in (FPGLoss(target), FPG().loss(target)):
        loss, parts = loss_fn(detector, batch)
        expected = parts["cross_entropy"] + 0.075 * parts["similarity"] + parts["quality"]
        torch.testing.assert_close(loss, expected)
    dropped = detector.train().dropout(torch.ones(100_000)) == 0
    assert dropped.float().mean().item() == pytest.approx(0.4, abs=0.01)


def test_the_loss_reports_the_shares_of_fakes_that_were_refined_and_skipped():
    batch = pairs(2) | {"refined": torch.tensor([0.0, 1, 0, 0]), "emptied": torch.tensor([0.0, 0, 0, 0])}
    _, parts = FPG().loss(LaplacianQuality(8, 12))(build(SMALL, CONVNEXT, seed=0), batch)
    assert parts["refined"] == 0.5
    assert parts["emptied"] == 0


def test_the_gradient_of_the_loss_equals_finite_differences():
    detector, batch = build(SMALL, CONVNEXT, seed=0).eval().double(), pairs(2)
    loss_fn = FPG(similarity=1.0).loss(LaplacianQuality(8, 12))
    weight = detector.branch.separable[1].weight
    loss_fn(detector, batch)[0].backward()
    for place in [(0, 0), (3, 7), (15, 23)]:
        values = []
        for move in (1e-5, -1e-5):
            with torch.no_grad():
                weight[place] += move
                values.append(loss_fn(detector, batch)[0].item())
                weight[place] -= move
        # L_sim is float32 whatever the network, which bounds what finite differences can see
        assert weight.grad[place].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=2e-3, abs=1e-6)


# --- quality ------------------------------------------------------------------------------------------------------


def test_sharpness_is_the_variance_of_opencvs_laplacian():
    images = noise(3).float()
    for image, value in zip(images, sharpness(images)):
        luma = image.permute(1, 2, 0).numpy() @ np.array([0.299, 0.587, 0.114])
        edges = cv2.Laplacian(luma, cv2.CV_64F)[1:-1, 1:-1]
        assert value.item() == pytest.approx(np.log1p(edges.var()), rel=1e-5)


def test_a_blurred_face_has_less_quality_and_all_lie_between_zero_and_one():
    smooth = cv2.resize(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8), (64, 64))
    stack = np.stack([cv2.GaussianBlur(smooth, (0, 0), sigma) for sigma in (0.1, 1, 2, 4, 6)])
    quality = LaplacianQuality.of_faces(stack)({"image": torch.from_numpy(stack).permute(0, 3, 1, 2)})
    assert (quality.diff() <= 0).all()
    assert quality[0] == 1
    assert quality[-1] == 0
    assert ((quality[1:4] > 0) & (quality[1:4] < 1)).all()


def test_scores_of_the_manifest_are_read_by_row_and_standardised():
    target = ManifestQuality(np.linspace(20, 70, 101))
    quality = target({"row": torch.tensor([0, 50, 100, 25])})
    low, high = 22.5, 67.5  # 5 % and 95 %
    torch.testing.assert_close(quality, torch.tensor([0, 0.5, 1, (32.5 - low) / (high - low)]))


def test_faces_without_a_score_are_an_error_that_counts_them():
    with pytest.raises(WorkbookError, match="2 of 4 faces"):
        ManifestQuality(np.array([1.0, np.nan, 3.0, np.nan]))
    with pytest.raises(WorkbookError, match="from 1 to 1"):
        ManifestQuality(np.ones(4))


def test_a_known_degradation_of_the_worst_level_is_quality_zero():
    assert DegradationQuality(5)({"degradation": torch.tensor([0, 2, 5])}).tolist() == pytest.approx([1, 0.6, 0])
