"""PEL (AAAI 2022, Sec. 3) against SciPy, brute force, and each equation in a few lines of its own."""

import copy
import dataclasses
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from scipy.ndimage import median_filter
from torch.nn import functional

from dfrepro.errors import WorkbookError
from dfrepro.methods.pel.denoise import DENOISERS, mean, non_local_means
from dfrepro.methods.pel.detector import (
    TABLE_4,
    TABLE_5,
    VARIANTS,
    ChannelAttention,
    MutualEnhancement,
    NoiseEnhancement,
    Variant,
    build,
)
from dfrepro.methods.pel.frequency import FrequencyInput, Statistics, measure
from dfrepro.methods.pel.median import median, network
from dfrepro.methods.pel.residuals import StreamView, changes, energy, shares
from dfrepro.methods.pel.streams import anatomy
from dfrepro.nets.cam import grad_cam
from dfrepro.nets.detector import Backbone
from dfrepro.nets.losses import CrossEntropy
from tests.synthetic import noise

TINY = Backbone("test_efficientnet", 32)  # five stages: the schedule's first, inner and last ones are all there
UNIT = Statistics(torch.zeros(192), torch.ones(192))


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def g() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def tiny(variant: Variant | str, spec: Backbone = TINY, seed: int = 0):
    return build(VARIANTS[variant] if isinstance(variant, str) else variant, spec, seed, UNIT)


def random_weights(module: torch.nn.Module, g: torch.Generator) -> torch.nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(generator=g)
    return module.double()


# --- the frequency input ------------------------------------------------------------------------------------------


def jpeg_ycbcr(rgb: np.ndarray) -> np.ndarray:
    """(3, H, W) in [0, 255] -> JFIF's Y, Cb, Cr in [0, 1] with Y − .5 and chroma around 0, from Kr and Kb alone."""
    r, g, b = rgb / 255
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return np.stack([y - 0.5, (b - y) / 1.772, (r - y) / 1.402])


def test_every_window_is_the_dct_that_scipy_computes():
    images = noise(2, 24)
    ours = FrequencyInput().coefficients(images).numpy()
    for n, i, j, c in product(range(2), (0, 5, 11), (0, 4, 11), range(3)):
        padded = np.pad(jpeg_ycbcr(images[n].numpy())[c], 3, mode="reflect")
        block = padded[2 * i : 2 * i + 8, 2 * j : 2 * j + 8]
        expected = dctn(block, norm="ortho")
        np.testing.assert_allclose(ours[n, 64 * c : 64 * c + 64, i, j].reshape(8, 8), expected, atol=1e-5)


def test_a_window_keeps_its_energy():
    images = noise(1, 16)
    ours = FrequencyInput(size="unpadded").coefficients(images)[0, :, 2, 3].view(3, 64)
    windows = jpeg_ycbcr(images[0].numpy())[:, 4:12, 6:14]
    np.testing.assert_allclose(ours.square().sum(1), (windows**2).sum((1, 2)), rtol=1e-5)


@pytest.mark.parametrize("size", [64, 224, 320])
def test_frequencies_are_192_channels_at_half_resolution(size):
    entry = FrequencyInput()
    entry.standardise(UNIT)
    image = torch.zeros(1, 3, size, size, dtype=torch.uint8)
    assert entry.coefficients(image).shape == (1, 192, size // 2, size // 2)
    assert entry(image).shape == (1, 64, size // 2, size // 2)


@pytest.mark.parametrize(("size", "side"), [("half", 16), ("double", 32), ("unpadded", 16)])
def test_other_readings_of_the_input_size_give_theirs(size, side):
    entry = FrequencyInput(size=size)
    entry.standardise(UNIT)
    assert entry(noise(1, 32)).shape[1:] == entry.shape(32) == (64, side, side)


@pytest.mark.parametrize("bank", ["fine", "coarse"])
def test_one_convolution_is_transform_standardisation_and_mixture(bank):
    images = noise(4, 32)
    statistics = measure([images], bank)
    entry = FrequencyInput(bank)
    entry.standardise(statistics)
    x = (entry.coefficients(images) - statistics.mean.view(-1, 1, 1)) / statistics.deviation.view(-1, 1, 1)
    torch.testing.assert_close(entry(images), entry.mix(x), atol=2e-5, rtol=1e-5)
    np.testing.assert_allclose(x.mean((0, 2, 3)).detach(), 0, atol=1e-3)
    np.testing.assert_allclose(x.std((0, 2, 3)).detach(), 1, atol=1e-3)


def test_statistics_do_not_depend_on_how_images_come_in_batches():
    images = noise(6, 16)
    one, several = measure([images]), measure(images.split(2))
    torch.testing.assert_close(one.mean, several.mean)
    torch.testing.assert_close(one.deviation, several.deviation)


def test_grey_faces_leave_no_channel_to_divide_by_zero():
    grey = noise(2, 16)[:, :1].expand(-1, 3, -1, -1)
    entry = FrequencyInput()
    entry.standardise(measure([grey]))
    assert entry(grey).isfinite().all()


def test_the_gradient_reaches_image_and_mixture():
    entry = FrequencyInput().double()
    entry.standardise(Statistics(*(t.double() for t in measure([noise(2, 16)]))))
    image = noise(1, 8)[:, :, :8].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: entry(x)[:, :4], (image,))
    entry(image).square().sum().backward()
    assert entry.mix.weight.grad.abs().min() > 0


def test_bands_of_the_coarse_control_sum_to_the_image():
    images = noise(1, 16)
    bands = FrequencyInput("coarse").coefficients(images)[0].view(3, 4, 4, 4, 8, 8)  # colour, repeat, band, pixel, ...
    sums = bands[:, 0].sum(1).view(3, 2, 2, 8, 8).permute(0, 3, 1, 4, 2).reshape(3, 16, 16)
    np.testing.assert_allclose(sums, jpeg_ycbcr(images[0].numpy()), atol=1e-5)
    torch.testing.assert_close(bands, bands[:, :1].expand_as(bands))


def test_the_coarse_control_has_the_capacity_of_the_fine_input():
    fine, coarse = tiny("freq"), tiny("freq-coarse")
    assert [p.shape for p in fine.parameters()] == [p.shape for p in coarse.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(fine.parameters(), coarse.parameters()))
    ranks = [torch.linalg.matrix_rank(m.streams["freq"].entry.filters.flatten(1)) for m in (fine, coarse)]
    assert ranks == [192, 3 * (1 + 3 + 4 + 4)]  # of the first octaves there are but 1 and 3


def test_an_input_without_statistics_says_so_and_a_checkpoint_brings_them():
    trained, fresh = tiny("freq"), build(VARIANTS["freq"], TINY, seed=1)
    with pytest.raises(WorkbookError, match="statistics"):
        fresh(noise(1, 32))
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(fresh.eval()(noise(1, 32)).logits, trained.eval()(noise(1, 32)).logits)


def test_a_checkpoint_of_an_input_that_was_never_measured_brings_no_statistics():
    fresh = build(VARIANTS["freq"], TINY, seed=1)
    fresh.load_state_dict(build(VARIANTS["freq"], TINY, seed=0).state_dict())
    with pytest.raises(WorkbookError, match="statistics"):
        fresh(noise(1, 32))


def test_an_odd_image_is_refused():
    with pytest.raises(WorkbookError, match="even"):
        FrequencyInput().coefficients(noise(1, 15))


# --- denoisers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [3, 5, 7])
@pytest.mark.parametrize("levels", [0, 3])
def test_median_is_scipys(k, levels, g):
    x = torch.randn(3, 5, 13, 8, generator=g)
    x = (x * levels).round() if levels else x  # with ties
    expected = [[median_filter(plane, size=k, mode="mirror") for plane in maps] for maps in x.numpy()]
    assert np.array_equal(median(x, k), np.array(expected))


def test_median_is_the_same_in_pieces(monkeypatch, g):
    x = torch.randn(4, 6, 9, 9, generator=g, requires_grad=True)
    weights = torch.randn(4, 6, 9, 9, generator=g)

    def gradient() -> torch.Tensor:
        return torch.autograd.grad((median(x, 3) * weights).sum(), x)[0]

    whole = gradient()
    monkeypatch.setattr("dfrepro.methods.pel.median.IN_CACHE", 200)
    assert torch.equal(gradient(), whole)


def test_median_of_channels_last_maps_is_the_same(g):
    x = torch.randn(2, 3, 6, 7, generator=g)
    assert torch.equal(median(x.to(memory_format=torch.channels_last), 3), median(x, 3))


@pytest.mark.parametrize("k", [3, 5, 7])
def test_median_of_every_pattern_of_zeros_and_ones_is_their_majority(k, g):
    """The zero-one principle: a network of comparators that is right for these is right for all numbers."""
    n = k * k
    words = torch.arange(2**n) if k == 3 else torch.randint(0, 2**n, (4000,), generator=g)
    bits = (words[:, None] >> torch.arange(n) & 1).float().view(-1, 1, k, k)
    middle = median(bits, k)[:, 0, k // 2, k // 2]
    assert torch.equal(middle, (bits.sum((1, 2, 3)) > n // 2).float())


def test_comparators_of_a_median_are_few():
    operations = [sum(c.low + c.high for c in (*network(k).columns, *network(k).window)) for k in (3, 5, 7)]
    assert operations[0] <= 20
    assert operations[1] <= 198  # both outputs of each of the 99 exchanges of the best network known for 25 values


@pytest.mark.parametrize("name", sorted(set(DENOISERS) - {"nlm3"}))
def test_gradient_is_that_of_finite_differences(name, g):
    x = torch.randperm(49, generator=g).double().view(1, 1, 7, 7).requires_grad_()  # no ties, all gaps 1
    assert torch.autograd.gradcheck(DENOISERS[name], (x,), eps=1e-3)


def test_gradient_of_non_local_means_is_that_at_a_fixed_bandwidth(monkeypatch, g):
    x = torch.randn(1, 1, 6, 6, generator=g, dtype=torch.float64)
    noise = x - mean(x, 3)
    monkeypatch.setattr("dfrepro.methods.pel.denoise.mean", lambda y, k: y - noise)  # σ² stays that of x
    assert torch.autograd.gradcheck(lambda y: non_local_means(y, 3, 5), (x.requires_grad_(),))


def test_ties_share_the_medians_gradient_equally():
    x = torch.tensor([[0.0, 1, 1], [2, 1, 0], [0, 3, 4]]).view(1, 1, 3, 3).requires_grad_()
    (gradient,) = torch.autograd.grad(median(x, 3)[0, 0, 1, 1], x)
    torch.testing.assert_close(gradient[0, 0], torch.tensor([[0, 1, 1], [0, 1, 0], [0, 0, 0]]) / 3)


def test_every_medians_gradient_sums_to_one(g):
    x = torch.randn(2, 3, 8, 8, generator=g).relu().requires_grad_()  # half of it ties at zero
    (gradient,) = torch.autograd.grad(median(x, 3).sum(), x)
    torch.testing.assert_close(gradient.sum(), torch.tensor(float(x.numel())))


def test_mean_is_the_mean_of_reflected_windows(g):
    x = torch.randn(1, 1, 5, 6, generator=g)
    padded = np.pad(x[0, 0].numpy(), 1, mode="reflect")
    expected = [[padded[i : i + 3, j : j + 3].mean() for j in range(6)] for i in range(5)]
    np.testing.assert_allclose(mean(x, 3)[0, 0], expected, rtol=1e-5)


@pytest.mark.parametrize(("patch", "search"), [(3, 5), (5, 3)])
def test_non_local_means_is_brute_force(patch, search, g):
    x = torch.randn(1, 1, 6, 7, generator=g, dtype=torch.float64)
    around, reach = patch // 2, search // 2
    wide = np.pad(x[0, 0].numpy(), around + reach, mode="reflect")
    h2 = 2 * ((x - mean(x, patch)) ** 2).mean().item()
    found = non_local_means(x, patch, search)[0, 0]

    def patch_at(i: int, j: int) -> np.ndarray:
        return wide[reach + i : reach + i + patch, reach + j : reach + j + patch]

    for i, j in product(range(6), range(7)):
        weights, values = [], []
        for di, dj in product(range(-reach, reach + 1), repeat=2):
            here, there = patch_at(i, j), patch_at(i + di, j + dj)
            weights.append(np.exp(-np.mean((here - there) ** 2) / h2))
            values.append(there[around, around])
        np.testing.assert_allclose(found[i, j], np.average(values, weights=weights))


def test_non_local_means_of_a_flat_map_is_that_map():
    x = torch.full((1, 1, 6, 6), 3.0, requires_grad=True)
    out = non_local_means(x, 3, 5)
    out.sum().backward()
    torch.testing.assert_close(out.detach(), x.detach())
    assert x.grad.isfinite().all()


def test_maps_that_cannot_be_reflected_are_refused():
    with pytest.raises(WorkbookError, match="reflected by 3 px"):
        median(torch.zeros(1, 1, 3, 3), 7)


# --- Eq. 2 to 6 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", [(3,), (3, 5, 7)])
def test_noise_block_is_a_grouped_convolution_of_the_noises_sigmoids(kernels, g):
    block = random_weights(NoiseEnhancement(4, [f"median{k}" for k in kernels]), g)
    f = torch.randn(2, 4, 9, 9, generator=g, dtype=torch.float64)
    filtered = [np.stack([[median_filter(p, size=k, mode="mirror") for p in maps] for maps in f]) for k in kernels]
    noises = torch.stack([torch.sigmoid(f - torch.from_numpy(m)) for m in filtered], 2).flatten(1, 2)  # (2, C k, ...)
    weight = block.weight[:, :, 0, 0].T[..., None, None]  # (C, k, 1, 1)
    expected = f + functional.conv2d(noises, weight, block.bias.flatten(), groups=4)
    torch.testing.assert_close(block(f), expected)


def test_channel_attention_is_eq_4(g):
    block = random_weights(ChannelAttention(32), g)
    f = torch.randn(3, 32, 4, 5, generator=g, dtype=torch.float64)
    pooled = f.flatten(2).sum(2) / 20 + f.flatten(2).max(2).values
    first, last = block.mlp[0], block.mlp[2]
    hidden = (pooled @ first.weight.T + first.bias).clamp_min(0)
    assert hidden.shape == (3, 2)  # C / 16
    weight = 1 / (1 + torch.exp(-(hidden @ last.weight.T + last.bias)))
    expected = f + block.gain.view(1, -1, 1, 1) * f * weight[:, :, None, None]
    torch.testing.assert_close(block(f), expected)


@pytest.mark.parametrize("streams", [1, 2])
def test_mutual_enhancement_is_eq_5_and_6(streams, g):
    block = random_weights(MutualEnhancement(6, streams), g)
    before = [torch.randn(2, 6, 3, 4, generator=g, dtype=torch.float64) for _ in range(streams)]
    joint = torch.einsum("sc,bchw->bshw", block.attention.weight[:, :, 0, 0], torch.cat(before, 1))
    attention = torch.sigmoid(joint + block.attention.bias.view(1, -1, 1, 1))
    for s, (f, out) in enumerate(zip(before, block([*before]))):
        weight, bias = block.weight[s][:, :, :, None], block.bias[s].flatten()  # (C, 1, 1, 1), (C,)
        expected = f + functional.conv2d(f * attention[:, s : s + 1], weight, bias, groups=6)
        torch.testing.assert_close(out, expected)


def test_printed_start_is_eq_4_without_a_gain_and_moves_the_features(g):
    block = ChannelAttention(16, start="printed")
    torch.nn.init.zeros_(block.mlp[2].weight)
    torch.nn.init.zeros_(block.mlp[2].bias)
    f = torch.randn(1, 16, 4, 4, generator=g)
    torch.testing.assert_close(block(f), 1.5 * f)
    assert NoiseEnhancement(4, ["median3"], start="printed").weight.abs().max() > 0


@pytest.mark.parametrize("kernels", [1, 3])
def test_printed_start_draws_as_torch_does_for_the_grouped_convolution(kernels):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block = NoiseEnhancement(2000, ["median3", "median5", "median7"][:kernels], start="printed")
        layer = torch.nn.Conv2d(kernels * 2000, 2000, 1, groups=2000)
    for ours, theirs in ((block.weight, layer.weight), (block.bias, layer.bias)):
        assert ours.numel() == theirs.numel()
        assert ours.abs().max().item() == pytest.approx(theirs.abs().max().item(), rel=0.01)
        assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.05)


# --- composition --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("name", ["full", "median357", "mean3", "nlm3"])
def test_a_new_pel_is_its_two_plain_streams_to_the_last_bit(name, mode):
    images = noise(3, 32)
    outputs = []
    for variant in (name, "two-stream"):
        model = tiny(variant).train(mode == "train")
        torch.manual_seed(0)  # dropout's
        outputs.append(model(images))
    for ours, plain in zip(*outputs):
        assert torch.equal(ours, plain)


def test_streams_are_what_timm_computes(g):
    model = tiny("two-stream").eval()
    images, rgb, freq = noise(2, 32), model.streams["rgb"], model.streams["freq"]
    tops = model.tops(images)
    whole = [s.network.forward_features(s.entry(images.float())) for s in (rgb, freq)]
    assert all(torch.equal(a, b) for a, b in zip(tops, whole))
    joined = torch.cat([s.network.forward_head(f, pre_logits=True) for s, f in zip((rgb, freq), whole)], 1)
    assert torch.equal(model(images).features, joined)


def stages_of(model, kind) -> list[int]:
    return [i for i, e in enumerate(model.enhancements) if any(isinstance(m, kind) for m in e.modules())]


def test_modules_stand_where_the_paper_puts_them():
    full = tiny("full", Backbone("efficientnet_b0", 32))  # seven stages, as B4
    assert stages_of(full, NoiseEnhancement) == [1, 2]
    assert stages_of(full, ChannelAttention) == [2, 3, 4, 5, 6]
    assert stages_of(full, MutualEnhancement) == [2, 3, 4, 5, 6]
    shifted = tiny(Variant(stem_is_block=True))  # a stem and five stages: six blocks
    assert stages_of(shifted, NoiseEnhancement) == [0, 1]
    assert stages_of(shifted, MutualEnhancement) == [1, 2, 3, 4]


# By hand for test_efficientnet: channels after the stages 16, 24, 32, 48, 64; two noise blocks, three of the others
NOISE = 2 * (16 + 24)
ATTENTION = sum(2 * c * max(1, c // 16) + max(1, c // 16) + c + c for c in (24, 32, 48))
MUTUAL = {streams: sum(streams * (streams * c + 1) + 2 * streams * c for c in (24, 32, 48)) for streams in (1, 2)}
ADDED = {
    "rgb": 0,
    "freq": 0,
    "two-stream": 0,
    "rgb-modules": NOISE + ATTENTION + MUTUAL[1],
    "freq-modules": NOISE + ATTENTION + MUTUAL[1],
    "self": 2 * (NOISE + ATTENTION),
    "mutual": MUTUAL[2],
    "full": 2 * (NOISE + ATTENTION) + MUTUAL[2],
}


@pytest.mark.parametrize("row", TABLE_4)
def test_a_row_of_table_4_has_the_parameters_it_should(row):
    import timm

    network = timm.create_model(TINY.name, num_classes=0)
    plain = {"rgb": sum(p.numel() for p in network.parameters())}
    stem = network.conv_stem
    plain["freq"] = plain["rgb"] - stem.weight.numel() + stem.out_channels * 64 * 9 + 64 * (192 + 1)
    model = tiny(row)
    streams = list(model.streams)
    expected = sum(plain[name] for name in streams) + ADDED[row] + len(streams) * network.num_features + 1
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize("name", ["rgb", "rgb-modules", "freq", "freq-modules"])
def test_a_single_stream_has_one_stream(name):
    model = tiny(name).eval()
    assert list(model.streams) == [name.partition("-")[0]]
    assert not any(("freq" if name.startswith("rgb") else "rgb") in key for key in model.state_dict())
    output = model(noise(2, 32))
    assert output.features.shape[1] == model.streams[name.partition("-")[0]].network.num_features


def test_what_variants_share_starts_equal_and_seeds_differ():
    full, mutual, rgb, other = tiny("full"), tiny("mutual"), tiny("rgb"), tiny("rgb", seed=1)
    weights = full.state_dict()
    for model in (mutual, rgb):
        shared = {k: v for k, v in model.state_dict().items() if not k.startswith("classifier")}
        assert all(torch.equal(v, weights[k]) for k, v in shared.items())
    assert not torch.equal(rgb.streams["rgb"].network.conv_stem.weight, other.streams["rgb"].network.conv_stem.weight)
    streams = [full.streams[name].network.blocks[1][0].conv_exp.weight for name in ("rgb", "freq")]
    assert not torch.equal(*streams)  # unshared, and not copies


def test_building_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    tiny("full")
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    "spec",
    [
        Backbone("test_resnet", 32),
        Backbone("test_convnext", 32),
        Backbone("mobilenetv3_small_050", 32),
        Backbone("regnetx_002", 32),
        Backbone("test_byobnet", 32),
    ],
    ids=lambda spec: spec.name,
)
def test_any_staged_cnn_can_be_the_backbone(spec):
    model = tiny("full", spec)
    loss, _ = CrossEntropy()(model, {"image": noise(4, 48), "label": torch.tensor([0, 1, 0, 1])})
    loss.backward()
    affine = [m.weight for m in model.modules() if isinstance(m, NoiseEnhancement | MutualEnhancement)]
    assert affine
    assert all(weight.grad.abs().sum() > 0 for weight in affine)


@pytest.mark.parametrize("size", ["half", "double", "unpadded"])
def test_streams_meet_at_one_size_however_the_frequency_input_is_sized(size):
    output = tiny(Variant(size=size)).eval()(noise(2, 32))
    assert output.logits.isfinite().all()


def test_a_network_of_a_single_stage_has_that_one():
    network = torch.nn.Sequential()
    network.conv_stem = torch.nn.Conv2d(3, 4, 3)
    network.blocks = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3)))
    assert anatomy(network) == (("conv_stem",), ("blocks.0",), ())


def test_a_network_without_stages_is_refused():
    with pytest.raises(WorkbookError, match="stages"):
        tiny("full", Backbone("test_vit", 160))


def test_a_variant_that_cannot_be_is_refused():
    for wrong in ({"streams": ()}, {"streams": ("rgb", "rgb")}, {"denoisers": ("median4",)}, {"start": "zero"}):
        with pytest.raises(WorkbookError, match="PEL"):
            Variant(**wrong)
    assert Variant(**{"streams": ["freq"]}).streams == ("freq",)  # as YAML has it


def test_loss_is_binary_cross_entropy_of_one_logit(g):
    model, labels = tiny("full").eval(), torch.tensor([0, 1, 1])
    loss, _ = CrossEntropy()(model, {"image": noise(3, 32), "label": labels})
    z = model(noise(3, 32)).logits[:, 1]
    torch.testing.assert_close(loss, functional.binary_cross_entropy_with_logits(z, labels.float()))
    torch.testing.assert_close(model(noise(3, 32)).margins, z)


def test_training_moves_every_part_of_pel():
    torch.manual_seed(0)  # dropout's: after some draws the one hidden unit of an MLP is off, and stands still
    model = tiny("full").train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    before = copy.deepcopy(model.state_dict())
    for _ in range(2):  # the MLP's gradient is zero while the gain is
        optimiser.zero_grad()
        CrossEntropy()(model, {"image": noise(4, 32), "label": torch.tensor([0, 1, 0, 1])})[0].backward()
        optimiser.step()
    assert [k for k, _ in model.named_parameters() if torch.equal(before[k], model.state_dict()[k])] == []


@pytest.mark.parametrize("name", [name for name in VARIANTS if name.endswith("-printed")])
def test_a_printed_variant_differs_from_its_namesake_in_its_start_alone(name):
    printed, ours = VARIANTS[name], VARIANTS[name.removesuffix("-printed")]
    assert (printed.start, ours.start) == ("printed", "identity")
    assert dataclasses.replace(printed, start="identity") == ours
    model = tiny(name)
    assert not any("gain" in key for key in model.state_dict())  # Eq. 4 has none
    plain = tiny(ours).state_dict()
    assert all(torch.equal(v, plain[k]) for k, v in model.state_dict().items() if not k.startswith("enhancements"))


def test_every_ablation_of_tables_4_and_5_has_a_printed_start_where_it_has_modules():
    plain = {"rgb", "freq", "two-stream"}
    assert {f"{name}-printed" for name in {*TABLE_4, *TABLE_5} - plain} <= set(VARIANTS)
    assert not plain & {name.removesuffix("-printed") for name in VARIANTS if name.endswith("-printed")}


def test_noise_and_frequencies_are_float32_under_bfloat16():
    """In bfloat16, the noise of features around 100 would be rounded to halves."""
    block, f = NoiseEnhancement(4, ["median3"], start="printed"), 100 + torch.randn(2, 4, 8, 8)
    entry, images = FrequencyInput(), noise(1, 16)
    entry.standardise(UNIT)
    expected = block(f), entry(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(block(f), expected[0])
        assert torch.equal(entry(images), expected[1])


def test_the_frequency_input_is_computed_without_tf32_and_leaves_the_setting_as_it_was(monkeypatch):
    entry, seen, convolve = FrequencyInput(), [], functional.conv2d
    entry.standardise(UNIT)

    def watched(*args, **options):
        seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
        return convolve(*args, **options)

    monkeypatch.setattr(functional, "conv2d", watched)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    entry(noise(1, 16))
    entry.coefficients(noise(1, 16))
    assert seen == [(False, False)] * 2
    assert torch.backends.cudnn.allow_tf32


# --- figures ------------------------------------------------------------------------------------------------------


def moved(variant: Variant | str, g: torch.Generator):
    """A PEL in evaluation mode whose modules add something."""
    model = tiny(variant)
    with torch.no_grad():
        for parameter in model.enhancements.parameters():
            parameter.normal_(generator=g)
    return model.eval()


def test_changes_are_what_the_modules_make_of_their_inputs(g):
    model, images = moved("full", g), noise(2, 32)
    found = changes(model, images)
    streams = [model.streams[name] for name in ("rgb", "freq")]
    features = [s.stage(0, s.stem(images.float())) for s in streams]
    for name, e, f in zip(("rgb", "freq"), model.enhancements[1].own, features):
        torch.testing.assert_close(found["self", name].added, e(f) - f)
        torch.testing.assert_close(found["self", name].before, f)
    features = model.enhancements[1](features)
    for i in (2, 3):
        features = model.enhancements[i]([s.stage(i - 1, f) for s, f in zip(streams, features)])
    last = [own(s.stage(3, f)) for own, s, f in zip(model.enhancements[4].own, streams, features)]
    for name, before, after in zip(("rgb", "freq"), last, model.enhancements[4].mutual(last)):
        torch.testing.assert_close(found["mutual", name].added, after - before)


def test_changes_of_absent_modules_are_absent_and_nothing_stays_attached():
    model = tiny("two-stream")
    assert changes(model, noise(1, 32)) == {}
    assert shares(model, noise(1, 32)) == {}
    assert list(changes(tiny("rgb-modules"), noise(1, 32))) == [("self", "rgb"), ("mutual", "rgb")]
    assert list(changes(tiny("mutual"), noise(1, 32))) == [("mutual", "rgb"), ("mutual", "freq")]
    assert model.training
    assert not any(m._forward_hooks for m in model.modules())


def test_the_share_of_a_module_is_the_deviation_it_adds_over_the_deviation_that_came_in(g):
    model, images = moved(Variant(("rgb",), denoisers=(), mutual=False), g), noise(3, 32)
    stream = model.streams["rgb"]
    f, expected = model.enhancements[0]([stream.stem(images.float())]), []
    for i, enhance in enumerate(model.enhancements[1:]):
        before = stream.stage(i, f[0])
        f = enhance([before])
        if not isinstance(enhance.own[0], torch.nn.Identity):
            deviations = [x.flatten(2).var(2, correction=0).mean(1).sqrt() for x in (f[0] - before, before)]
            expected.append(deviations[0] / deviations[1])
    assert len(expected) == 3
    torch.testing.assert_close(shares(model, images), {"attention": torch.stack(expected).mean(0)})


def test_modules_do_nothing_at_a_start_of_zero_and_something_as_printed():
    assert all(value.max() == 0 for value in shares(tiny("full"), noise(2, 32)).values())
    printed = shares(tiny("full-printed"), noise(2, 32))
    assert set(printed) == {"noise", "attention", "mutual"}
    assert all(value.min() > 0.01 for value in printed.values())


def test_centred_energy_ignores_what_is_added_everywhere():
    residual = torch.full((1, 3, 8, 8), 2.0)
    assert torch.equal(energy(residual, 16), torch.full((1, 16, 16), 4.0))
    assert energy(residual, 16, centred=True).abs().max() == 0
    residual[0, :, 2:4, 2:4] += 1
    where = energy(residual, 8, centred=True)[0]
    assert where[2:4, 2:4].sum() > where.sum() / 2


def test_each_stream_has_a_grad_cam_of_its_own():
    model, images = tiny("full"), noise(2, 32)
    cams = [grad_cam(StreamView(model, name), images) for name in ("rgb", "freq")]
    assert all(cam.shape == (2, 32, 32) for cam in cams)
    assert all(not torch.equal(a, b) for a, b in pairwise(cams))
    assert torch.equal(StreamView(model, "freq").eval()(images).logits, model.eval()(images).logits)
    with pytest.raises(WorkbookError, match="no stream"):
        StreamView(tiny("rgb"), "freq")
