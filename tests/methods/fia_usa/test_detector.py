"""AFFS, FPN and RCR against brute force, finite differences, torchvision and the printed Table 7."""

import csv
import math
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import timm
import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional
from torchvision.ops import FeaturePyramidNetwork

from dfrepro.data.dataset import FaceDataset, Sample, batches
from dfrepro.data.manifest import Face, FaceStore
from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT
from dfrepro.methods.fia_usa import detector as fia_usa
from dfrepro.methods.fia_usa.affs import (
    NORMALISATIONS,
    ChannelErrors,
    ChannelSelection,
    agreement,
    kept_channels,
    rank_channels,
    squared_error,
    unit_range,
    warmed_up,
)
from dfrepro.methods.fia_usa.detector import VARIANTS, FiaUsaLoss, Variant, build, check_pairs, mean_units, rcr, regions
from dfrepro.nets.detector import Backbone, build_detector
from dfrepro.nets.fpn import FPN
from dfrepro.nets.losses import CrossEntropy
from dfrepro.train import checkpoint
from dfrepro.train.steps import Step, StepRule

TINY = Backbone("test_resnet", 32)
FAMILIES = [
    TINY,
    Backbone("test_efficientnet", 32),
    Backbone("test_convnext", 32),
    Backbone("convnext_atto", 64, {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}),
]
pytestmark = pytest.mark.usefixtures("one_thread")


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def box_masks(*boxes: tuple[int, int, int, int], size: int = 32) -> Tensor:
    """(P, size, size) of 1 in x0, y0, x1, y1."""
    masks = torch.zeros(len(boxes), size, size, dtype=torch.float64)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes):
        mask[y0:y1, x0:x1] = 1
    return masks


def pair_batch(n: int = 4, size: int = 32, seed: int = 0) -> dict[str, Tensor]:
    """n pairs of noise; the fake is brighter inside a box in the middle."""
    generator = torch.Generator().manual_seed(seed)
    real = torch.randint(0, 200, (n, 3, size, size), generator=generator, dtype=torch.uint8)
    inside = slice(size // 4, 3 * size // 4)
    fake = real.clone()
    fake[..., inside, inside] += 50
    mask = torch.zeros(n, size, size, dtype=torch.uint8)
    mask[:, inside, inside] = 255
    return {
        "image": torch.stack([real, fake], 1).flatten(0, 1),
        "label": torch.tensor([0, 1] * n),
        "mask": torch.stack([torch.zeros_like(mask), mask], 1).flatten(0, 1),
        "draw": torch.arange(n).repeat_interleave(2),
        "row": torch.arange(n).repeat_interleave(2),
    }


def ranked(variant: Variant, spec: Backbone = TINY, seed: int = 0) -> fia_usa.FiaUsaDetector:
    """A detector whose channels are chosen."""
    detector = build(variant, spec, seed)
    if variant.needs_ranking:
        detector.selection.keep_least(rank_channels(detector, [pair_batch(size=spec.image_size)]))
    return detector


# --- RCR ----------------------------------------------------------------------------------------------------------


def brute_force(real: Tensor, fake: Tensor, masks: Tensor, tau: float, inside: float) -> tuple[float, float]:
    """Eq. 4 to 6, pixel pair by pixel pair; δ divided by the number of pairs."""
    cell = masks.shape[-1] // real.shape[-1]

    def pixels(x: Tensor, mask: Tensor, want_inside: bool) -> list[np.ndarray]:
        found = []
        for i in range(x.shape[-2]):
            for j in range(x.shape[-1]):
                share = mask[i * cell : (i + 1) * cell, j * cell : (j + 1) * cell].mean()
                if share > inside if want_inside else share < 0.05:
                    found.append(x[:, i, j].numpy())
        return found

    def delta(a: list[np.ndarray], b: list[np.ndarray]) -> float:
        total = sum(float(u @ v) / math.sqrt((u @ u) * (v @ v)) for u in a for v in b)
        return total / (len(a) * len(b))

    sums = np.zeros(4)
    for r, f, mask in zip(real, fake, masks):
        r_in, r_out, f_in, f_out = (pixels(x, mask, want) for x in (r, f) for want in (True, False))
        pairs = [(f_in, f_out), (r_in, r_out), (r_in, f_in), (r_out, f_out)]
        sums += [math.exp(delta(a, b) / tau) for a, b in pairs]
    return -math.log(sums[1] / (sums[1] + sums[0])), -math.log(sums[3] / (sums[3] + sums[2]))


MASKS = box_masks((8, 8, 24, 24), (0, 4, 17, 31), (3, 9, 22, 26))  # the last two cut through cells


@pytest.mark.parametrize(("tau", "inside"), [(0.7, 0.5), (0.1, 0.5), (0.7, 0.95)])
def test_rcr_is_the_sum_over_all_pairs_of_pixels_divided_by_their_number(tau, inside):
    masks = functional.avg_pool2d(MASKS[:, None], 3, stride=1, padding=1)[:, 0]  # soft edges
    real, fake = random(3, 5, 8, 8), random(3, 5, 8, 8, seed=1) + 0.3
    found = rcr(real, fake, masks, tau, inside=inside)
    expected = brute_force(real, fake, masks, tau, inside)
    assert (found.pcr.item(), found.icr.item()) == pytest.approx(expected, rel=1e-12)
    assert found.skipped == 0


@pytest.mark.parametrize("cells", [1, 2, 5])
def test_the_mean_of_a_region_is_over_its_own_cells_however_few(cells):
    features, region = random(1, 4, 3, 3), torch.zeros(1, 2, 9, dtype=torch.float64)
    region[0, 0, :cells] = 1
    units = [features[0].flatten(1)[:, i] / features[0].flatten(1)[:, i].norm() for i in range(cells)]
    inside, outside = mean_units(features, region)[0]
    torch.testing.assert_close(inside, sum(units) / cells)
    assert not outside.any()  # and an empty one is no division by zero


def test_rcr_is_ln_2_at_indifference():
    same = random(1, 6, 1, 1).expand(3, 6, 8, 8)
    assert rcr(same, same, MASKS)[:2] == pytest.approx((math.log(2), math.log(2)))


def test_rcr_lies_between_its_bounds_and_reaches_them():
    v = random(6)
    inside = regions(MASKS, (8, 8))[:, 0].reshape(3, 1, 8, 8)
    whole = v.view(1, 6, 1, 1).expand(3, 6, 8, 8)
    split = torch.where(inside > 0, -whole, whole)  # opposite features inside and outside
    low, high = math.log1p(math.exp(-2 / 0.7)), math.log1p(math.exp(2 / 0.7))
    assert (low, high) == pytest.approx((0.056, 2.913), abs=5e-4)
    assert rcr(whole, split, MASKS)[:2] == pytest.approx((low, low))
    assert rcr(split, whole, MASKS).pcr.item() == pytest.approx(high)
    assert rcr(split, -whole, MASKS).icr.item() == pytest.approx(high)
    for seed in range(20):
        values = rcr(random(3, 2, 8, 8, seed=seed), random(3, 2, 8, 8, seed=seed + 50), MASKS)[:2]
        assert all(low <= value <= high for value in values)


@pytest.mark.parametrize("term", ["pcr", "icr"])
def test_gradients_through_rcr_are_those_of_finite_differences(term):
    masks = box_masks((4, 4, 20, 20), (1, 1, 2, 2))  # the second pair is skipped
    inputs = [random(2, 3, 6, 6, seed=seed).requires_grad_() for seed in (0, 1)]
    masks = functional.interpolate(masks[:, None], (24, 24), mode="area")[:, 0]
    assert torch.autograd.gradcheck(lambda r, f: getattr(rcr(r, f, masks), term), inputs)


@pytest.mark.parametrize("inside", [0.5, 0.95])
def test_coverage_multiplies_by_the_share_of_pairs_that_have_a_say(inside):
    masks = box_masks((8, 8, 24, 24), (4, 4, 16, 8), (0, 4, 16, 32), (0, 0, 2, 2), (0, 8, 16, 28))
    real, fake = random(5, 4, 8, 8), random(5, 4, 8, 8, seed=1)
    plain, scaled = (rcr(real, fake, masks, inside=inside, coverage=on) for on in (False, True))
    assert plain.skipped.item() == pytest.approx(2 / 5)
    torch.testing.assert_close(torch.stack(scaled[:2]), 3 / 5 * torch.stack(plain[:2]))
    assert scaled.skipped == plain.skipped


def test_a_cell_is_inside_where_the_mask_covers_more_of_it_than_it_is_told():
    mask = box_masks((1, 4, 24, 24))  # its first column of cells is covered by three quarters
    for inside, columns in ((0.5, 6), (0.95, 5)):
        found = regions(mask, (8, 8), inside)[0, 0].reshape(8, 8)
        assert found.sum() == columns * 5


def test_boundary_cells_belong_to_neither_region():
    inside, outside = regions(box_masks((6, 8, 24, 24)), (8, 8))[0].reshape(2, 8, 8)
    assert inside.sum() == 4 * 4  # columns 2 to 5
    assert (inside + outside)[2:6, 1].sum() == 0  # half covered
    assert outside.sum() == 64 - 16 - 4


def test_a_region_of_three_cells_is_skipped_and_counted_and_one_of_four_is_not():
    real, fake = random(3, 4, 8, 8), random(3, 4, 8, 8, seed=1)
    masks = box_masks((8, 8, 16, 16), (4, 4, 16, 8), (0, 0, 32, 28))
    found = rcr(real, fake, masks)
    assert found.skipped.item() == pytest.approx(1 / 3)  # the second; the third's outside is a row of 8
    kept = [0, 2]
    torch.testing.assert_close(found[:2], rcr(real[kept], fake[kept], masks[kept])[:2])


def test_without_any_usable_pair_rcr_is_zero_and_so_is_its_gradient():
    real, fake = random(2, 4, 8, 8).requires_grad_(), random(2, 4, 8, 8, seed=1).requires_grad_()
    found = rcr(real, fake, box_masks((0, 0, 4, 4), (0, 0, 32, 32)))
    (found.pcr + found.icr).backward()
    assert (found.pcr.item(), found.icr.item(), found.skipped.item()) == (0, 0, 1)
    assert real.grad.abs().max() == 0
    assert fake.grad.abs().max() == 0


def test_rcr_is_float32_under_autocast_and_at_any_scale_of_the_features():
    real, fake = random(3, 64, 8, 8, dtype=torch.float32), random(3, 64, 8, 8, seed=1, dtype=torch.float32)
    expected = rcr(real.double(), fake.double(), MASKS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = rcr(1e4 * real, 1e-4 * fake, MASKS.float())
    assert found.pcr.dtype == torch.float32
    torch.testing.assert_close(found[:2], expected[:2], rtol=1e-5, atol=0, check_dtype=False)


def one_rank(rank: int, folder: Path, data: list[Tensor]) -> None:
    torch.set_num_threads(1)  # a forked process waits for ever for the OpenMP threads that its parent had
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found, weight = weighted_rcr(*(x[2 * rank : 2 * rank + 2] for x in data))
    dist.all_reduce(weight.grad)
    save_file({"found": found, "gradient": weight.grad / 2}, folder / f"{rank}.safetensors")  # DDP's mean


def weighted_rcr(real: Tensor, fake: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """The loss, and two weights with their gradient, which stand for a network."""
    weight = torch.ones(2, dtype=torch.float64, requires_grad=True)
    found = rcr(real * weight[0] + 1, fake * weight[1] + 1, masks)
    (2.5 * found.pcr + 0.25 * found.icr).backward()
    return torch.stack(found).detach(), weight


def test_two_ranks_have_the_loss_and_the_gradient_of_their_joint_pairs(tmp_path):
    masks = torch.cat([MASKS, box_masks((0, 0, 4, 4))])  # one of the second rank's pairs is skipped
    data = [random(4, 5, 8, 8), random(4, 5, 8, 8, seed=1) + 0.5, masks]
    fork = multiprocessing.get_context("fork")  # no imports again
    ranks = [fork.Process(target=one_rank, args=(rank, tmp_path, data), daemon=True) for rank in (0, 1)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(300)
    assert [rank.exitcode for rank in ranks] == [0, 0]
    expected, weight = weighted_rcr(*data)
    for rank in (0, 1):
        result = load_file(tmp_path / f"{rank}.safetensors")
        torch.testing.assert_close(result["found"], expected)
        torch.testing.assert_close(result["gradient"], weight.grad)


# --- AFFS ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("h", "size"), [(8, 32), (5, 32), (7, 23)])
def test_the_error_on_the_small_grid_is_that_of_the_enlarged_map(h, size):
    maps, masks = random(2, 3, h, h).sigmoid(), random(2, size, size, seed=1).sigmoid()
    large = functional.interpolate(maps, (size, size), mode="bilinear", align_corners=False)
    expected = (large - masks[:, None]).square().mean((2, 3))
    torch.testing.assert_close(squared_error(maps, masks), expected, rtol=1e-10, atol=0)


def planted(channels: int, aligned: dict[int, float], n: int = 6, h: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Maps of n pairs, of noise; channel k of `aligned` differs from real to fake by so much inside the mask."""
    boxes = [(4 * (i % 3), 4, 16 + 4 * (i % 3), 24) for i in range(n)]
    masks = box_masks(*boxes).float()
    real = random(n, channels, h, h, dtype=torch.float32)
    fake = real + 0.3 * random(n, channels, h, h, seed=1, dtype=torch.float32)
    small = functional.interpolate(masks[:, None], (h, h), mode="area")[:, 0]
    for k, amount in aligned.items():
        fake[:, k] = real[:, k] + amount * small
    return real, fake, masks


def errors_of(real: Tensor, fake: Tensor, masks: Tensor, normalisation: str = "absolute") -> Tensor:
    errors = ChannelErrors(normalisation)
    errors.update([real], [fake], masks)
    return errors.result()[0]


@pytest.mark.parametrize("normalisation", ["absolute", "signed"])
def test_affs_ranks_planted_mask_aligned_channels_first(normalisation):
    amounts = {3: 0.01, 7: 5.0, 11: 40.0}  # whatever the scale: the difference is normalised
    if normalisation == "signed":  # f(R) − f(F): a channel that falls inside the mask
        amounts = {k: -amount for k, amount in amounts.items()}
    found = errors_of(*planted(16, amounts), normalisation)
    assert set(found.argsort()[:3].tolist()) == {3, 7, 11}
    assert found[[3, 7, 11]].max() < 0.2 * found.sort().values[3]
    selection = ChannelSelection((16,), (3,))
    selection.keep_least([found])
    assert selection.indices[0].tolist() == [3, 7, 11]


def test_each_normalisation_of_eq_9_is_what_its_name_says():
    real, fake = 0.01 * random(2, 3, 5, 5).numpy() + 0.3, 0.01 * random(2, 3, 5, 5, seed=1).numpy() + 0.3

    def each(maps: np.ndarray, change) -> np.ndarray:
        return np.stack([[change(one) for one in maps_of_a_pair] for maps_of_a_pair in maps])

    def min_max(one: np.ndarray) -> np.ndarray:
        return (one - one.min()) / (one.max() - one.min())

    expected = {
        "absolute": each(np.abs(real - fake), min_max),
        "signed": each(real - fake, min_max),
        "each-map": np.abs(each(real, min_max) - each(fake, min_max)),
        "z-score": each(np.abs(real - fake), lambda one: scipy.stats.zscore(one, axis=None)),
    }
    assert expected.keys() == NORMALISATIONS.keys()
    for name, maps in expected.items():
        np.testing.assert_allclose(NORMALISATIONS[name](torch.tensor(real), torch.tensor(fake)), maps, atol=1e-9)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_maps_that_differ_by_a_constant_have_no_answer(normalisation):
    level = torch.full((1, 2, 7, 7), 0.1)  # its mean in float32 is not .1
    assert not NORMALISATIONS[normalisation](level, torch.zeros_like(level)).any()


def test_a_channel_aligned_in_the_other_direction_is_found_by_the_absolute_difference_alone():
    pairs = planted(8, {2: -5.0, 5: 5.0})
    assert set(errors_of(*pairs).argsort()[:2].tolist()) == {2, 5}
    assert errors_of(*pairs, "signed").argsort()[0] == 2
    assert errors_of(*pairs, "signed").argsort()[-1] == 5


def test_a_constant_difference_counts_as_none_and_a_dead_channel_goes_last():
    real, fake, masks = planted(4, {0: 1.0})
    fake[:, 1] = real[:, 1] = 0  # dead
    real[:, 2], fake[:, 2] = 0, 0
    fake[0, 2, 0, 0] = 1  # answers in one pair
    masks = masks * 0.2  # a faint mask, for which "no answer" would be a good guess
    found = errors_of(real, fake, masks)
    assert not found.isnan().any()
    assert found[1] == torch.inf
    assert found.isinf().sum() == 1
    silent = masks[1:].square().mean((1, 2)).sum()
    alone = squared_error(unit_range(fake[:1, 2:3]), masks[:1])[0, 0]
    assert found[2].item() == pytest.approx((silent + alone).item() / len(masks))


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_errors_added_up_over_batches_are_those_of_all_pairs_at_once(normalisation):
    real, fake, masks = planted(5, {1: 2.0})
    stream = ChannelErrors(normalisation)
    for part in (slice(0, 1), slice(1, 4), slice(4, 6)):
        stream.update([real[part], real[part, :2]], [fake[part], fake[part, :2]], masks[part])
    assert stream.pairs == 6
    torch.testing.assert_close(stream.result()[0], errors_of(real, fake, masks, normalisation))
    torch.testing.assert_close(stream.result()[1], errors_of(real[:, :2], fake[:, :2], masks, normalisation))


def test_affs_says_what_is_wrong():
    with pytest.raises(WorkbookError, match="no pair"):
        ChannelErrors().result()
    with pytest.raises(WorkbookError, match="normalisation"):
        ChannelErrors("softmax")
    with pytest.raises(WorkbookError, match="cannot keep 9 of 8"):
        ChannelSelection((8,), (9,))
    with pytest.raises(WorkbookError, match="ranking of 4 channels for a stage of 8"):
        ChannelSelection((8,), (3,)).keep_least([torch.zeros(4)])


@pytest.mark.parametrize(
    ("printed", "network"),
    [("Res50", "resnet50"), ("Res101", "resnet101"), ("Effb1", "efficientnet_b1"), ("Effb4", "tf_efficientnet_b4")],
)
def test_channels_before_and_after_affs_are_those_of_table_7(printed, network):
    with open(ROOT / "papers" / "fia_usa" / "tables" / "T7.csv") as file:
        row = next(row for row in csv.DictReader(file) if row["model"] == printed)
    with torch.device("meta"):
        widths = [info["num_chs"] for info in timm.create_model(network).feature_info]
    assert widths[-4:] == [int(row[f"c{i}_in"]) for i in range(2, 6)]
    assert kept_channels(network, widths) == tuple(int(row[f"c{i}_out"]) for i in range(2, 6))


@pytest.mark.parametrize(
    ("family", "widths"), [("efficientnet", (16, 24, 40, 112, 320)), ("efficientnet", (24, 32, 56, 160, 448))]
)
def test_the_rule_for_networks_outside_table_7_gives_its_efficientnets(family, widths):
    assert kept_channels(f"{family}_other", widths) == widths[:4]
    assert kept_channels(f"{family}_other", (8, *widths)) == widths[:4]  # whatever stands before C2's own stage


def test_small_networks_keep_fewer_channels_than_they_have():
    assert kept_channels("convnext_atto", (24, 48, 96, 192)) == (18, 36, 72, 144)
    assert kept_channels("test_efficientnet", (16, 24, 32, 48, 64)) == (16, 24, 32, 48)


def test_ranking_a_network_finds_the_channel_that_follows_the_mask(monkeypatch):
    """Plant it: one channel of C2 becomes the picture's brightness, which is what the fakes differ in."""
    plain = fia_usa.FiaUsaDetector.stages
    batches_ = [pair_batch(seed=seed) for seed in range(2)]
    detector = build(Variant(), TINY, 0)
    worst = int(rank_channels(detector, batches_)[0].argmax())

    def stages(self: fia_usa.FiaUsaDetector, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps, found = plain(self, x)
        found[0] = found[0].clone()
        found[0][:, worst] = functional.adaptive_avg_pool2d(x.mean(1), found[0].shape[-2:])
        return maps, found

    monkeypatch.setattr(fia_usa.FiaUsaDetector, "stages", stages)
    errors = rank_channels(detector, batches_)
    assert errors[0].argmin() == worst
    detector.selection.keep_least(errors)
    assert worst in detector.selection.indices[0]


def test_ranking_compares_each_fake_with_its_real():
    detector, batch = build(Variant(), TINY, 0).eval(), pair_batch()
    found = rank_channels(detector, [batch])
    with torch.no_grad():
        real, fake = (detector.stages(detector.preprocess(batch["image"][k::2]))[1] for k in (0, 1))
    assert found[0].isfinite().all()  # C5 is one pixel here, which cannot answer
    for error, r, f in zip(found, real, fake, strict=True):
        torch.testing.assert_close(error, errors_of(r, f, batch["mask"][1::2] / 255), rtol=1e-4, atol=1e-6)


def test_ranking_is_in_evaluation_mode_repeatable_and_leaves_the_network_as_it_was():
    detector = build(Variant(), TINY, 0).train()
    state = {name: value.clone() for name, value in detector.state_dict().items()}
    first, again = (rank_channels(detector, [pair_batch(seed=s) for s in range(2)]) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert [len(error) for error in first] == [32, 48, 192, 96]
    assert detector.training
    assert all(torch.equal(state[name], value) for name, value in detector.state_dict().items())


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_the_variant_says_how_a_difference_is_normalised(normalisation):
    variant, batch = Variant(normalisation=normalisation), pair_batch()
    detector = build(variant, TINY, 0).eval()
    with torch.no_grad():
        real, fake = (detector.stages(detector.preprocess(batch["image"][k::2]))[1][0] for k in (0, 1))
    expected = errors_of(real, fake, batch["mask"][1::2] / 255, normalisation)
    torch.testing.assert_close(rank_channels(detector, [batch])[0], expected, rtol=1e-4, atol=1e-6)


def test_rankings_agree_by_their_kept_channels_beside_chance_and_by_spearmans_rho():
    one, other = random(40), random(40, seed=1)
    found = agreement(one, other, 30)
    both = set(one.argsort()[:30].tolist()) & set(other.argsort()[:30].tolist())
    assert found == pytest.approx((len(both) / 30, 0.75, scipy.stats.spearmanr(one, other).statistic))
    assert agreement(one, one, 30) == pytest.approx((1, 0.75, 1))
    shared = [agreement(random(40, seed=2 * i), random(40, seed=2 * i + 1), 30).shared for i in range(300)]
    assert np.mean(shared) == pytest.approx(0.75, abs=0.01)


def test_a_warmed_up_copy_has_learned_and_the_detector_has_not():
    detector = build(Variant(), TINY, 0)
    state = {name: value.clone() for name, value in detector.state_dict().items()}
    data = [pair_batch(seed=s) for s in range(12)]
    copy = warmed_up(detector, data)
    assert all(torch.equal(state[name], value) for name, value in detector.state_dict().items())

    def loss(network: fia_usa.FiaUsaDetector) -> float:
        return functional.cross_entropy(network.train()(data[0]["image"]).logits, data[0]["label"]).item()

    assert loss(copy) < 0.6 * loss(detector)
    assert all(torch.equal(a, b) for a, b in zip(copy.parameters(), warmed_up(detector, data).parameters()))


@pytest.mark.parametrize(
    ("network", "width"),
    [("resnet50", 196), ("resnet101", 196), ("efficientnet_b1", 128), ("tf_efficientnet_b4", 128), ("test_resnet", 32)],
)
def test_the_pyramid_is_as_wide_as_appendix_d_has_it_and_elsewhere_as_c2(network, width):
    """Appendix D: lateral 1 x 1 to 128 channels (EfficientNet) or 196 (ResNet)."""
    with torch.device("meta"):
        detector = build(Variant(channels="all"), Backbone(network, 64), 0)
    assert [lateral.weight.shape for lateral in detector.fpn.lateral] == [(width, c, 1, 1) for c in detector.channels]


# --- the detector -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", FAMILIES, ids=lambda spec: spec.name)
def test_the_classification_is_that_of_the_plain_network_and_the_finest_level_has_stride_4(spec):
    images = pair_batch(2, spec.image_size)["image"]
    detector, plain = build(Variant(channels="random"), spec, 3).eval(), build_detector(spec, 3).eval()
    output, finest = detector(images, finest=True)
    for found, expected in zip(output, plain(images)):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(detector(images).logits, output.logits)
    assert finest.shape[-2:] == (spec.image_size // 4,) * 2
    torch.testing.assert_close(output.margins.sigmoid(), output.logits.softmax(1)[:, 1])


@pytest.mark.parametrize("spec", FAMILIES[:2], ids=lambda spec: spec.name)
def test_without_rcr_a_training_is_the_plain_networks_to_the_bit(spec):
    arms = [(build(VARIANTS["no-rcr"], spec, 3), VARIANTS["no-rcr"].loss()), (build_detector(spec, 3), CrossEntropy())]
    for detector, loss in arms:
        optimizer = torch.optim.AdamW(detector.train().parameters())
        for seed in range(2):
            optimizer.zero_grad()
            loss(detector, pair_batch(size=spec.image_size, seed=seed))[0].backward()
            optimizer.step()
    (ours, _), (plain, _) = arms
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in ours.state_dict().items())


def test_the_fpn_is_torchvisions():
    channels, sizes = (6, 10, 12, 14), (13, 7, 4, 2)  # odd sizes, as at 380 px
    ours, theirs = FPN(channels, 8, levels=4), FeaturePyramidNetwork(list(channels), 8)
    for i in range(4):
        theirs.inner_blocks[i][0].load_state_dict(ours.lateral[i].state_dict())
        theirs.layer_blocks[i][0].load_state_dict(ours.smooth[i].state_dict())
    stages = [random(2, c, s, s, seed=c, dtype=torch.float32) for c, s in zip(channels, sizes)]
    expected = theirs({str(i): x for i, x in enumerate(stages)})
    for found, level in zip(ours(stages), expected.values(), strict=True):
        torch.testing.assert_close(found, level)
    finest_alone = FPN(channels, 8)
    finest_alone.load_state_dict(
        {k: v for k, v in ours.state_dict().items() if not k.startswith(("smooth.1", "smooth.2", "smooth.3"))}
    )
    torch.testing.assert_close(finest_alone(stages)[0], expected["0"])


def test_the_fpn_has_the_papers_width_and_table_7s_inputs():
    with torch.device("meta"):
        detectors = [fia_usa.FiaUsaDetector(Backbone(name, 64), Variant()) for name in ("efficientnet_b4", "resnet50")]
    assert [d.fpn.smooth[0].out_channels for d in detectors] == [128, 196]
    assert [lateral.in_channels for lateral in detectors[0].fpn.lateral] == [24, 32, 56, 160]
    assert [lateral.in_channels for lateral in detectors[1].fpn.lateral] == [196, 384, 768, 1536]


@pytest.mark.parametrize("name", ["full", "no-affs", "random-channels", "no-pcr", "no-rcr"])
@pytest.mark.parametrize("head", ["c5", "fpn"])
def test_every_weight_gets_a_gradient(name, head):
    """Or training on several ranks stops: DDP waits for each."""
    variant = Variant(**{**VARIANTS[name].__dict__, "head": head})
    detector = ranked(variant).train()
    loss, _ = variant.loss()(detector, pair_batch())
    loss.backward()
    trained = {name for name, weight in detector.named_parameters() if weight.requires_grad}
    assert {name for name, weight in detector.named_parameters() if weight.grad is not None} == trained
    frozen = {name for name, _ in detector.named_parameters()} - trained
    assert frozen == ({"backbone.fc.weight", "backbone.fc.bias"} if head == "fpn" else set())


@pytest.mark.parametrize("spec", FAMILIES, ids=lambda spec: spec.name)
def test_a_classifier_that_reads_the_pyramid_trains_all_of_it_and_nothing_behind_it(spec):
    detector = ranked(VARIANTS["no-rcr-fpn"], spec).train()
    loss, parts = VARIANTS["no-rcr-fpn"].loss()(detector, pair_batch(size=spec.image_size))
    loss.backward()
    assert parts.keys() == {"ce"}
    assert detector.head.in_features == 4 * detector.fpn.smooth[0].out_channels
    for name, weight in detector.named_parameters():
        assert (weight.grad is not None) == weight.requires_grad, name
    assert not any(weight.requires_grad for weight in detector.backbone.get_classifier().parameters())


def test_a_detector_depends_on_its_seed_alone_and_its_backbone_not_on_the_variant():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    built = {name: build(variant, TINY, 5) for name, variant in VARIANTS.items()}
    again = build(VARIANTS["random-channels"], TINY, 5)
    assert torch.equal(torch.get_rng_state(), before)
    backbones = [detector.backbone.state_dict() for detector in built.values()]
    assert all(torch.equal(backbones[0][key], b[key]) for b in backbones for key in backbones[0])
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in built["random-channels"].state_dict().items())
    other = build(VARIANTS["random-channels"], TINY, 6)
    assert not torch.equal(other.selection.indices[2], again.selection.indices[2])


def test_random_channels_are_as_many_as_affs_keeps():
    affs, control, whole = (ranked(VARIANTS[name]) for name in ("full", "random-channels", "no-affs"))
    assert [len(i) for i in affs.selection.indices] == [len(i) for i in control.selection.indices] == [24, 36, 144, 72]
    assert all(len(index.unique()) == len(index) for index in control.selection.indices)
    assert whole.selection is None
    assert affs.fpn.lateral[0].in_channels == 24
    assert whole.fpn.lateral[0].in_channels == 32


def test_unranked_channels_stop_a_training():
    with pytest.raises(WorkbookError, match="not ranked yet"):
        build(Variant(), TINY, 0)(pair_batch()["image"], finest=True)


def test_a_detector_without_rcr_has_no_fpn_and_says_so():
    detector = build(VARIANTS["no-rcr"], TINY, 0)
    assert detector.fpn is None
    with pytest.raises(WorkbookError, match="no FPN"):
        detector(pair_batch()["image"], finest=True)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224"])
def test_a_network_without_a_pyramid_is_refused(name):
    with torch.device("meta"), pytest.raises(WorkbookError, match="strides"):
        fia_usa.FiaUsaDetector(Backbone(name, 224), Variant())


def test_the_frozen_channels_survive_a_checkpoint(tmp_path):
    detector = ranked(Variant()).eval()
    checkpoint.save(tmp_path, detector, {})
    loaded = build(Variant(), TINY, 99).eval()
    checkpoint.load_weights(tmp_path, loaded)
    for saved, found in zip(detector.selection.indices, loaded.selection.indices):
        assert torch.equal(saved, found)
        assert (found.diff() > 0).all()
    images = pair_batch()["image"]
    torch.testing.assert_close(loaded(images, finest=True).finest, detector(images, finest=True).finest)


def test_training_leaves_the_channels_alone():
    variant = Variant()
    detector = ranked(variant).train()
    before = [index.clone() for index in detector.selection.indices]
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.1)
    variant.loss()(detector, pair_batch())[0].backward()
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, detector.selection.indices))


# --- the loss -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_the_loss_is_the_weighted_sum_of_its_parts(name):
    variant = VARIANTS[name]
    loss, parts = variant.loss()(ranked(variant).eval(), pair_batch())
    expected = variant.ce * parts["ce"]
    if variant.contrasts:
        expected = expected + variant.pcr * parts["pcr"] + variant.icr * parts["icr"]
    torch.testing.assert_close(loss, expected)
    assert ("skipped" in parts) == variant.contrasts


def test_the_weightings_are_those_of_table_6c():
    with open(ROOT / "papers" / "fia_usa" / "tables" / "T6c.csv") as file:
        printed = {(float(r["lambda1"]), float(r["lambda2"]), float(r["lambda3"])) for r in csv.DictReader(file)}
    named = ("full", "pcr100-icr100", "pcr100-icr025", "pcr250-icr100", "pcr025-icr250")
    assert {(VARIANTS[n].ce, VARIANTS[n].pcr, VARIANTS[n].icr) for n in named} == printed


def test_the_classification_loss_is_the_binary_cross_entropy_of_the_logits_difference():
    detector, batch = ranked(Variant()).eval(), pair_batch()
    logits = detector(batch["image"]).logits
    expected = functional.binary_cross_entropy_with_logits(logits[:, 1] - logits[:, 0], batch["label"].float())
    torch.testing.assert_close(FiaUsaLoss()(detector, batch)[1]["ce"], expected)


def test_steps_on_the_loss_separate_the_regions():
    variant = Variant(ce=0)
    detector = ranked(variant).train()
    optimizer, loss = torch.optim.AdamW(detector.parameters(), lr=2e-3), variant.loss()
    history = []
    for step in range(15):
        value, parts = loss(detector, pair_batch(seed=step))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        history.append([parts["pcr"].item(), parts["icr"].item()])
    assert np.mean(history[-3:], axis=0) == pytest.approx([0.2, 0.3], abs=0.25)
    assert max(np.mean(history[-3:], axis=0)) < math.log(2)


@pytest.mark.parametrize("rule", [StepRule(beta=1), StepRule(alpha=0.5, beta=0.5)], ids=["SAM", "DualFlat"])
def test_all_passes_of_a_step_see_the_same_pairs_and_compute_rcr_anew(rule):
    variant = Variant()
    detector, batch, seen = ranked(variant).train(), pair_batch(), []

    def loss(model, given):
        seen.append(({key: value.clone() for key, value in given.items()}, variant.loss()(model, given)))
        return seen[-1][1]

    fabric = Fabric(accelerator="cpu", devices=1)
    with Step(rule, fabric, fabric.setup(detector)) as step:
        stats = step(loss, [batch])
    assert len(seen) == (2 if rule.alpha == 0 else 3)
    for given, _ in seen:
        assert all(torch.equal(given[key], batch[key]) for key in batch)
    values = [parts["pcr"].item() for _, (_, parts) in seen]
    assert len(set(values)) == len(values)  # at θ and beside it
    assert stats["pcr"].item() == values[0]
    assert values[-1] >= values[0]  # SAM goes up


def test_the_datasets_pairs_are_the_layout_that_the_loss_reads(tmp_path):
    """Real and fake of one draw in turn, whatever the order of the draws and their split into micro-batches."""
    rng = np.random.default_rng(0)
    faces = [
        Face(rng.integers(0, 200, (32, 32, 3), np.uint8), "ffpp", "original", f"{i}", 0, 0, "train", np.ones((81, 2)))
        for i in range(6)
    ]
    store = FaceStore.write(tmp_path / "faces", faces, 32)
    data = FaceDataset(store, np.arange(6), size=32, seed=0, transform=forge_a_box)
    rows = []
    for micro in batches(data, 4, first=0, last=3, micro=2):
        for batch in micro:
            check_pairs(batch)
            rows += batch["row"].tolist()
            inside = batch["mask"][1::2] > 0
            real, fake = (batch["image"][i::2].permute(0, 2, 3, 1).int() for i in (0, 1))
            assert ((fake - real).sum(-1)[inside] == 150).all()
            assert (fake == real)[~inside].all()
    assert rows[0::2] == rows[1::2]
    assert len(set(rows)) == 6
    assert rows[0:12:2] != sorted(rows[0:12:2])


def forge_a_box(sample: Sample, rng: np.random.Generator) -> list[Sample]:
    mask = np.zeros(sample.image.shape[:2], np.uint8)
    x, y = rng.integers(0, 16, 2)
    mask[y : y + 16, x : x + 16] = 255
    fake = np.where(mask[..., None] > 0, sample.image + 50, sample.image).astype(np.uint8)
    return [Sample(sample.image, 0, sample.landmarks, np.zeros_like(mask)), Sample(fake, 1, sample.landmarks, mask)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b.pop("mask"), "no masks"),
        (lambda b: b.update(label=b["label"].sort().values), "real and fake in turn"),
        (lambda b: b.update(label=b["label"][:-1]), "real and fake in turn"),
        (lambda b: b.update(draw=torch.arange(len(b["draw"]))), "same draw"),
        (lambda b: b.update(mask=b["mask"] / 255), "uint8"),
    ],
)
def test_a_batch_that_is_not_pairs_is_refused(change, message):
    batch = pair_batch()
    change(batch)
    with pytest.raises(WorkbookError, match=message):
        FiaUsaLoss()(ranked(Variant()), batch)


@pytest.mark.parametrize(
    "wrong", [{"pcr": -1}, {"tau": 0}, {"channels": "best"}, {"head": "c4"}, {"inside": 1.0}, {"normalisation": "l2"}]
)
def test_a_wrong_variant_is_refused(wrong):
    with pytest.raises(WorkbookError):
        Variant(**wrong)
