"""FIA-USA against Eq. 1, its draws, and what real and fake must share after all augmentation."""

import multiprocessing
from collections import Counter

import numpy as np
import pytest
import torch

from dfrepro.errors import WorkbookError
from dfrepro.forge.blend import PairTransform
from dfrepro.forge.masks import MACRO, MASK_KINDS, MICRO
from dfrepro.methods.fia_usa import pseudo_fakes as fia_usa
from dfrepro.methods.fia_usa.detector import regions, usable
from dfrepro.methods.fia_usa.pseudo_fakes import LITERAL, FiaUsa

SEEDS = range(30)


@pytest.fixture
def reconstructions(image) -> dict[str, np.ndarray]:
    """Two recognisable copies: one much darker, one much brighter."""
    return {"ae": image // 3, "sr": 255 - (255 - image) // 3}


@pytest.fixture
def plain(monkeypatch):
    """No recolouring and no jitter, so that a pair can be recomputed from the inputs alone."""
    monkeypatch.setattr(fia_usa, "draw_source_transform", lambda *_: [])
    monkeypatch.setattr(fia_usa, "draw_affine", lambda *_: np.eye(2, 3))


@pytest.mark.parametrize("seed", SEEDS)
def test_equation_1_holds_pixel_by_pixel(image, landmarks, reconstructions, plain, seed, monkeypatch):
    """I_F = M I_t + (1 - M) I_s in float64: the reconstruction inside, the source outside, the source as real."""
    monkeypatch.setattr(FiaUsa, "draw_reconstruction", lambda *_: "ae" if seed % 2 else "sr")
    forge = FiaUsa(160, margin=None, augment=False)
    pair = forge(image, landmarks, np.random.default_rng(seed), reconstructions=reconstructions)
    flipped = np.random.default_rng(seed).random() < 0.5  # the view's first draw
    target = reconstructions["ae" if seed % 2 else "sr"]
    source, target = (picture[:, ::-1] if flipped else picture for picture in (image, target))
    np.testing.assert_array_equal(pair.real, source)
    exact = pair.mask[..., None].astype(float) * target + (1 - pair.mask[..., None].astype(float)) * source
    assert np.abs(pair.fake - exact).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("margin", [None, (0.05, 0.2)])
def test_outside_the_mask_real_and_fake_are_identical_after_all_augmentation(
    image, landmarks, reconstructions, seed, margin
):
    pair = FiaUsa(128, margin)(image, landmarks, np.random.default_rng(seed), reconstructions=reconstructions)
    outside = pair.mask == 0
    assert outside.mean() > 0.02
    np.testing.assert_array_equal(pair.real[outside], pair.fake[outside])
    inside = pair.mask > 0.5
    assert inside.any()
    assert (pair.real[inside] != pair.fake[inside]).any()
    assert pair.ratio == 1


def test_the_paired_real_is_the_source_after_its_transform(image, landmarks, reconstructions, monkeypatch):
    """In half of the draws T changes the real; a real before T would differ from the fake outside the mask."""
    monkeypatch.setattr(fia_usa, "draw_source_transform", lambda *_: [lambda picture: picture // 2])
    forge = FiaUsa(160, margin=None, augment=False)
    changed = []
    for seed in range(100):
        pair = forge(image, landmarks, np.random.default_rng(seed), reconstructions=reconstructions)
        changed.append(any(np.array_equal(pair.real, picture // 2) for picture in (image, image[:, ::-1])))
        untouched = any(np.array_equal(pair.real, picture) for picture in (image, image[:, ::-1]))
        assert changed[-1] != untouched
    assert 35 <= sum(changed) <= 65


def test_the_source_is_recoloured_as_sbi_does(image, landmarks, reconstructions, monkeypatch):
    """T is that of self-blending (Sec. 3.1): a hue shift of +-.3 at most, unless another is asked for."""
    limits = []
    monkeypatch.setattr(fia_usa, "draw_source_transform", lambda _, limit: limits.append(limit) or [])
    for forge in (FiaUsa(64), FiaUsa(64, hsv_limit=20)):
        forge(image, landmarks, np.random.default_rng(0), reconstructions=reconstructions)
    assert limits == [0.3, 20]


@pytest.mark.parametrize(
    ("literal", "expected"),
    [((), {"ae": 0.3, "sr": 0.2, None: 0.5}), (("two-draws",), {"ae": 0.3, "sr": 0.14, None: 0.56})],
)
def test_reconstructions_are_drawn_with_the_papers_probabilities(literal, expected):
    forge, rng = FiaUsa(64, literal=literal), np.random.default_rng(0)
    counts = Counter(forge.draw_reconstruction(rng) for _ in range(20_000))
    assert {name: count / 20_000 for name, count in counts.items()} == pytest.approx(expected, abs=0.012)


def test_masks_are_drawn_uniformly_or_half_macro():
    rng = np.random.default_rng(0)
    uniform = Counter(FiaUsa(64).draw_kind(rng) for _ in range(5000))
    assert {kind: count / 5000 for kind, count in uniform.items()} == pytest.approx(
        dict.fromkeys(MASK_KINDS, 0.2), abs=0.02
    )
    halves = Counter(FiaUsa(64, kinds="macro-micro").draw_kind(rng) for _ in range(5000))
    assert (halves["hull"] + halves["rectangle"]) / 5000 == pytest.approx(0.5, abs=0.03)
    assert halves["eyes"] / 5000 == pytest.approx(1 / 6, abs=0.02)


def test_macro_alone_is_both_of_its_masks_alike():
    rng = np.random.default_rng(0)
    drawn = Counter(FiaUsa(64, kinds="macro").draw_kind(rng) for _ in range(2000))
    assert {kind: count / 2000 for kind, count in drawn.items()} == pytest.approx(dict.fromkeys(MACRO, 0.5), abs=0.04)


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_macro_masks_are_eroded_or_dilated_and_micro_masks_are_binary(kind, image, landmarks, reconstructions):
    """Sec. 3.1: the two Gaussian filters are described for the macro masks; H(K) of eyes and mouth are binary masks."""
    levels = {}
    for masks in ("literal", "soft"):
        forge = FiaUsa(160, margin=None, kinds=kind, masks=masks, augment=False)
        mask = forge(image, landmarks, np.random.default_rng(1), reconstructions=reconstructions).mask
        levels[masks] = len(np.unique(mask))
    assert (levels["literal"] == 2) == (kind in MICRO)
    assert levels["soft"] > 2


def skip_rate(forge: FiaUsa, image, landmarks, made, inside: float, n: int = 60) -> float:
    """Share of drawn pairs without a say in RCR at stride 4."""
    drawn = [forge(image, landmarks, np.random.default_rng(seed), reconstructions=made).mask for seed in range(n)]
    cells = regions(torch.from_numpy(np.stack(drawn)), (forge.draw_view.size // 4,) * 2, inside)
    return 1 - usable(cells).float().mean().item()


@pytest.mark.parametrize(
    ("size", "masks", "inside", "low", "high"),
    [
        (64, "literal", 0.5, 0.0, 0.15),
        (64, "literal", 0.95, 0.4, 0.8),
        (64, "soft", 0.95, 0.98, 1.0),
        (128, "literal", 0.5, 0.0, 0.0),
        (128, "literal", 0.95, 0.0, 0.05),
        (128, "soft", 0.95, 0.3, 0.7),
    ],
)
def test_the_share_of_micro_masks_that_rcr_skips(image, landmarks, reconstructions, size, masks, inside, low, high):
    """At 64 pixels softened micro masks leave RCR nothing; literal ones do, and at 128 pixels all of them act."""
    scale = size / 128
    made = {"ae": image, "sr": image}
    if scale < 1:  # a stored face of 80 pixels, as at laptop scale
        image, landmarks = np.ascontiguousarray(image[::2, ::2]), landmarks / 2
        made = {"ae": image, "sr": image}
    forge = FiaUsa(size, margin=None, kinds="micro", masks=masks)
    assert low <= skip_rate(forge, image, landmarks, made, inside) <= high
    whole = FiaUsa(size, margin=None, kinds="macro", masks=masks)
    assert skip_rate(whole, image, landmarks, made, inside) == 0


def test_without_mtms_every_mask_is_the_hull():
    rng = np.random.default_rng(0)
    assert {FiaUsa(64, kinds="hull").draw_kind(rng) for _ in range(50)} == {"hull"}


@pytest.mark.parametrize(
    ("without", "expected"),
    [(["sr"], {"ae": 0.3, None: 0.7}), (["ae"], {"sr": 0.2, None: 0.8}), (["ae", "sr"], {None: 1})],
)
def test_the_share_of_a_reconstruction_left_out_goes_to_none(without, expected):
    rng, other = np.random.default_rng(0), np.random.default_rng(0)
    drawn = [FiaUsa(64, without=without).draw_reconstruction(rng) for _ in range(20_000)]
    counts = Counter(drawn)
    assert {name: count / 20_000 for name, count in counts.items()} == pytest.approx(expected, abs=0.012)
    whole = [FiaUsa(64).draw_reconstruction(other) for _ in range(20_000)]
    assert all(part == full or full in without for part, full in zip(drawn, whole))  # the other draws stay paired


@pytest.mark.parametrize("options", [{"kinds": "nose"}, {"masks": "hard"}, {"without": ["gan"]}, {"without": "sr"}])
def test_options_that_do_not_exist_are_errors_that_name_the_choice(options):
    with pytest.raises(WorkbookError, match="Choose"):
        FiaUsa(64, **options)


def test_the_literal_blend_puts_the_source_inside(image, landmarks, reconstructions, plain, monkeypatch):
    monkeypatch.setattr(FiaUsa, "draw_reconstruction", lambda *_: "ae")
    forge = FiaUsa(160, margin=None, augment=False, literal=["source-inside"])
    pair = forge(image, landmarks, np.random.default_rng(2), reconstructions=reconstructions)
    inside, outside = pair.mask == 1, pair.mask == 0
    np.testing.assert_array_equal(pair.fake[inside], pair.real[inside])
    np.testing.assert_array_equal(pair.fake[outside], pair.real[outside] // 3)


def test_the_literal_reconstruction_is_none(image, landmarks, plain):
    """Recon returns I: without T and jitter the fake is the real, and no reconstruction is asked for."""
    forge = FiaUsa(160, margin=None, augment=False, literal=["unreconstructed"])
    for seed in SEEDS:
        pair = forge(image, landmarks, np.random.default_rng(seed), reconstructions={})
        np.testing.assert_array_equal(pair.real, pair.fake)


def test_the_same_generator_gives_the_same_pair_in_any_process(image, landmarks, reconstructions):
    forge = FiaUsa(64)
    jobs = [(forge, image, landmarks, reconstructions, [7, index]) for index in range(8)]
    here = [make_one(job) for job in jobs]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        there = pool.map(make_one, jobs, chunksize=1)
    for one, other in zip(here, there, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    assert (here[0][1] != here[1][1]).any()


def make_one(job):
    forge, image, landmarks, reconstructions, seed = job
    pair = forge(image, landmarks, np.random.default_rng(seed), reconstructions=reconstructions)
    return pair.real, pair.fake, pair.mask


def test_it_runs_as_a_data_sets_transform(image, landmarks, reconstructions):
    item = {"image": image, "landmarks": landmarks, "reconstructions": reconstructions, "row": 3}
    made = PairTransform(FiaUsa(64))(item, np.random.default_rng(0))
    assert set(made) == {"real", "fake", "mask", "ratio", "row"}


def test_a_missing_reconstruction_names_the_remedy(image, landmarks, monkeypatch):
    monkeypatch.setattr(FiaUsa, "draw_reconstruction", lambda *_: "sr")
    with pytest.raises(WorkbookError, match="no reconstruction 'sr'.*Run the stage"):
        FiaUsa(64)(image, landmarks, np.random.default_rng(0), reconstructions={"ae": image})


def test_unknown_options_list_the_known_ones():
    with pytest.raises(WorkbookError, match=", ".join(LITERAL)):
        FiaUsa(64, literal=["typo"])
    with pytest.raises(WorkbookError, match="macro-micro"):
        FiaUsa(64, kinds="typo")
