"""FoCus' runs: networks that make maps, the maps as an artifact, and the detector that they supervise."""

import numpy as np
import pandas as pd
import pytest
import torch

from dfrepro.data.pairs import Pairs
from dfrepro.errors import WorkbookError
from dfrepro.methods.focus import run as focus
from dfrepro.methods.focus import run_evaluation as focus_evaluation
from dfrepro.methods.focus import run_tokens as tokens
from dfrepro.methods.focus.maps import ForgeryMaps, Source, Supervised, measure, write_maps
from dfrepro.methods.focus.supervision import as_targets, raw_maps
from dfrepro.train.ingredients import Inputs
from tests.synthetic import noise_store, rectangle

SIZE, SIDE = 40, 32
VIT = {"name": "vit_conv_stem", "image_size": SIDE, "kwargs": {"embed_dim": 16, "depth": 2}, "pretrained": False}
CNN = {"name": "test_efficientnet", "image_size": SIDE, "kwargs": {}, "pretrained": False}


def spec(kind, backbone, **more):
    training = {"frames": 4, "images_per_epoch": None, "label_smoothing": 0.0}
    data = {"dataset": "ffpp-c40", "manipulations": ["Deepfakes"], "fakes": "dataset"}
    return {"run": "r", "seed": 0, "data": data, "detector": {"kind": kind, "variant": "focus"}, "backbone": backbone,
            "training": training, "augment": False, "crop": 0.1, "maps": None} | more  # fmt: skip


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Eight videos a class, three of them tests; a fake is brighter in the upper left quarter of the window."""
    frames = [
        (kind, f"{video:03d}", 0, "test" if video > 4 else "train")
        for kind in ("original", "Deepfakes")
        for video in range(8)
    ]
    return noise_store(
        tmp_path_factory.mktemp("faces") / "store", frames, rectangle(SIZE, slice(4, 20), slice(4, 20)), size=SIZE
    )


@pytest.fixture(scope="module")
def pairs(store):
    """The reals behind the fakes: the fakes without what was added."""
    fakes = np.flatnonzero(store.manifest["label"] == 1)
    added = np.stack([store.mask(row) for row in fakes])[..., None] // 3
    return Pairs(fakes, store.faces[fakes] - added, {})


def test_perfect_maps_score_as_perfect_and_shuffling_keeps_what_all_fakes_share(store, pairs):
    found = {m.metric: m.value for m in measure(Source("pixel01", store, SIDE, pairs=pairs), 8)}
    assert found["map_auc"] == 1
    assert found["map_iou"] == 1
    assert found["chance_iou"] == pytest.approx(16 * 16 / SIDE**2)
    assert "map_mass_real" not in found  # there is no class-1 map of a difference
    shuffled = {m.metric: m.value for m in measure(Source("pixel01", store, SIDE, pairs=pairs, shuffle=True), 8)}
    assert shuffled["map_auc"] == 1


def test_the_first_mask_of_a_store_is_scored_as_any_other(tmp_path):
    frames = [("original", "0", 0, "test"), ("Deepfakes", "0", 0, "test")]
    mask = rectangle(SIZE, slice(4, 20), slice(4, 20))
    store = noise_store(tmp_path / "store", frames, mask, size=SIZE)
    assert store.manifest["mask"].tolist() == [-1, 0]
    assert {m.metric: m.value for m in measure(Source("true", store, SIDE), 8)}["map_auc"] == 1


def test_maps_are_of_the_training_fakes_and_shuffled_ones_belong_to_another(store, pairs, tmp_path):
    rng = np.random.default_rng(1)
    different = Pairs(pairs.rows, rng.integers(0, 256, pairs.reals.shape, dtype=np.uint8), {})
    own = write_maps(Source("pixel", store, SIDE, pairs=different), tmp_path / "own", frames=4, tests=4, meta={})
    other = Source("pixel", store, SIDE, pairs=different, shuffle=True)
    given = write_maps(other, tmp_path / "other", frames=4, tests=4, meta={})
    manifest = store.manifest.iloc[own.rows]
    assert (manifest.label == 1).all()
    assert (manifest.split == "train").all()
    assert len(own.rows) == 5
    assert not any(np.array_equal(own.of(row), given.of(row)) for row in own.rows)
    assert sorted(map(bytes, own.maps)) == sorted(map(bytes, given.maps))


def test_focus_maps_are_scored_with_the_mass_of_eq_9_and_the_share_of_tokens(store, tmp_path):
    network = focus.build(spec("focus", VIT))
    made = write_maps(Source("focus", store, SIDE, network=network), tmp_path / "m", frames=4, tests=8, meta={"a": 1})
    found = made.measured.set_index("metric").value
    test = np.flatnonzero(store.manifest["split"] == "test")
    images = torch.from_numpy(store.faces[test][:, 4:36, 4:36].copy()).permute(0, 3, 1, 2)
    share = float(network.second_share(images).mean())
    assert found["sobel_interior"] == pytest.approx(min(share, 1 - share), abs=1e-6)
    mass = network.car_maps(images, class_1=True).fused.clamp_min(0).mean((1, 2))
    labels = store.manifest["label"].to_numpy()[test]
    assert found["map_mass_fake"] == pytest.approx(float(mass[labels == 1].mean()), rel=1e-4)
    assert made.meta["a"] == 1
    assert made.meta["without_map"] == 0


def test_true_masks_are_an_arm_whose_targets_are_the_masks(store, tmp_path):
    made = write_maps(Source("true", store, SIDE), tmp_path / "m", frames=4, tests=8, meta={})
    cut = np.stack([np.asarray(store.mask(int(row)))[4:36, 4:36] for row in made.rows])
    assert np.array_equal(made.maps, cut)
    assert made.measured.set_index("metric").value["map_auc"] == 1


def test_whether_eq_4_and_eq_9_agree_is_measured_on_fakes(store):
    network = focus.build(spec("focus", VIT))
    found = {m.metric: m.value for m in measure(Source("focus", store, SIDE, network=network), 8)}
    fakes = np.flatnonzero((store.manifest["split"] == "test") & (store.manifest["label"] == 1))
    images = torch.from_numpy(store.faces[fakes][:, 4:36, 4:36].copy()).permute(0, 3, 1, 2)
    four, nine = (network.car_maps(images, class_1=one).fused.clamp_min(0).numpy() for one in (False, True))
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(four, nine) if a.std() > 0 and b.std() > 0]
    assert found["eq4_eq9"] == pytest.approx(np.mean(expected), abs=1e-5)


@pytest.mark.parametrize("kind", ["attention", "gradcam", "scorecam"])
def test_a_plain_vit_makes_the_maps_of_its_kinds(store, tmp_path, kind):
    source = Source(kind, store, SIDE, network=tokens.build(spec("tokens", VIT)))
    made = write_maps(source, tmp_path / "m", frames=4, tests=8, meta={})
    expected = as_targets(raw_maps(kind, source.faces(made.rows), network=source.network), torch.ones(5), SIDE)
    assert np.abs(made.maps / 255 - expected.numpy()).max() <= 0.5 / 255 + 1e-5


def test_a_window_sees_its_own_part_of_the_map_and_reals_and_margin_are_zero(store, pairs, tmp_path):
    maps = write_maps(Source("pixel01", store, SIDE, pairs=pairs), tmp_path / "m", frames=4, tests=4, meta={})
    inputs = Inputs(store, {"maps": tmp_path / "m"})
    data = focus_evaluation.prepare(spec("focus_evaluation", CNN, maps={"kind": "pixel01"}), inputs).data
    batch = data.__getitems__(range(10))
    fakes = batch["label"] == 1
    bright = batch["image"].float().mean(1) > 115  # what was added
    assert torch.equal(batch["mask"][fakes] > 127, bright[fakes])
    assert not batch["mask"][~fakes].any()
    assert isinstance(data.transform, Supervised)
    assert len(maps.rows) == 5


def test_a_fake_without_a_map_is_not_trained_on(store, pairs, tmp_path):
    few = Pairs(pairs.rows[1:], pairs.reals[1:], {})
    made = write_maps(Source("pixel", store, SIDE, pairs=few), tmp_path / "m", frames=4, tests=4, meta={})
    inputs = Inputs(store, {"maps": tmp_path / "m"})
    data = focus_evaluation.prepare(spec("focus_evaluation", CNN, maps={"kind": "pixel"}), inputs).data
    assert made.meta["without_map"] == 1
    assert pairs.rows[0] not in data.rows
    assert len(data.rows) == 5 + 4


def test_without_maps_the_same_network_learns_from_labels_alone(store):
    made = focus_evaluation.prepare(spec("focus_evaluation", CNN), Inputs(store))
    batch = made.data.__getitems__(range(4))
    loss, _ = made.loss(made.detector, batch)
    loss.backward()
    assert made.detector.map_head.weight.grad is None
    assert "mask" not in batch
    twin = focus_evaluation.build(spec("focus_evaluation", CNN, maps={"kind": "pixel"}))
    assert all(torch.equal(a, b) for a, b in zip(made.detector.parameters(), twin.parameters()))


@pytest.mark.parametrize(("module", "kind"), [(focus, "focus"), (tokens, "tokens")])
def test_networks_that_make_maps_train_on_the_runs_faces(store, module, kind):
    made = module.prepare(spec(kind, VIT), Inputs(store))
    loss, _ = made.loss(made.detector.train(), made.data.__getitems__(range(4)))
    loss.backward()
    assert torch.isfinite(loss)
    assert any(p.grad is not None for p in made.detector.parameters())


def test_maps_that_were_not_made_say_what_to_do(tmp_path):
    with pytest.raises(WorkbookError, match="dvc repro"):
        ForgeryMaps.open(tmp_path)


def test_neighbours_tell_manipulations_apart_where_features_do():
    rng = np.random.default_rng(0)
    kinds = np.repeat(["original", "Deepfakes", "FaceSwap"], 40)
    frames = pd.DataFrame(
        {
            "manipulation": kinds,
            "label": (kinds != "original").astype(int),
            "video": np.tile(np.arange(20), 6).astype(str),
        }
    )
    apart = rng.normal(size=(120, 4)) + 50 * pd.get_dummies(kinds).to_numpy()[:, [0, 1, 2, 0]]
    noise = rng.normal(size=(120, 4))
    assert focus_evaluation.neighbours(apart, frames) == {"neighbours_label": 1, "neighbours_manipulation": 1}
    assert focus_evaluation.neighbours(noise, frames)["neighbours_manipulation"] == pytest.approx(0.5, abs=0.1)
    one = frames.assign(manipulation=np.where(frames.label == 1, "fake", "original"))
    assert "neighbours_manipulation" not in focus_evaluation.neighbours(noise, one)


def test_neighbours_are_measured_on_every_test_set_of_the_evaluation_model(store):
    run = spec("focus_evaluation", CNN)
    found = focus_evaluation.measure(focus_evaluation.build(run).eval(), run, {"ffpp-c40": store}, Inputs(store))
    assert [(each.dataset, each.metric) for each in found] == [("ffpp", "neighbours_label")]
    assert 0 <= found[0].value <= 1
