"""Maps as supervision, the evaluation model, costs: against scikit-image, grad-cam, torchvision and brute force."""

from itertools import product

import numpy as np
import pytest
import timm
import torch
from sklearn.metrics import jaccard_score, roc_auc_score
from torch import Tensor

from dfrepro.errors import WorkbookError
from dfrepro.evaluate.cost import cost, images_per_second, inference, seconds, training
from dfrepro.methods.focus.detector import FocusLoss, build
from dfrepro.methods.focus.encoder import build_plain
from dfrepro.methods.focus.evaluation import MapSupervision, build_evaluation
from dfrepro.methods.focus.supervision import (
    KINDS,
    agreement,
    as_targets,
    best_iou,
    map_mass,
    pixel_difference,
    raw_maps,
    score_cam,
    score_maps,
    seam_auc,
    shuffled,
    ssim_dissimilarity,
)
from dfrepro.nets.detector import Backbone, build_detector
from tests.synthetic import noise

TINY = Backbone("vit_conv_stem", 32, {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2})
EFFICIENTNET = Backbone("test_efficientnet", 64)


pytestmark = pytest.mark.usefixtures("one_thread")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- targets --------------------------------------------------------------------------------------------------------


def test_targets_are_zero_on_reals_and_span_zero_to_one_on_fakes():
    labels = torch.tensor([0, 1, 0, 1])
    targets = as_targets(100 * normal(4, 8, 8), labels, 8)
    assert not targets[labels == 0].any()
    assert targets[labels == 1].amin((1, 2)).tolist() == [0, 0]
    assert targets[labels == 1].amax((1, 2)).tolist() == [1, 1]


@pytest.mark.parametrize("size", [3, 8, 20])
def test_targets_are_detached_and_in_range_at_any_size(size):
    maps = normal(2, 8, 8).requires_grad_()
    targets = as_targets(maps, torch.ones(2), size)
    assert targets.shape == (2, size, size)
    assert not targets.requires_grad
    assert targets.min() >= 0
    assert targets.max() <= 1


def test_negative_evidence_is_cut_before_the_range_is_stretched():
    targets = as_targets(torch.tensor([[[-5.0, 0.0], [1.0, 2.0]]]), torch.tensor([1]), 2)
    assert targets.tolist() == [[[0, 0], [0.5, 1]]]


@pytest.mark.parametrize("value", [-1.0, 0.0, 3.0])
def test_a_constant_map_says_nothing(value):
    assert not as_targets(torch.full((1, 4, 4), value), torch.tensor([1]), 4).any()


def test_targets_that_keep_their_scale_are_cut_at_one():
    assert as_targets(torch.tensor([[[0.25, 1.5]]]).mT, torch.tensor([1]), 2, rescale=False).max() == 1


def test_targets_that_keep_their_scale_are_cut_before_they_are_enlarged():
    maps, fake = 3 * normal(1, 4, 4).abs(), torch.tensor([1])
    assert (maps > 1).any()
    enlarged = torch.nn.functional.interpolate(maps.clamp(0, 1)[None], (9, 9), mode="bilinear")[0]
    torch.testing.assert_close(as_targets(maps, fake, 9, rescale=False), enlarged)


def test_shuffling_moves_every_fakes_map_and_no_reals():
    maps = torch.arange(9.0)[:, None, None].expand(-1, 2, 2)
    labels = torch.tensor([0, 1, 1, 0, 1, 1, 1, 0, 1])
    for seed in range(20):
        moved = shuffled(maps, labels, np.random.default_rng(seed))[:, 0, 0]
        assert torch.equal(moved[labels == 0], maps[labels == 0, 0, 0])
        assert (moved != maps[:, 0, 0])[labels == 1].all()
        assert torch.equal(moved.sort().values, torch.arange(9.0))


def test_two_fakes_exchange_their_maps():
    maps = torch.arange(3.0)[:, None, None].expand(-1, 2, 2)
    moved = shuffled(maps, torch.tensor([1, 0, 1]), np.random.default_rng(0))
    assert moved[:, 0, 0].tolist() == [2.0, 1.0, 0.0]


def test_a_true_mask_of_bytes_is_a_map_up_to_one():
    masks = torch.tensor([[[0, 51, 255]]], dtype=torch.uint8)
    torch.testing.assert_close(raw_maps("true", noise(1), masks=masks), torch.tensor([[[0.0, 0.2, 1.0]]]))


# --- pairs ----------------------------------------------------------------------------------------------------------


def test_pixel_difference_is_in_shares_of_white_and_its_threshold_strict():
    real = torch.zeros(1, 3, 1, 3, dtype=torch.uint8)
    fake = real.clone()
    fake[0, :, 0, 1] = torch.tensor([255, 0, 0])
    fake[0, :, 0, 2] = 20
    assert pixel_difference(fake, real)[0, 0].tolist() == pytest.approx([0, 1 / 3, 20 / 255])
    assert pixel_difference(fake, real, 0.1)[0, 0].tolist() == [0, 1, 0]
    assert torch.equal(pixel_difference(real, fake), pixel_difference(fake, real))  # bytes do not wrap around


def test_ssim_dissimilarity_is_scikit_images():
    from skimage.metrics import structural_similarity

    real = noise(2, 40)
    fake = (real.float() * 0.8 + noise(2, 40, seed=1).float() * 0.2).to(torch.uint8)
    ours = ssim_dissimilarity(fake, real)
    for i in range(2):
        x, y = (image[i].permute(1, 2, 0).numpy().astype(np.float64) / 255 for image in (fake, real))
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
        _, full = structural_similarity(x, y, full=True, channel_axis=2, **options)
        np.testing.assert_allclose(ours[i], 1 - full.mean(2), atol=2e-5)
    assert ssim_dissimilarity(real, real).abs().max() < 1e-5


# --- networks -------------------------------------------------------------------------------------------------------


def test_score_cam_is_the_librarys_up_to_scale():
    from pytorch_grad_cam import ScoreCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    detector = build_detector(Backbone("test_resnet", 64), 0).eval()
    x = detector.preprocess(noise(2, 64))
    with ScoreCAM(detector.backbone, [detector.backbone.layer4]) as library:
        theirs = library(x, [ClassifierOutputTarget(1)] * 2)
    ours = score_cam(detector, noise(2, 64), batch=7).numpy()
    low, high = ours.min((1, 2), keepdims=True), ours.max((1, 2), keepdims=True)
    for mine, other in zip((ours - low) / (high - low), theirs):
        assert np.corrcoef(mine.ravel(), other.ravel())[0, 1] > 0.999
        np.testing.assert_allclose(mine, other, atol=0.02)  # the library stretches with OpenCV, and its own range


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_map_becomes_targets(kind):
    network = build("focus", TINY, 0) if kind == "focus" else build_plain(TINY, 0)
    labels = torch.tensor([0, 1, 0, 1])
    reals = (noise().float() * 0.5).to(torch.uint8)
    network.train()
    masks = (noise()[:, 0] > 128).to(torch.uint8) * 255
    maps = raw_maps(kind, noise(), network=network, reals=reals, labels=labels, masks=masks)
    targets = as_targets(maps, labels, 16)
    assert network.training
    assert not maps.requires_grad
    if kind != "scorecam":  # untrained, all channels weigh the same, and their sum may be negative everywhere
        assert targets[1].max() > 0
    assert not targets[0].any()


def test_a_map_that_cannot_be_made_says_what_is_missing():
    with pytest.raises(WorkbookError, match="the real face"):
        raw_maps("ssim", noise())
    with pytest.raises(WorkbookError, match="a FoCus"):
        raw_maps("focus", noise(), network=build_plain(TINY, 0))
    with pytest.raises(WorkbookError, match="scorecam"):
        raw_maps("score-cam", noise())
    with pytest.raises(WorkbookError, match="reals"):
        raw_maps("pixel", noise(4), reals=noise(2))


# --- the evaluation model -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_convnext"])
def test_the_map_branch_is_at_stride_4_and_leaves_the_detector_as_it_is(name):
    spec = Backbone(name, 64)
    model, plain = build_evaluation(spec, 0).eval(), build_detector(spec, 0).eval()
    output = model(noise(2, 64), with_map=True)
    assert output.map_logits.shape == (2, 16, 16)
    torch.testing.assert_close(output.logits, model(noise(2, 64)).logits)
    torch.testing.assert_close(output.logits, plain(noise(2, 64)).logits)  # the same initial weights


def test_the_loss_is_cross_entropy_plus_a_tenth_of_the_maps():
    model = build_evaluation(EFFICIENTNET, 0).eval()
    y, masks = torch.tensor([0, 1]), torch.full((2, 64, 64), 255, dtype=torch.uint8)
    with torch.no_grad():
        loss, parts = MapSupervision()(model, {"image": noise(2, 64), "label": y, "mask": masks})
        output = model(noise(2, 64), with_map=True)
    forged = output.map_logits.sigmoid()
    bce = -(torch.log(1 - forged[0]).mean() + torch.log(forged[1]).mean()) / 2  # the real's mask is taken for zero
    ce = -output.logits.log_softmax(1)[torch.arange(2), y].mean()
    assert float(parts["map"]) == pytest.approx(float(bce), rel=1e-4)
    assert float(loss) == pytest.approx(float(ce + 0.1 * bce), rel=1e-4)


def test_masks_as_bytes_or_floats_are_the_same_targets():
    levels = torch.tensor([0, 51, 204, 255], dtype=torch.uint8).view(1, 2, 2)
    like, fake = torch.zeros(1, 2, 2), torch.tensor([1])
    shares = torch.tensor([[[0, 0.2], [0.8, 1]]])
    for given in (levels, shares):
        torch.testing.assert_close(MapSupervision.targets(given, fake, like), shares, rtol=0, atol=1e-6)
        assert MapSupervision.targets(given, fake, like).max() == 1


def test_all_weights_of_the_evaluation_model_are_trained():
    model = build_evaluation(EFFICIENTNET, 0)
    batch = {"image": noise(4, 64), "label": torch.arange(4) % 2, "mask": torch.rand(4, 64, 64)}
    MapSupervision()(model, batch)[0].backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


def test_a_network_without_features_at_stride_4_is_refused():
    with pytest.raises(WorkbookError, match="stride 4"):
        build_evaluation(Backbone("test_vit", 64, {"img_size": 64}), 0)


# --- maps against true masks ----------------------------------------------------------------------------------------


def test_the_best_iou_is_that_of_trying_every_threshold():
    rng = np.random.default_rng(0)
    truth = rng.random(300) < 0.3
    values = np.round(truth + rng.normal(size=300), 1)  # with ties
    iou, threshold = best_iou(values, truth)
    tried = {t: jaccard_score(truth, values >= t) for t in np.unique(values)}
    assert iou == pytest.approx(max(tried.values()))
    assert tried[threshold] == pytest.approx(iou)


def test_map_scores_are_those_of_the_pixels():
    masks = (normal(3, 16, 16) > 0.8).to(torch.uint8) * 255
    maps = masks / 255 + normal(3, 16, 16, seed=1)
    scores = score_maps(maps, masks)
    truth = masks.numpy() > 0
    assert scores.map_auc == pytest.approx(roc_auc_score(truth.ravel(), maps.numpy().ravel()))
    each = [roc_auc_score(t.ravel(), m.ravel()) for t, m in zip(truth, maps.numpy())]
    assert scores.map_auc_face == pytest.approx(np.mean(each))
    assert scores.chance_iou == pytest.approx(truth.mean())
    assert scores.as_dict().keys() >= {"map_auc", "map_iou"}


def test_a_pixel_is_forged_where_its_mask_is_above_half_of_the_range():
    shares = torch.tensor([[[0.0, 0.49], [0.51, 1.0]]])
    for masks in (shares, (255 * shares).round().to(torch.uint8)):
        scores = score_maps((shares > 0.5).float(), masks)
        assert (scores.map_auc, scores.map_iou, scores.chance_iou) == (1, 1, 0.5)


def test_the_true_mask_scores_one_and_a_shuffled_one_much_less():
    masks = torch.zeros(8, 32, 32)
    for i in range(8):
        masks[i, 4 * (i // 2) : 4 * (i // 2) + 8, 12 * (i % 2) : 12 * (i % 2) + 8] = 1
    exact, control = masks, shuffled(masks, torch.ones(8), np.random.default_rng(0))
    assert score_maps(exact, masks).map_auc == score_maps(exact, masks).map_iou == 1
    assert score_maps(control, masks).map_auc < 0.7
    assert score_maps(control, masks).map_iou < 0.5


def test_maps_of_reals_cannot_be_scored_against_masks():
    with pytest.raises(WorkbookError, match="fakes alone"):
        score_maps(normal(2, 8, 8), torch.zeros(2, 8, 8))


def test_mass_is_of_the_positive_part_and_by_class():
    maps = torch.tensor([[[1.0, -9.0]], [[3.0, 1.0]]])
    assert map_mass(maps, torch.tensor([0, 1])) == {
        "map_mass_real": 0.5, "map_mass_fake": 2.0, "map_mass_ratio": 0.25,
    }  # fmt: skip


# --- cost -----------------------------------------------------------------------------------------------------------


def test_operations_of_a_vit_are_those_counted_by_hand():
    n, d, depth, patch = 17, 16, 2, 8
    network = build_plain(Backbone("test_vit", 32, {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}), 0)
    hidden = network.backbone.blocks[0].mlp.fc1.out_features
    block = n * d * 3 * d + 2 * n * n * d + n * d * d + 2 * n * d * hidden
    by_hand = 16 * 3 * patch**2 * d + depth * block + 2 * d
    counted = cost(network, 32)
    assert counted.macs == by_hand
    assert counted.parameters == sum(p.numel() for p in network.parameters())


def test_focus_costs_two_encoders_and_a_block_and_its_positions_do_not_learn():
    bare, focus = cost(build_plain(TINY, 0), 32), cost(build("focus", TINY, 0), 32)
    assert 2 * bare.flops < focus.flops < 3 * bare.flops
    assert focus.parameters - focus.trainable == 2 * 17 * 16


def test_deit_small_has_the_operations_that_its_paper_prints():
    counted = cost(build_plain(Backbone("deit_small_patch16_224", 224), 0), 224)
    assert counted.macs == pytest.approx(4.6e9, rel=0.01)
    assert counted.parameters == pytest.approx(21.7e6, rel=0.01)  # two classes instead of a thousand


def test_works_take_turns_and_speed_is_images_by_the_median():
    ticks = iter([0, 0, 0, 1, 0, 4, 0, 1, 0, 4])  # the first calls are not timed to the end
    calls = []
    works = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    assert seconds(works, repeats=2, clock=lambda: float(next(ticks))) == {"a": [1, 1], "b": [4, 4]}
    assert calls == ["a", "b"] * 3


def test_speed_of_training_and_inference_can_be_measured():
    focus = build("focus", TINY, 0)
    before = focus.cl.head.weight.detach().clone()
    batch = {"image": noise(), "label": torch.arange(4) % 2}
    speeds = images_per_second({"step": training(focus, FocusLoss(), batch)}, 4, repeats=1)
    assert not torch.equal(focus.cl.head.weight, before)
    speeds |= images_per_second({"pass": inference(focus, noise())}, 4, repeats=1)
    assert not focus.training
    assert all(speed > 0 for speed in speeds.values())


def test_a_map_of_the_seam_is_told_from_one_of_the_whole_inner_face():
    truth = np.zeros((2, 32, 32), bool)
    truth[:, 6:26, 6:26] = True
    seam = np.zeros((2, 32, 32))
    for y, x in product(range(32), range(32)):  # within two pixels of the other side, by hand
        near = truth[0, max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
        cross = {bool(truth[0, y + i, x]) for i in range(-2, 3) if 0 <= y + i < 32}
        cross |= {bool(truth[0, y, x + i]) for i in range(-2, 3) if 0 <= x + i < 32}
        seam[:, y, x] = float(len(cross) == 2 and near.any())
    assert seam_auc(seam, truth) > 0.95
    assert seam_auc(truth.astype(float), truth) < 0.5
    assert seam_auc(np.ones((2, 32, 32)), truth) == 0.5
    assert np.isnan(seam_auc(seam, np.zeros((2, 32, 32), bool)))


def test_agreement_is_the_mean_correlation_of_two_maps_of_a_face():
    a, b = torch.rand(3, 4, 4), torch.rand(3, 4, 4)
    expected = np.mean([np.corrcoef(x.flatten(), y.flatten())[0, 1] for x, y in zip(a.numpy(), b.numpy())])
    assert agreement(a, b) == pytest.approx(expected)
    assert agreement(a, 3 * a + 1) == pytest.approx(1)
    assert np.isnan(agreement(torch.ones(1, 2, 2), torch.rand(1, 2, 2)))


def test_focus_has_fewer_parameters_than_one_vit_base():
    """P4, Sec. IV-I: UIA-ViT's backbone is a ViT-Base."""
    ours = build("focus", Backbone("deit_small_patch16_224", 224), 0)
    with torch.device("meta"):
        base = timm.create_model("vit_base_patch16_224", num_classes=2)
    counts = [sum(weight.numel() for weight in network.parameters()) for network in (ours, base)]
    assert counts[0] < 50e6
    assert counts[1] > 85e6
