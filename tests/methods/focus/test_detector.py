"""FoCus against loops, SciPy, closed forms and timm's own attention."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy import fft, ndimage
from torch import Tensor

from dfrepro.errors import WorkbookError
from dfrepro.methods.focus.detector import (
    VARIANTS,
    ComplementaryLearning,
    Focus,
    FocusConfig,
    FocusLoss,
    build,
    car_map,
    class_1_map,
    class_scores,
    compete,
    each_by_itself,
    evidence,
    interior,
    loss_of,
)
from dfrepro.methods.focus.encoder import build_plain, class_attention, encode
from dfrepro.methods.focus.inputs import SRM, HighFrequencies, Sobel, srm_kernels
from dfrepro.nets.cam import grad_cam
from dfrepro.nets.detector import Backbone
from tests.synthetic import noise

TINY = Backbone("vit_conv_stem", 32, {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2})
ENCODERS = [TINY, Backbone("test_vit", 32, {"patch_size": 8})]


pytestmark = pytest.mark.usefixtures("one_thread")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- the second modality --------------------------------------------------------------------------------------------


def test_sobel_is_scipys_gradient_magnitude_over_its_maximum():
    x = noise(2) / 255
    ours = Sobel()(x).numpy()
    for image, edges in zip(x.numpy(), ours):
        magnitude = np.stack([np.hypot(*(ndimage.sobel(c, axis, mode="nearest") for axis in (0, 1))) for c in image])
        np.testing.assert_allclose(edges, magnitude / magnitude.max(), atol=1e-5)


def test_a_face_with_hardly_any_high_frequencies_is_not_blown_up_to_the_whole_range():
    """What deviates by less than one step of a stored pixel is divided by that step."""
    x = 0.5 + 1e-3 * noise(1) / 255
    u, v = np.indices((32, 32))
    spectrum = fft.dctn(x.double().numpy(), axes=(2, 3), norm="ortho")
    residual = fft.idctn(np.where(u + v > 16, spectrum, 0), axes=(2, 3), norm="ortho")
    np.testing.assert_allclose(HighFrequencies(32)(x), (1 + 255 * residual) / 2, atol=1e-4)
    assert 0.05 < 255 * np.abs(residual).max() < 0.5


def test_grey_sobel_is_that_of_the_mean_colour_three_times():
    x = noise(1) / 255
    edges = Sobel(grey=True)(x)
    torch.testing.assert_close(edges, Sobel()(x.mean(1, keepdim=True).expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("kind", [Sobel(), HighFrequencies(32), SRM()])
def test_a_filter_of_a_flat_face_is_flat_and_its_slope_finite(kind):
    x = torch.full((1, 3, 32, 32), 0.4, requires_grad=True)
    y = kind(x)
    y.sum().backward()
    assert y.std() < 1e-3
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("kind", [Sobel(), HighFrequencies(32), SRM()])
def test_filters_stay_within_zero_and_one(kind):
    y = kind(noise(3) / 255)
    assert y.shape == (3, 3, 32, 32)
    assert y.min() >= 0
    assert y.max() <= 1


def test_high_frequencies_are_scipys_dct_without_its_low_corner():
    x = noise(1) / 255
    u, v = np.indices((32, 32))
    spectrum = fft.dctn(x.numpy(), axes=(2, 3), norm="ortho")
    residual = fft.idctn(np.where(u + v > 16, spectrum, 0), axes=(2, 3), norm="ortho")
    np.testing.assert_allclose(HighFrequencies(32)(x), (1 + residual / np.abs(residual).max()) / 2, atol=1e-5)


def test_srm_residuals_are_scipys_correlations_cut_at_two_steps():
    x = noise(1) / 255
    grey = 255 * x[0].mean(0).numpy()
    ours = SRM()(x)[0]
    for kernel, residual in zip(srm_kernels().numpy(), ours):
        expected = ndimage.correlate(grey, kernel, mode="nearest").clip(-2, 2)
        np.testing.assert_allclose(residual, (1 + expected / 2) / 2, atol=1e-4)
        assert abs(kernel.sum()) < 1e-6  # a residual ignores the grey level
        assert kernel[2, 2] == -1


# --- CARP -----------------------------------------------------------------------------------------------------------


def test_scores_take_the_maximum_over_space_before_the_mean_over_maps():
    f = torch.zeros(1, 2, 2, 2, 2)
    f[0, 1, 0, 0, 0] = f[0, 1, 1, 1, 1] = 1  # two maps of class 1, each with a peak of its own
    assert class_scores(f).tolist() == [[0, 1]]
    mean_first = f.mean(2).amax((-2, -1))
    assert mean_first.tolist() == [[0, 0.5]]


def test_every_map_of_the_class_gets_its_gradient_at_its_own_peak():
    f = normal(1, 2, 3, 4, 4).requires_grad_()
    class_scores(f)[0, 1].backward()
    assert f.grad is not None
    assert (f.grad[0, 0] == 0).all()
    for k in range(3):
        peak = f[0, 1, k].argmax()
        assert f.grad[0, 1, k].flatten()[peak] == pytest.approx(1 / 3)
        assert (f.grad[0, 1, k] != 0).sum() == 1


def test_car_map_is_eq_4_in_a_loop():
    f, z = normal(2, 2, 5, 3, 4), normal(2, 2, seed=1)
    ours, ours_1 = car_map(evidence(f), z, "expected"), class_1_map(evidence(f), z, "expected")
    for b in range(2):
        p = [math.exp(z[b, c]) / (math.exp(z[b, 0]) + math.exp(z[b, 1])) for c in range(2)]
        for i in range(3):
            for j in range(4):
                mean = [sum(float(f[b, c, k, i, j]) for k in range(5)) / 5 for c in range(2)]
                assert float(ours[b, i, j]) == pytest.approx(p[0] * mean[0] + p[1] * mean[1], abs=1e-5)
                assert float(ours_1[b, i, j]) == pytest.approx(p[1] * mean[1], abs=1e-5)


def test_other_readings_take_the_class_of_the_label_or_else_the_predicted_one():
    f, z = normal(2, 2, 5, 3, 3), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert torch.equal(car_map(evidence(f), z, "label"), torch.stack([f[0, 0].mean(0), f[1, 1].mean(0)]))
    labels = torch.tensor([1, 0])
    assert torch.equal(car_map(evidence(f), z, "label", labels), torch.stack([f[0, 1].mean(0), f[1, 0].mean(0)]))
    pooled = car_map(evidence(f, pooled=True), z, "pooled", labels)
    expected = sum(f[0, 1, k].mean() * f[0, 1, k] for k in range(5))
    torch.testing.assert_close(pooled[0], expected)


# --- complementary learning -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("select", [compete, each_by_itself])
def test_selection_is_one_hot_to_the_bit(select):
    scores = 5 * normal(3, 50, 2)
    weights = select(scores)
    assert set(weights.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(weights.argmax(-1), scores.argmax(-1))


def test_selection_has_the_slope_of_the_softmax():
    scores = normal(7, 2).double().requires_grad_()
    readout = normal(7, 2, seed=1).double()
    (ours,) = torch.autograd.grad((compete(scores, tau=0.5) * readout).sum(), scores)
    (soft,) = torch.autograd.grad(((scores / 0.5).softmax(-1) * readout).sum(), scores)
    torch.testing.assert_close(ours, soft)


def block(**options) -> ComplementaryLearning:
    torch.manual_seed(0)
    return ComplementaryLearning(8, 2, 2, FocusConfig(**options))


def gradients_where_rgb_wins(cl: ComplementaryLearning) -> list[Tensor]:
    with torch.no_grad():
        cl.scores[0][-1].bias.add_(5)
        cl.scores[1][-1].bias.sub_(5)
    tokens = [normal(2, 6, 8, seed=m).requires_grad_() for m in range(2)]
    fused, selection = cl.eval().fuse(tokens)
    assert not selection.any()
    assert torch.equal(fused, tokens[0])
    return list(torch.autograd.grad((fused * normal(2, 6, 8, seed=2)).sum(), tokens))


def test_both_streams_learn_from_a_position_that_one_has_won():
    winner, loser = gradients_where_rgb_wins(block())
    assert winner.abs().amax(-1).gt(0).all()
    assert loser.abs().amax(-1).gt(0).all()


def test_each_position_is_the_token_of_the_stream_that_has_won_it():
    tokens = [normal(2, 6, 8, seed=m) for m in range(2)]
    fused, selection = block().eval().fuse(tokens)
    assert 0 < selection.mean() < 1
    torch.testing.assert_close(fused, torch.where(selection[..., None] == 1, tokens[1], tokens[0]))


def test_without_competition_the_loser_learns_nothing():
    winner, loser = gradients_where_rgb_wins(block(competition=False))
    assert winner.abs().amax(-1).gt(0).all()
    assert not loser.any()


def test_noise_lets_the_weaker_token_win_as_often_as_the_softmax_says():
    scores = torch.tensor([1.0, 0.0]).expand(40_000, 2)
    torch.manual_seed(0)
    share = compete(scores, noise=True)[:, 1].mean()
    assert float(share) == pytest.approx(1 / (1 + math.e), abs=0.01)  # four standard deviations


def test_gumbel_noise_is_added_in_training_alone():
    cl = block()
    scores = 0.1 * normal(4, 64, 2)
    winners = scores.argmax(-1)
    assert torch.equal(cl.eval().select(scores).argmax(-1), winners)
    torch.manual_seed(0)
    assert not torch.equal(cl.train().select(scores).argmax(-1), winners)


def test_log_softmax_as_logits_changes_nothing_and_probabilities_flatten_the_choice():
    scores = 4 * normal(2000, 2)
    shares = {}
    for gumbel in ("scores", "log_softmax", "softmax"):
        torch.manual_seed(0)
        shares[gumbel] = (block(gumbel=gumbel).train().select(scores).argmax(-1) == scores.argmax(-1)).float().mean()
    assert shares["scores"] == pytest.approx(float(shares["log_softmax"]), abs=1e-3)
    assert shares["softmax"] < shares["scores"] - 0.1


# --- the network ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def focus() -> Focus:
    return build("focus", TINY, 0)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_trains_all_its_weights_and_makes_maps(name):
    model = build(name, TINY, 0)
    x, y = noise(), torch.tensor([0, 1, 0, 1])
    loss_of(model.config)(model, {"image": x, "label": y})[0].backward()
    idle = [key for key, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
    assert idle == []
    maps = model.car_maps(x, y)
    assert maps.fused.shape == (4, 4, 4)
    assert maps.streams.shape == (4, 1 if name == "rgb" else 2, 4, 4)
    assert len(model(x)) == 3


@pytest.mark.parametrize("spec", ENCODERS, ids=lambda spec: spec.name)
def test_the_encoder_is_the_timm_network_itself(spec):
    model = build_plain(spec, 0).eval()
    x = model.preprocess(noise())
    torch.testing.assert_close(encode(model.backbone, x)[1], model.backbone.forward_features(x))
    torch.testing.assert_close(model(noise()).logits, model.backbone(x))


@pytest.mark.parametrize("spec", ENCODERS, ids=lambda spec: spec.name)
def test_both_encoders_read_what_a_plain_one_would_of_the_face_and_of_its_edges(spec):
    """The face as stored, and the filtered face as if it were stored, each standardised as the network's own is."""
    model, plain, entered = build("focus", spec, 0).eval(), build_plain(spec, 0), []
    for stream in model.streams:
        stream.vit.patch_embed.register_forward_pre_hook(lambda module, inputs: entered.append(inputs[0]))
    model(noise(2))
    edges = 255 * Sobel()(noise(2) / 255)
    for ours, shown in zip(entered, (noise(2), edges), strict=True):
        torch.testing.assert_close(ours, plain.preprocess(shown))


@pytest.mark.parametrize("spec", ENCODERS, ids=lambda spec: spec.name)
def test_class_attention_is_what_the_last_block_computes(spec):
    model = build_plain(spec, 0).eval()
    attention = model.backbone.blocks[-1].attn
    attention.fused_attn = False
    seen = []
    attention.attn_drop.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    model(noise())
    expected = seen[0][:, :, 0, 1:].mean(1).view(4, 4, 4)  # (B, heads, 1 + N, 1 + N): the class token's row
    torch.testing.assert_close(model.attention(noise()), expected)
    entering = encode(model.backbone, model.preprocess(noise()))[0]
    torch.testing.assert_close(class_attention(model.backbone, entering), expected)


def test_positions_are_fixed_and_the_same_in_both_streams(focus):
    rgb, sobel = (stream.vit.pos_embed for stream in focus.streams)
    assert torch.equal(rgb, sobel)
    assert not rgb.requires_grad
    assert not sobel.requires_grad
    patches = rgb[0, 1:]
    assert torch.unique(patches.round(decimals=4), dim=0).shape[0] == len(patches)  # no two places alike
    assert not rgb[0, 0].any()


def test_encoders_are_not_shared_and_the_seed_alone_decides_them(focus):
    again = build("focus", TINY, 0)
    for key, value in focus.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])
    first, second = (stream.vit.patch_embed.proj.weight for stream in focus.streams)
    assert first is not second
    assert not torch.equal(first, second)
    state = torch.get_rng_state()
    other = build("focus", TINY, 1)
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(other.streams[0].vit.patch_embed.proj.weight, first)


def test_fused_map_takes_each_place_from_the_stream_that_won_it():
    focus, x, scores = build("focus", TINY, 0).eval(), noise(8), []
    for mlp in focus.cl.scores:
        mlp.register_forward_hook(lambda module, inputs, output: scores.append(output))
    focus(x)
    with torch.no_grad():
        focus.cl.scores[0][-1].bias.add_((scores[1] - scores[0]).median())  # each stream wins half of the places
    maps, output = focus.car_maps(x), focus(x, detail=True)
    b = output.selection.view(8, 4, 4).bool()
    assert 0.4 < b.float().mean() < 0.6
    assert torch.equal(maps.fused, torch.where(b, maps.streams[:, 1], maps.streams[:, 0]))
    added = Focus(FocusConfig(fusion="add"), TINY)
    added.load_state_dict(focus.state_dict())
    torch.testing.assert_close(added.car_maps(x).fused, maps.streams[:, 0] + b * maps.streams[:, 1])


def test_without_cl_the_fused_map_is_the_larger_of_both():
    model = build("no-cl", TINY, 0)
    maps = model.car_maps(noise())
    assert torch.equal(maps.fused, torch.maximum(*maps.streams.unbind(1)))


def test_on_a_certain_fake_eq_9_and_eq_4_agree(focus):
    said = evidence(normal(1, 2, 4, 3, 3))
    certain = torch.tensor([[-20.0, 20.0]])
    torch.testing.assert_close(car_map(said, certain, "expected"), class_1_map(said, certain, "expected"))
    assert class_1_map(said, -certain, "expected").abs().max() < 1e-6


def test_maps_are_detached_and_leave_the_mode_alone(focus):
    focus.train()
    output = focus(noise(), detail=True)
    assert not output.evidence.requires_grad
    assert not output.selection.requires_grad
    assert not focus.car_maps(noise()).fused.requires_grad
    assert focus.training


def test_inference_is_without_noise_even_when_the_generator_moves(focus):
    focus.eval()
    torch.manual_seed(0)
    first = focus(noise()).logits
    torch.manual_seed(1)
    assert torch.equal(first, focus(noise()).logits)
    assert torch.equal(focus.car_maps(noise()).fused, focus.train().car_maps(noise()).fused)


def test_images_may_be_bytes_floats_or_of_another_size(focus):
    focus.eval()
    x = noise(2)
    torch.testing.assert_close(focus(x).logits, focus(x.float()).logits)
    assert focus(noise(2, size=48)).logits.shape == (2, 2)


def test_grad_cam_of_a_plain_vit_is_not_empty():
    cams = grad_cam(build_plain(TINY, 0), noise())
    assert cams.shape == (4, 32, 32)
    assert cams.flatten(1).amax(1).gt(0).all()


def test_the_loss_is_eq_8(focus):
    focus.eval()
    x, y = noise(), torch.tensor([0, 1, 1, 0])
    with torch.no_grad():
        loss, parts = FocusLoss()(focus, {"image": x, "label": y})
        output = focus(x, detail=True)
    heads = [output.logits, output.z[:, 0], output.z[:, 1]]
    fused, rgb, sobel = (-float(logits.log_softmax(1)[torch.arange(4), y].mean()) for logits in heads)
    assert float(loss) == pytest.approx(fused + 0.1 * (rgb + sobel), rel=1e-5)
    assert float(parts["second_share"]) == pytest.approx(float(focus.second_share(x).mean()))


def test_interior_is_zero_when_one_modality_has_taken_all():
    assert interior(torch.ones(4)) == interior(torch.zeros(4)) == 0
    assert interior(torch.tensor([0.0, 1.0])) == 0.5
    assert interior(torch.tensor([0.75])) == 0.25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modality": "fft"}, "sobel"),
        ({"k": 0}, "positive"),
        ({"tau": 0.0}, "positive"),
        ({"kernel": 5}, "1, 3"),
        ({"modality": "none", "cl": False}, "RGB alone"),
    ],
)
def test_an_impossible_configuration_is_refused_by_name(options, message):
    with pytest.raises(WorkbookError, match=message):
        FocusConfig(**options)


def test_networks_without_tokens_and_unknown_variants_are_refused():
    with pytest.raises(WorkbookError, match="vit_conv_stem"):
        build("focus", Backbone("convnext_atto", 32), 0)
    with pytest.raises(WorkbookError, match="no-carp"):
        build("no-crap", TINY, 0)
    with pytest.raises(WorkbookError, match="power of two"):
        build("focus", Backbone("vit_conv_stem", 30, {"patch_size": 8}), 0)


# --- P4-C7 ----------------------------------------------------------------------------------------------------------


def patched_faces(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Smooth noisy faces of 16 px; in a fake, a quarter has another colour (an RGB cue) or no noise (an edge cue)."""
    coarse = torch.rand(n, 3, 4, 4, generator=generator)
    x = torch.nn.functional.interpolate(coarse, (16, 16), mode="bicubic").clamp(0, 1) * 0.6 + 0.2
    noise = 0.05 * torch.randn(n, 3, 16, 16, generator=generator)
    y = torch.arange(n) % 2
    for i in range(1, n, 2):
        top, left = torch.randint(0, 9, (2,), generator=generator).tolist()
        if torch.randint(0, 2, (), generator=generator):
            x[i, 0, top : top + 8, left : left + 8] += 0.2
        else:
            noise[i, :, top : top + 8, left : left + 8] = 0
    return ((x + noise).clamp(0, 1) * 255).to(torch.uint8), y


def share_while_training(config: FocusConfig, seed: int, steps: int = 40) -> float:
    """The share of Sobel tokens over the last ten steps of a short joint training."""
    generator = torch.Generator().manual_seed(seed)
    spec = Backbone("vit_conv_stem", 16, {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 1})
    model = build(config, spec, seed)
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    torch.manual_seed(seed)
    shares = []
    for _ in range(steps):
        x, y = patched_faces(32, generator)
        loss, parts = FocusLoss()(model, {"image": x, "label": y})
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        shares.append(parts["second_share"])
    return float(torch.stack(shares[-10:]).mean())


def test_with_competition_the_share_of_sobel_tokens_stays_interior_while_training():
    shares = [share_while_training(FocusConfig(k=4), seed) for seed in range(5)]
    assert all(interior(torch.tensor([share])) > 0.05 for share in shares), shares


# --- readings of Eq. 4 and 9, and λ --------------------------------------------------------------------------------


def test_classes_cannot_cancel_where_each_classs_evidence_is_cut_at_zero():
    evidence = torch.tensor([[[[-3.0, 1.0]], [[3.0, -1.0]]]])  # (1, 2, 1, 2): one against the other
    z = torch.zeros(1, 2)
    torch.testing.assert_close(car_map(evidence, z, "expected"), torch.zeros(1, 1, 2))
    torch.testing.assert_close(car_map(evidence, z, "positive"), torch.tensor([[[1.5, 0.5]]]))
    torch.testing.assert_close(class_1_map(evidence, z, "positive"), torch.tensor([[[1.5, 0.0]]]))


def test_the_class_summed_reading_is_gap_times_f_over_both_classes_in_a_loop():
    f = torch.randn(2, 2, 5, 3, 3, generator=torch.Generator().manual_seed(1))
    expected = torch.zeros(2, 3, 3)
    for b, c, k in product(range(2), range(2), range(5)):
        expected[b] += f[b, c, k].mean() * f[b, c, k]
    torch.testing.assert_close(car_map(evidence(f, pooled=True), torch.zeros(2, 2), "pooled_all"), expected)


@pytest.mark.parametrize("reading", ["positive", "label", "pooled", "pooled_all"])
def test_another_reading_makes_other_maps_of_the_same_network(reading):
    network = build("focus", TINY, 0)
    before, logits = network.car_maps(noise()).fused, network.eval()(noise()).logits
    network.read_as(reading)
    assert not torch.allclose(network.car_maps(noise()).fused, before)
    assert torch.equal(network.eval()(noise()).logits, logits)
    torch.testing.assert_close(network.read_as("expected").car_maps(noise()).fused, before)


def test_lambda_is_a_variants_setting():
    assert [loss_of(VARIANTS[name]).loc for name in ("lambda001", "focus", "lambda1")] == [0.01, 0.1, 1.0]


def test_k_is_a_variants_setting():
    assert [VARIANTS[name].k for name in ("k1", "k8", "k64", "focus")] == [1, 8, 64, FocusConfig().k]
