"""PEL's runs: statistics of the training faces, the mirrored faces, and residuals against the true masks."""

import numpy as np
import pytest
import torch

from dfrepro import params
from dfrepro.data.dataset import Sample, centre
from dfrepro.data.manifest import FaceStore
from dfrepro.errors import WorkbookError
from dfrepro.jobs.kinds import method_of
from dfrepro.methods.pel import residuals as figures
from dfrepro.methods.pel import run as runs
from dfrepro.methods.pel.detector import VARIANTS, build
from dfrepro.methods.pel.frequency import FrequencyInput, Statistics
from dfrepro.methods.pel.residuals import changes, energy, shares
from dfrepro.nets.detector import Backbone
from dfrepro.train.ingredients import Inputs
from tests.synthetic import noise_store, rectangle

SIZE, WINDOW = 40, 32
FAKES = ("Deepfakes", "NeuralTextures")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FaceStore:
    """Videos named as FF++ names them; the left half of a fake is its mask. Real 003 lost its frame 1."""
    frames = [
        (kind, name if kind == "original" else f"{name}_{names[name == names[0]]}", frame, split)
        for kind in ("original", *FAKES)
        for split, names in (("train", ("000", "001")), ("test", ("002", "003")))
        for name in names
        for frame in range(2)
        if (kind, name, frame) != ("original", "003", 1)
    ]
    half = rectangle(SIZE, slice(None), slice(SIZE // 2))
    return noise_store(tmp_path_factory.mktemp("pel") / "store", frames, half, size=SIZE)


def spec(run: str):
    made = params.load(scale="smoke").spec(run, 0)
    return made | {"data": made["data"] | {"manipulations": list(FAKES)}}


@pytest.fixture(scope="module")
def detector():
    """A PEL whose modules add something."""
    made = build(
        VARIANTS["full"], Backbone("test_efficientnet", WINDOW), 0, Statistics(torch.zeros(192), torch.ones(192))
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.enhancements.parameters():
            parameter.normal_(generator=generator)
    return made.eval()


def test_every_declared_run_of_pel_builds():
    p = params.load(scale="smoke")
    declared = [name for name, run in p.runs.items() if run.detector.kind == "pel"]
    assert len(declared) >= 19
    for name in declared:
        assert len(runs.build(p.spec(name, 0)).streams) == len(VARIANTS[p.run(name).detector.variant].streams)


def test_an_unknown_variant_is_refused():
    made = spec("pel-full")
    with pytest.raises(WorkbookError, match="runs.pel-full"):
        runs.build(made | {"detector": made["detector"] | {"variant": "fuller"}})


def test_the_frequency_input_is_standardised_by_the_training_faces_as_the_network_sees_them(store):
    made = runs.prepare(spec("pel-freq"), Inputs(store))
    train = (store.manifest.split == "train").to_numpy()
    images = torch.from_numpy(centre(store.faces[train], WINDOW)).permute(0, 3, 1, 2)
    x = FrequencyInput().coefficients(images).double()
    entry = made.detector.streams["freq"].entry
    torch.testing.assert_close(entry.mean.double(), x.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(entry.deviation.double(), x.std((0, 2, 3), correction=0), rtol=1e-4, atol=1e-5)
    assert made.detector(images).logits.isfinite().all()


def test_two_preparations_are_one(store):
    first, second = (runs.prepare(spec("pel-full"), Inputs(store)) for _ in range(2))
    for a, b in zip(first.detector.state_dict().values(), second.detector.state_dict().values()):
        assert torch.equal(a, b)
    assert torch.equal(first.data[3]["image"], second.data[3]["image"])


def test_every_second_face_is_mirrored():
    image = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    sample = Sample(image, 1, np.zeros((81, 2)), row=5)
    seen = [runs.flipped(sample, np.random.default_rng(seed)) for seed in range(200)]
    mirrored = [np.array_equal(one.image, image[:, ::-1]) for one in seen]
    assert all(flip or np.array_equal(one.image, image) for flip, one in zip(mirrored, seen))
    assert 70 < sum(mirrored) < 130
    assert {(one.label, one.row) for one in seen} == {(1, 5)}


def test_a_fake_is_paired_with_the_frame_it_was_made_of(store):
    pairs, m = runs.masked_pairs(store), store.manifest
    assert len(pairs) == 6  # two manipulations of three frames: the fourth has lost its real
    for pair in pairs.itertuples():
        fake, real = m.iloc[pair.fake], m.iloc[pair.real]
        assert (fake.label, real.label, fake.manipulation) == (1, 0, pair.manipulation)
        assert fake.video.split("_")[0] == real.video
        assert (fake.frame, fake.split) == (real.frame, "test")


def test_lift_is_the_share_of_energy_in_the_mask_over_the_masks_share(store, detector):
    pairs = runs.masked_pairs(store)
    found = runs.residuals_inside(detector, store, pairs, WINDOW)
    assert len(found) == len(pairs) * 2 * 2 * 2  # sides, modules, streams
    for row in found.sample(6, random_state=0).itertuples():
        face = centre(store.faces[getattr(row, row.side)][None], WINDOW)
        change = changes(detector, torch.from_numpy(face.copy()).permute(0, 3, 1, 2).float())[row.module, row.stream]
        where = energy(change.added, WINDOW, centred=True)[0].numpy()
        half = where[:, : WINDOW // 2]
        assert row.area == 0.5
        assert row.inside == pytest.approx(half.sum() / where.sum(), rel=1e-4)
        assert row.lift == pytest.approx(2 * row.inside)
        assert row.energy == pytest.approx(np.log(half.mean()), abs=1e-3)
        before, after = (
            energy(f, WINDOW, centred=True)[0, :, : WINDOW // 2].sum().item() for f in (change.before, change.after)
        )
        assert row.change == pytest.approx(np.log(after / before), abs=1e-3)
        assert row.spread == pytest.approx(where.sum() ** 2 / (where.size * (where**2).sum()), rel=1e-3)


def test_a_module_that_halves_or_doubles_features_suppresses_or_intensifies_the_mask():
    """And an energy that is the same everywhere has a spread of 1."""
    masks = torch.zeros(2, 8, 8)
    masks[:, :4] = 1
    before = torch.tensor([1.0, -1.0]).repeat(2, 3, 8, 4)  # centred, of equal energy everywhere
    for factor in (0.5, 2.0):
        columns = runs._inside(figures.Change(before, factor * before), masks)
        np.testing.assert_allclose(columns["change"], 2 * np.log(factor))
        np.testing.assert_allclose(columns["spread"], 1)
        np.testing.assert_allclose(columns["lift"], 1)
        np.testing.assert_allclose(columns["energy"], 2 * np.log(abs(factor - 1)), atol=1e-6)


def test_means_over_faces_are_measured_for_each_module_stream_and_class(store, detector):
    measured = runs.measure(detector, spec("pel-full"), {"ffpp-c40": store}, Inputs(store))
    values = {one.metric: one.value for one in measured}
    places = {f"{m}_{s}_{c}" for m in ("self", "mutual") for s in ("rgb", "freq") for c in runs.COLUMNS}
    names = {f"{place}_{side}" for place in places for side in ("fake", "real")}
    assert set(values) == names | {"share_noise", "share_attention", "share_mutual"}
    found = runs.residuals_inside(detector, store, runs.masked_pairs(store), WINDOW)
    part = found[(found.module == "self") & (found.stream == "rgb") & (found.side == "real")]
    for column in runs.COLUMNS:
        assert values[f"self_rgb_{column}_real"] == pytest.approx(part[column].mean(), rel=1e-5)
    test = (store.manifest.split == "test").to_numpy()
    images = torch.from_numpy(centre(store.faces[test], WINDOW).copy()).permute(0, 3, 1, 2).float()
    for kind, each in shares(detector, images).items():
        assert values[f"share_{kind}"] == pytest.approx(each.mean().item(), rel=1e-5)


def test_a_set_without_masks_measures_the_shares_alone(store, detector):
    unmasked = FaceStore(store.path, store.manifest, store.faces, None, store.report, store.meta)
    measured = runs.measure(detector, spec("pel-full"), {"ffpp-c40": unmasked}, Inputs(store))
    assert {one.metric for one in measured} == {"share_noise", "share_attention", "share_mutual"}


def test_a_pel_without_modules_measures_nothing(store):
    plain = runs.prepare(spec("pel-two-stream"), Inputs(store)).detector
    assert runs.measure(plain, spec("pel-two-stream"), {"ffpp-c40": store}, Inputs(store)) == []
    assert method_of(spec("pel-full")) is runs
