"""FPG's refinement: against the equations written out, finite differences, and the grad-cam library."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torch.nn import functional

from dfrepro.errors import WorkbookError
from dfrepro.forge import masks
from dfrepro.forge.sbi import SelfBlend
from dfrepro.methods.fpg.detector import FPG, VARIANTS, build
from dfrepro.methods.fpg.fakes import Draws, Fakes, Kernels, estimated_source, pair_up, soften
from dfrepro.methods.fpg.quality import LaplacianQuality
from dfrepro.methods.fpg.refine import (
    ORDERS,
    Refinement,
    evaluating,
    grad_cam,
    look,
    mask_gradient,
    perceived,
    perturbed,
    pixel_slopes,
    signs_of,
)
from dfrepro.nets.detector import Backbone, Output, build_detector
from dfrepro.train.steps import Step, StepRule

CONVNEXT = Backbone("convnext_atto", 32, {"depths": (1, 1, 1, 1), "dims": (8, 12, 16, 24)})
SIZE = 32


pytestmark = pytest.mark.usefixtures("one_thread")


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def detector():
    return build(FPG(quality_width=16, attention_width=8), CONVNEXT, seed=0)


@pytest.fixture
def batch():
    """Four pairs, fakes and reals in turn, with a residual of up to 6 levels such as JPEG leaves."""
    generator = draw(1)
    real, source = (40 + 170 * torch.rand(4, 3, SIZE, SIZE, generator=generator) for _ in range(2))
    mask = functional.interpolate(torch.rand(4, 1, 5, 5, generator=generator), (SIZE, SIZE), mode="bilinear")
    mask = (mask - 0.4).clamp_min(0)  # (4, 1, S, S), soft, with an outside
    fake = mask * source + (1 - mask) * real + 12 * torch.rand(real.shape, generator=generator) - 6
    both = lambda one, other: torch.stack([one, other], 1).flatten(0, 1)  # noqa: E731
    return {
        "image": both(real, fake),
        "source": both(source, source),
        "mask": both(torch.zeros_like(mask), mask)[:, 0],
        "label": torch.tensor([0, 1] * 4),
        "draw": torch.arange(4).repeat_interleave(2),
    }


def fakes_of(batch) -> Fakes:
    return Fakes.of(batch, pair_up(batch))


class Told(nn.Module):
    """A detector that is told where it looks and how sure it is: Grad-CAM is `map` (h, w), up to a factor."""

    def __init__(self, where: torch.Tensor, p_fake: float):
        super().__init__()
        self.where, self.logit = where, float(np.log(p_fake / (1 - p_fake)))
        self.weight = nn.Parameter(torch.tensor(1e-3))

    def forward(self, images):
        maps = self.where + 0 * images.mean() + torch.zeros(len(images), 1, 1, 1) * self.weight
        fake = self.logit + self.weight * (maps - maps.detach()).mean((1, 2, 3))
        return Output(torch.stack([0 * fake, fake], 1), maps.flatten(1), maps)


def corner(size: int = 8) -> torch.Tensor:
    """Looks at the upper left quarter, and a little at the rest."""
    where = torch.full((size, size), 0.01)
    where[: size // 2, : size // 2] = 1
    return where


def square(n: int, rows: slice, columns: slice, size: int = 64) -> dict[str, torch.Tensor]:
    """`n` pairs whose mask is .8 within a rectangle."""
    mask = torch.zeros(2 * n, size, size)
    mask[1::2, rows, columns] = 0.8
    images = 255 * torch.rand(2 * n, 3, size, size, generator=draw(2))
    return {"image": images, "source": images.flip(0), "mask": mask, "label": torch.tensor([0, 1] * n)}


# --- magnitude ----------------------------------------------------------------------------------------------------


def test_the_mask_gradient_equals_finite_differences(detector, batch):
    detector = detector.eval().double()
    fakes = fakes_of(batch)
    fakes = replace(fakes, **{name: getattr(fakes, name).double() for name in ("image", "real", "source", "mask")})
    gradient = mask_gradient(pixel_slopes(detector, fakes, None), fakes).sum(1)  # (b, S, S)

    def cross_entropy(mask):
        d = fakes.image - fakes.mask[:, None] * fakes.source - (1 - fakes.mask[:, None]) * fakes.real
        image = mask[:, None] * fakes.source + (1 - mask[:, None]) * fakes.real + d
        return -detector(image).logits.log_softmax(1)[:, 1]

    for i, y, x in (fakes.mask > 0).nonzero()[::150].tolist():
        values = []
        for move in (1e-4, -1e-4):
            mask = fakes.mask.clone()
            mask[i, y, x] += move
            values.append(cross_entropy(mask)[i].item())
        assert gradient[i, y, x].item() == pytest.approx((values[0] - values[1]) / 2e-4, rel=1e-3, abs=1e-9)


def test_unified_is_one_sign_a_sample_and_the_majority_of_pixels_and_channels():
    gradient = torch.randn(6, 3, 5, 5, generator=draw())
    gradient[gradient.abs() < 0.3] = 0  # such as there are outside the mask: they do not vote
    gradient[4], gradient[5] = 0, torch.tensor([1.0, -1.0, 0.0]).view(3, 1, 1)  # two ties
    signs = signs_of(gradient, unified=True)
    assert signs.shape == (6, 1, 1)
    for sign, values in zip(signs.flatten().tolist(), gradient.flatten(1).tolist()):
        up, down = sum(value > 0 for value in values), sum(value < 0 for value in values)
        assert sign == (1 if up > down else -1)
    assert signs[4:].flatten().tolist() == [-1, -1]


def test_pixels_outside_the_mask_do_not_vote(batch):
    fakes = fakes_of(batch)
    outside = (fakes.mask == 0)[:, None].expand_as(fakes.image)
    gradient = mask_gradient(torch.ones_like(fakes.image), fakes)
    assert outside.any()
    assert (gradient[outside] == 0).all()
    torch.testing.assert_close(gradient[~outside], (fakes.source - fakes.real)[~outside])


def test_discrete_is_the_sign_of_each_pixels_own_derivative():
    gradient = torch.randn(2, 3, 4, 4, generator=draw())
    gradient[0, :, 0, 0] = torch.tensor([5.0, -1.0, -1.0])  # most channels fall, their sum rises
    gradient[0, :, 0, 1] = 0
    signs = signs_of(gradient, unified=False)
    assert signs.shape == (2, 4, 4)
    for i, y, x in np.ndindex(2, 4, 4):
        assert signs[i, y, x] == (1 if sum(gradient[i, :, y, x].tolist()) > 0 else -1)
    assert signs[0, 0, 0] == 1
    assert signs[0, 0, 1] == -1


@pytest.mark.parametrize(("perturbation", "per_pixel"), [("unified", False), ("discrete", True), ("random", False)])
def test_the_refined_fake_is_blended_by_the_perturbed_mask_and_keeps_its_residual(
    detector, batch, perturbation, per_pixel
):
    refine = Refinement("M", perturbation, eps=0.2, probability=1.0)
    refined = refine(detector, batch, draw())
    moved = False
    for i in range(1, 8, 2):
        s, r, m, image = batch["source"][i], batch["image"][i - 1], batch["mask"][i], batch["image"][i]
        d = image - m * s - (1 - m) * r
        factor = refined["mask"][i][m > 0] / m[m > 0]
        free = refined["mask"][i][m > 0] < 1
        assert torch.isclose((factor[free] - 1).abs(), torch.tensor(0.2), atol=1e-5).all()
        one_sign = len(factor[free].sub(1).sign().unique()) == 1
        moved |= not one_sign
        assert one_sign or per_pixel
        new = refined["mask"][i]
        torch.testing.assert_close(refined["image"][i], (new * s + (1 - new) * r + d).clamp(0, 255), atol=1e-3, rtol=0)
    assert moved == per_pixel
    assert torch.equal(refined["image"][0::2], batch["image"][0::2])


def test_discrete_perturbation_raises_the_cross_entropy(detector, batch):
    detector.eval()
    refined = Refinement("M", "discrete", probability=1.0)(detector, batch, draw())
    before, after = (-detector(b["image"][1::2]).logits.log_softmax(1)[:, 1] for b in (batch, refined))
    assert (after > before).all()


@pytest.mark.parametrize("perturbation", ["unified", "discrete", "random"])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("with_source", [True, False])
def test_refining_with_eps_zero_returns_the_very_same_image(detector, batch, order, perturbation, with_source):
    if not with_source:
        del batch["source"]
    refined = Refinement(order, perturbation, overlap=0.0, eps=0.0, probability=1.0)(detector, batch, draw())
    assert torch.equal(refined["image"], batch["image"])
    assert torch.equal(refined["mask"], batch["mask"])


def test_the_mask_stays_between_zero_and_one(batch):
    fakes = fakes_of(batch)
    fakes = replace(fakes, mask=fakes.mask.mul(2).clamp(0, 1))
    grown = perturbed(fakes, torch.ones(4, 1, 1), 0.5)
    assert grown.mask.max() == 1
    assert torch.equal(grown.mask, (fakes.mask * 1.5).clamp_max(1))
    assert grown.image.min() >= 0
    assert grown.image.max() <= 255


def test_magnitude_is_applied_to_a_whole_batch_or_not_at_all_half_of_the_time(detector, batch):
    refine = Refinement("M", "random", eps=0.1)
    changed = []
    for seed in range(120):
        refined = refine(detector, batch, draw(seed))
        moved = [not torch.equal(refined["image"][i], batch["image"][i]) for i in range(1, 8, 2)]
        assert len(set(moved)) == 1
        changed.append(moved[0])
    assert 0.35 < np.mean(changed) < 0.65
    assert torch.equal(Refinement("M", probability=0.0)(detector, batch, draw())["image"], batch["image"])


def test_random_signs_ask_nothing_of_the_network(batch):
    network = Told(corner(), 0.9)
    network.forward = None
    signs = []
    for seed in range(40):
        refined = Refinement("M", "random", eps=0.1, probability=1.0)(network, batch, draw(seed))
        signs += [bool((refined["mask"][i] > batch["mask"][i]).any()) for i in range(1, 8, 2)]
    assert 0.35 < np.mean(signs) < 0.65


# --- shape --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("positions", "stage", "side"), [(1, 3, 4), (4, 3, 4), (5, 1, 8), (99, 3, 4)])
def test_grad_cam_equals_the_librarys_on_the_same_layer(positions, stage, side):
    spec = Backbone("convnext_atto", 64, {**CONVNEXT.kwargs, "output_stride": 16})  # stages of 16, 8, 4, 4 positions
    detector = build(FPG(quality_width=16, attention_width=8), spec, seed=3).eval()
    images = 255 * torch.rand(4, 3, 64, 64, generator=draw(4))

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.detector = detector

        def forward(self, x):
            return self.detector(x).logits

    with GradCAM(model=Logits(), target_layers=[detector.backbone.stages[stage]]) as library:
        theirs = library(images, [ClassifierOutputTarget(1)] * 4)  # (4, 64, 64), each within [0, 1]
    ours = grad_cam(look(detector, images, pixels=False, positions=positions))
    assert ours.shape == (4, side, side)
    assert (ours.amax((1, 2)) > 0).sum() >= 2
    for a, b in zip(ours, theirs):
        a = (a - a.min()) / (1e-7 + (a - a.min()).max())  # what the library does to its map, twice
        a = functional.interpolate(a[None, None], (64, 64), mode="bilinear")[0, 0]
        a = (a - a.min()) / (1e-7 + (a - a.min()).max())
        assert np.abs(a.numpy() - b).max() < 1e-3
    assert not any(module._forward_hooks for module in detector.modules())


def test_grad_cam_is_the_same_whether_or_not_the_graph_reaches_the_pixels(detector, batch):
    detector.eval()
    short, deep = (grad_cam(look(detector, batch["image"], pixels)) for pixels in (False, True))
    assert torch.equal(short, deep)


def test_grad_cam_reads_a_channels_last_network_as_the_library_does():
    spec = Backbone("swin_tiny_patch4_window7_224", 32, {"img_size": 32, "depths": (1, 1, 1, 1), "embed_dim": 12})
    detector = build_detector(spec, seed=0).eval()
    images = 255 * torch.rand(3, 3, 32, 32, generator=draw(4))
    logits, _, maps = detector(images)
    (slopes,) = torch.autograd.grad(logits[:, 1].sum(), maps)
    expected = torch.einsum("bc,bhwc->bhw", slopes.mean((1, 2)), maps).clamp_min(0)
    torch.testing.assert_close(grad_cam(look(detector, images, pixels=False)), expected)


def test_the_perceived_region_exceeds_the_mean_of_the_positive_values():
    cam = torch.rand(3, 4, 4, generator=draw()).sub(0.5).clamp_min(0)
    cam[2] = 0
    region = perceived(cam, 16)
    for values, where in zip(cam, region):
        large = functional.interpolate(values[None, None], (16, 16), mode="bilinear")[0, 0]
        expected = large > large[large > 0].mean() if (large > 0).any() else torch.zeros(16, 16, dtype=bool)
        assert torch.equal(where, expected)
    assert not region[2].any()


def scattered() -> np.ndarray:
    """Six regions (64, 64) with holes and specks, the last cut by the border."""
    rng = np.random.default_rng(0)
    inside = np.zeros((6, 64, 64), bool)
    for picture in inside:
        x0, y0 = rng.integers(0, 20, 2)
        picture[y0 : y0 + 40, x0 : x0 + 35] = True
        picture[rng.integers(0, 64, 12), rng.integers(0, 64, 12)] ^= True
    inside[5] = cv2.circle(np.zeros((64, 64), np.uint8), (0, 20), 24, 1, -1) > 0
    return inside


def test_erosion_and_softening_in_batch_equal_opencvs_one_by_one():
    inside, kernels = scattered(), Draws.of(draw(3), 6, 0.5).kernels
    soft, filled = soften(torch.from_numpy(inside), kernels)
    for i, (rows, columns, first, second, sigma) in enumerate(zip(*(draws.tolist() for draws in kernels))):
        wide, high = 64 / columns, 64 / rows
        window = np.ones((masks.odd(first * high), masks.odd(first * wide)), np.uint8)
        core = cv2.erode(inside[i].astype(np.uint8), window, borderType=cv2.BORDER_REPLICATE).astype(np.float32)
        size = masks.odd(second * wide), masks.odd(second * high)
        blurred = cv2.GaussianBlur(core, size, sigma * wide, sigmaY=sigma * high, borderType=cv2.BORDER_REPLICATE)
        assert filled[i]
        np.testing.assert_allclose(soft[i], blurred / blurred.max(), atol=2e-5)


def published(inside: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The public code's mask after the shape refinement, step by step as it describes it, in float32.

    Its own erosion passes a width to OpenCV where a window belongs: whatever the width, that is two pixels in height.
    """
    mask = cv2.erode(inside.astype(np.float32), np.ones((2, 1), np.uint8))
    mask = cv2.resize(mask, tuple(int(side) for side in rng.integers(192, 257, 2)))
    k1, k2 = (int(kernel) for kernel in rng.choice([17, 19, 21, 23, 25], 2))
    core = cv2.GaussianBlur(mask, (k1, k1), 0)
    core = np.where(core / core.max() > 1 - 1e-5, np.float32(1), np.float32(0))
    mask = cv2.GaussianBlur(core, (k2, k2), float(rng.integers(15, 46)))
    return cv2.resize(mask / mask.max(), inside.shape[::-1])


@pytest.mark.parametrize("side", [190, 380])
def test_refined_masks_are_distributed_as_the_public_codes(side):
    """Area, and area of the core (M > .9), relative to the region, over many draws: a face's hull without a corner."""
    face = cv2.ellipse(np.zeros((380, 380), np.float32), (190, 200), (105, 140), 0, 0, 360, 1, -1)
    face[60:150, 90:170] = 0  # what the detector perceives
    region = cv2.resize(face, (side, side), interpolation=cv2.INTER_NEAREST) > 0
    ours = soften(torch.from_numpy(np.repeat(region[None], 150, 0)), Draws.of(draw(), 150, 0.5).kernels)[0].numpy()
    rng = np.random.default_rng(0)
    theirs = np.stack([published(face > 0, rng) for _ in range(150)])
    statistics = lambda m, area: (m.sum((1, 2)).mean() / area, (m > 0.9).sum((1, 2)).mean() / area)  # noqa: E731
    np.testing.assert_allclose(statistics(ours, region.sum()), statistics(theirs, face.sum()), atol=0.02)


def test_the_kernels_drawn_are_the_public_codes():
    """Windows of 17 to 25, sigmas of 15 to 45, and a raster whose height knows nothing of its width."""
    draws = Draws.of(draw(), 4000, 0.5)
    kernels = draws.kernels
    for sides in (kernels.rows, kernels.columns):
        assert (int(sides.min()), int(sides.max())) == (192, 256)
    assert abs(np.corrcoef(kernels.rows, kernels.columns)[0, 1]) < 0.05
    assert (int(kernels.sigma.min()), int(kernels.sigma.max())) == (15, 45)
    for widths in (kernels.first, kernels.second):
        assert sorted(set(widths.int().tolist())) == [17, 19, 21, 23, 25]
    assert set(draws.signs.tolist()) == {-1.0, 1.0}


def test_the_perceived_part_of_a_fake_becomes_real_again():
    batch = square(3, slice(26, 60), slice(20, 60))  # a small part of it lies in the upper left quarter
    refined = Refinement("S")(Told(corner(), 0.999999), batch, draw(7))
    kernels = Draws.of(draw(7), 3, 0.5).kernels
    support = batch["mask"][1] > 0
    region = perceived(corner()[None], 64)[0]
    assert 0 < (region & support).sum() / support.sum() < 0.2
    for j, i in enumerate((1, 3, 5)):
        assert refined["refined"][i] == 1
        at = Kernels(*(draws[j : j + 1] for draws in kernels))
        m = soften((support & ~region)[None], at)[0][0]
        real, fake = batch["image"][i - 1], batch["image"][i]
        torch.testing.assert_close(refined["image"][i], (1 - m) * real + m * fake, atol=1e-3, rtol=0)
        torch.testing.assert_close(refined["mask"][i], m)
        assert torch.equal(refined["image"][i][:, m == 0], real[:, m == 0])
        assert (region & support & (m == 0)).any()
    assert torch.equal(refined["image"][0::2], batch["image"][0::2])
    assert refined["emptied"].sum() == 0


@pytest.mark.parametrize(
    ("p_fake", "rows"),
    [(0.45, slice(26, 60)), (0.5, slice(26, 60)), (0.999999, slice(0, 40))],
    ids=["unsure", "undecided", "perceives enough"],
)
def test_a_fake_is_left_alone_when_the_detector_is_unsure_or_perceives_enough(p_fake, rows):
    batch = square(3, rows, slice(20, 60))
    refined = Refinement("S")(Told(corner(), p_fake), batch, draw())
    assert torch.equal(refined["image"], batch["image"])
    assert torch.equal(refined["mask"], batch["mask"])
    assert refined["refined"].sum() == 0


def test_a_fake_whose_perceived_share_is_the_threshold_is_left_alone():
    batch = square(3, slice(8, 44), slice(20, 60))
    region, support = perceived(corner()[None], 64)[0], batch["mask"][1] > 0
    covered = float((region & support).sum() / support.sum())
    assert 0 < covered < 1
    for overlap, some in ((covered, False), (covered + 1e-3, True)):
        refined = Refinement("S", overlap=overlap)(Told(corner(), 0.999999), batch, draw())
        assert bool(refined["refined"].any()) == some


def test_a_due_fake_is_refined_with_the_probability_that_it_is_fake():
    batch = square(600, slice(8, 16), slice(8, 16), size=16)
    refined = Refinement("S")(Told(corner(), 0.7), batch, draw())
    assert refined["refined"][1::2].mean().item() == pytest.approx(0.7, abs=0.06)
    assert refined["refined"][0::2].sum() == 0


def test_a_mask_that_erosion_empties_is_skipped_and_counted(detector):
    batch = square(3, slice(40, 41), slice(20, 60))  # a line: no window of 3 fits
    batch["mask"][5, 30:60, 30:60] = 0.8
    at = {seed: Draws.of(draw(seed), 3, 0.5).kernels for seed in range(50)}
    seed = next(seed for seed, kernels in at.items() if (kernels.first >= 11).all())
    refined = Refinement("S")(Told(corner(), 0.999999), batch, draw(seed))
    assert refined["emptied"].tolist() == [0, 1, 0, 1, 0, 0]
    assert refined["refined"].tolist() == [0, 0, 0, 0, 0, 1]
    assert torch.equal(refined["image"][:5], batch["image"][:5])
    assert torch.equal(refined["mask"][:5], batch["mask"][:5])
    assert refined["image"].isfinite().all()
    _, parts = FPG().loss(LaplacianQuality(5, 12))(detector, refined)
    assert parts["emptied"].item() == pytest.approx(2 / 3)


def test_a_mask_that_erosion_would_empty_does_not_count_where_no_refinement_is_due():
    batch = square(3, slice(40, 41), slice(20, 21))  # one pixel
    results = [Refinement("S")(Told(corner(), p_fake), batch, draw(3))["emptied"].sum() for p_fake in (0.999999, 0.45)]
    assert results == [3, 0]


def test_a_fake_without_any_mask_is_harmless(detector, batch):
    batch["mask"][:] = 0
    refined = Refinement(probability=1.0)(detector, batch, draw())
    assert torch.equal(refined["image"], batch["image"])


# --- order, and what is reused ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stale", [[0, 0, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1]])
def test_magnitude_behind_shape_sees_what_a_fresh_look_at_every_fake_would_see(detector, batch, stale):
    detector.eval()
    fakes = fakes_of(batch)
    seen = look(detector, fakes.image, pixels=True)
    grad_cam(seen)
    refined = torch.tensor(stale, dtype=torch.bool)
    image = torch.where(refined[:, None, None, None], fakes.real, fakes.image)
    changed = replace(fakes, image=image, refined=refined)
    fresh = pixel_slopes(detector, changed, None)
    assert fresh.abs().max() > 1e-6
    torch.testing.assert_close(pixel_slopes(detector, changed, seen), fresh, rtol=1e-4, atol=1e-9)


def test_each_order_runs_its_refinements_in_its_sequence(detector, batch):
    always = {"overlap": 2.0, "probability": 1.0, "eps": 0.3}
    with torch.no_grad():
        detector.backbone.get_classifier().bias[1] += 20  # sure of every fake
    run = lambda order, b: Refinement(order, **always)(detector, b, draw(5))  # noqa: E731
    alone = {order: run(order, batch)["image"] for order in ("S", "M")}
    chained = {"S->M": run("M", run("S", batch))["image"], "M->S": run("S", run("M", batch))["image"]}
    for order, expected in chained.items():
        result = run(order, batch)
        torch.testing.assert_close(result["image"], expected, atol=1e-3, rtol=0)
        assert result["refined"][1::2].all()
    assert not torch.allclose(chained["S->M"], chained["M->S"], atol=0.1)
    assert not torch.allclose(alone["S"], alone["M"], atol=0.1)


def test_all_variants_draw_alike(detector, batch):
    states = []
    for order in ORDERS:
        for perturbation in ("unified", "discrete", "random"):
            generator = draw(11)
            Refinement(order, perturbation)(detector, batch, generator)
            states.append(generator.get_state())
    assert all(torch.equal(state, states[0]) for state in states)


# --- what is left as it was ---------------------------------------------------------------------------------------


def test_the_network_the_batch_and_torchs_generator_are_left_as_they_were(detector, batch):
    detector.train()
    detector.branch.separable[2].eval()  # frozen by its owner
    modes = [module.training for module in detector.modules()]
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    inputs = {name: value.clone() for name, value in batch.items()}
    state = torch.get_rng_state()
    refined = Refinement(overlap=2.0, probability=1.0)(detector, batch, draw())
    assert [module.training for module in detector.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())
    assert all(parameter.grad is None for parameter in detector.parameters())
    assert all(torch.equal(value, inputs[name]) for name, value in batch.items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(value.requires_grad for value in refined.values())


def test_the_mode_is_restored_after_an_error_too(detector, batch):
    detector.train()
    detector.branch.separable[2].eval()
    modes = [module.training for module in detector.modules()]
    seen = []

    def fail(*_):
        seen.append(detector.training)
        raise RuntimeError("out of memory")

    handle = detector.backbone.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        detector.backbone.forward_features = fail
        Refinement()(detector, batch, draw())
    handle.remove()
    assert seen == [False]
    assert [module.training for module in detector.modules()] == modes


def test_evaluation_mode_is_what_the_network_is_looked_at_in(detector, batch):
    detector.train()
    detector.dropout.p = 0.9
    with evaluating(detector) as network:
        first, second = (network(batch["image"]).logits for _ in range(2))
    assert torch.equal(first, second)
    assert detector.training


# --- batches ------------------------------------------------------------------------------------------------------


def test_masks_of_eight_bits_and_an_opacity_are_read_and_given_back_in_one(detector, batch):
    wide = {**batch, "mask": (batch["mask"] * 255).round().byte(), "ratio": torch.full((8,), 0.5)}
    refined = Refinement(overlap=0.0, probability=0.0)(detector, wide, draw())
    torch.testing.assert_close(refined["mask"], 0.5 * wide["mask"].float() / 255)
    assert torch.equal(refined["ratio"], torch.ones(8))
    again = Refinement(overlap=0.0, probability=0.0)(detector, refined, draw())
    assert torch.equal(again["mask"], refined["mask"])


def test_pairs_may_stand_in_any_order_of_their_classes(detector, batch):
    order = torch.tensor([0, 2, 1, 3, 4, 6, 7, 5])
    order[5], order[6], order[7] = 6, 5, 7  # all reals before their fakes or between them
    shuffled = {name: value[order] for name, value in batch.items()}
    refine = Refinement("S->M", overlap=2.0, probability=1.0)
    torch.testing.assert_close(
        refine(detector, shuffled, draw())["image"], refine(detector, batch, draw())["image"][order]
    )


def test_a_batch_that_holds_no_pairs_is_refused(detector, batch):
    with pytest.raises(WorkbookError, match="3 reals and 5 fakes"):
        Refinement()(detector, {**batch, "label": torch.tensor([0, 1, 1, 1, 0, 1, 0, 1])}, draw())
    with pytest.raises(WorkbookError, match="are no pairs"):
        Refinement()(detector, {**batch, "draw": torch.tensor([0, 1, 0, 1, 2, 2, 3, 3])}, draw())


@pytest.mark.parametrize("wrong", [{"order": "SM"}, {"perturbation": "none"}, {"eps": -1.0}, {"probability": 1.5}])
def test_a_setting_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(WorkbookError, match="FPG's refinement"):
        FPG(**wrong).refinement()


def test_the_variants_of_the_tables_differ_as_their_names_say():
    refinements = {name: variant.refinement() for name, variant in VARIANTS.items()}
    assert refinements["fpg-baseline"] is None
    full = refinements["fpg-full"]
    assert (full.order, full.perturbation, full.overlap, full.eps, full.probability) == (
        "S->M",
        "unified",
        0.2,
        0.01,
        0.5,
    )
    assert refinements["fpg-ms"] == replace(full, order="M->S")
    assert refinements["fpg-discrete"] == replace(full, perturbation="discrete")
    assert refinements["fpg-random-sign"] == replace(full, perturbation="random")


def test_a_source_worked_out_of_the_fake_blends_to_the_same_fake():
    """Down to an opacity of a tenth. Outside the mask it is the real, whatever JPEG made of the fake there."""
    generator = draw()
    real, source = (255 * torch.rand(3, 3, 16, 16, generator=generator) for _ in range(2))
    mask = 0.1 + 0.9 * torch.rand(3, 16, 16, generator=generator) ** 2
    mask[:, :, :4] = 0
    fake = mask[:, None] * source + (1 - mask[:, None]) * real
    fake[..., :4] += 6 * torch.rand(3, 3, 16, 4, generator=generator)
    found = estimated_source(fake, real, mask)
    inside = (mask > 0)[:, None].expand_as(real)
    torch.testing.assert_close(found[inside], source[inside], atol=1e-2, rtol=0)
    assert torch.equal(found[~inside], real[~inside])


def test_self_blended_pairs_are_refined_with_their_source_and_nearly_so_without(detector):
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (80, 80, 3), np.uint8), (0, 0), 2)
    angle = np.linspace(0, 2 * np.pi, 81, endpoint=False)
    landmarks = np.float32(np.stack([40 + 22 * np.cos(angle), 40 + 27 * np.sin(angle)], 1))
    made = [SelfBlend(SIZE, with_source=True)(image, landmarks, rng) for _ in range(4)]
    chw = lambda picture: torch.from_numpy(picture).permute(2, 0, 1)  # noqa: E731
    batch = {
        "image": torch.stack([chw(p) for pair in made for p in (pair.real, pair.fake)]),
        "source": torch.stack([chw(pair.source) for pair in made for _ in range(2)]),
        "mask": torch.stack([torch.from_numpy(pair.mask) for pair in made for _ in range(2)]),
        "ratio": torch.tensor([pair.ratio for pair in made for _ in range(2)], dtype=torch.float32),
        "label": torch.tensor([0, 1] * 4),
    }
    refine = Refinement("M", eps=0.1, probability=1.0)
    known, worked_out = (
        refine(detector, b, draw()) for b in (batch, {k: v for k, v in batch.items() if k != "source"})
    )
    moves = [(b["image"] - batch["image"].float())[1::2] for b in (known, worked_out)]
    assert all(0 < move.abs().max() < 0.1 * 255 for move in moves)
    assert (moves[0] - moves[1]).abs().mean() < 0.3 * moves[0].abs().mean()


# --- in a training ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "precision"),
    [
        (StepRule(beta=1.0, r_prime=0.05), "32-true"),
        (StepRule(beta=1.0, r_prime=0.05), "bf16-mixed"),
        (StepRule(alpha=1.0, sites=("backbone.stages.0",)), "32-true"),
    ],
    ids=["sam", "sam in bfloat16", "pim"],
)
def test_both_evaluations_of_a_step_read_the_same_refined_batch(detector, batch, rule, precision):
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    model, optimizer = fabric.setup(detector, torch.optim.SGD(detector.parameters(), lr=0.1))
    model.train()
    refined = Refinement(overlap=2.0, probability=1.0)(model, batch, draw())
    assert refined["image"].dtype == refined["mask"].dtype == torch.float32
    assert not torch.equal(refined["image"], batch["image"])
    loss_fn, read = FPG().loss(LaplacianQuality(5, 12)), []

    def watched(network, given):
        read.append(given["image"].clone())
        return loss_fn(network, given)

    before = [parameter.detach().clone() for parameter in detector.parameters()]
    with Step(rule, fabric, model) as step:
        stats = step(watched, [refined])
        optimizer.step()
    assert len(read) == 2
    assert torch.equal(read[0], read[1])
    assert torch.equal(read[0], refined["image"])
    assert all(value.isfinite() for value in stats.values())
    assert {"cross_entropy", "similarity", "quality", "refined", "emptied"} <= stats.keys()
    assert any(not torch.equal(a, b) for a, b in zip(before, detector.parameters()))
