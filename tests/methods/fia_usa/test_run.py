"""FIA-USA's runs on a tiny store: reconstructions, the ranking before the first step, and what a checkpoint holds."""

import dataclasses

import numpy as np
import pytest
import torch

from dfrepro import params
from dfrepro.data.manifest import Face, FaceStore
from dfrepro.errors import WorkbookError
from dfrepro.figures.fia_usa import pictures as look
from dfrepro.jobs import pipeline
from dfrepro.jobs.train import load_detector, train_run
from dfrepro.methods.fia_usa import run as fia_usa
from dfrepro.methods.fia_usa.reconstruct import Reconstructions, reconstruct, small_reconstructors
from dfrepro.train.draws import training_data
from dfrepro.train.ingredients import Inputs
from tests.photograph import face_landmarks

SIDE = 40


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Inputs:
    """Eight real faces of noise with landmarks, and their reconstructions by untrained networks."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("faces")
    faces = (
        Face(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8), "ffpp", "original", f"{i}", 0, 0, "train",
             face_landmarks(SIDE))
        for i in range(8)
    )  # fmt: skip
    store = FaceStore.write(folder / "ffpp-c23", faces, SIDE, meta={"margin": 0.25})
    reconstruct(store, np.arange(8), small_reconstructors(), folder / "made", progress=False)
    return Inputs(store, {"reconstructions": folder / "made"})


def spec_of(run: str, **detector) -> dict:
    spec = params.load(scale="smoke").spec(run, 0)
    spec["training"] |= {"epochs": 1, "batch": 8, "images_per_epoch": 16}
    spec["detector"] |= detector
    return spec


def test_the_channels_are_ranked_from_the_seed_and_the_network_starts_where_it_would_without(inputs):
    first, again = (fia_usa.prepare(spec_of("fiausa-full"), inputs).detector for _ in range(2))
    untouched = fia_usa.build(spec_of("fiausa-full")).backbone.state_dict()
    for index, other in zip(first.selection.indices, again.selection.indices, strict=True):
        assert (index >= 0).all()
        assert torch.equal(index, other)
    assert all(torch.equal(value, untouched[name]) for name, value in first.backbone.state_dict().items())


def test_the_ranking_is_the_same_on_any_number_of_threads_and_after_any_draws(inputs):
    """Or a figure of it would show other channels than the checkpoint holds."""
    spec = params.load(scale="laptop").spec("fiausa-full", 0)
    spec["training"] |= {"batch": 16, "images_per_epoch": 64}
    spec["backbone"]["image_size"] = 32
    found, before = [], torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        torch.rand(threads)
        found.append(fia_usa.ranking(fia_usa.build(spec), training_data(spec, inputs), spec)[1])
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_options_are_exceptions_from_the_variant_and_an_unknown_one_is_named():
    spec = spec_of("fiausa-full", options={"head": "fpn", "coverage": True, "normalisation": "z-score"})
    variant = fia_usa.build(spec).variant
    assert (variant.head, variant.coverage, variant.normalisation, variant.pcr) == ("fpn", True, "z-score", 2.5)
    with pytest.raises(WorkbookError, match="detector.options has heads"):
        fia_usa.build(spec_of("fiausa-full", options={"heads": "fpn"}))


def test_the_best_cross_entropy_without_micro_masks_is_that_of_a_table_of_counts():
    """1000 pairs of which 400 fakes are known: nothing on them, the best guess on the 1600 faces that are left."""
    fakes, reals = 600, 1000
    best = -(fakes * np.log(fakes / 1600) + reals * np.log(reals / 1600)) / 2000
    assert fia_usa.macro_only("uniform") == pytest.approx(best) == pytest.approx(0.529, abs=5e-4)
    assert fia_usa.macro_only("macro") == fia_usa.macro_only("hull") == 0
    assert fia_usa.macro_only("micro") == pytest.approx(np.log(2))


def test_a_run_measures_what_rcr_reads_and_whether_micro_masks_were_learned(inputs):
    spec = spec_of("fiausa-full")
    detector = fia_usa.prepare(spec, inputs).detector
    found = {entry.metric: entry.value for entry in fia_usa.measure(detector, spec, {}, inputs)}
    assert found.keys() == {"cross_entropy", "rcr_pairs", "below_macro"}
    assert found["below_macro"] == pytest.approx(fia_usa.macro_only("uniform") - found["cross_entropy"])
    spec["data"]["forge"] = {"kinds": "hull"}
    whole = {entry.metric: entry.value for entry in fia_usa.measure(detector, spec, {}, inputs)}
    assert whole.keys() == {"cross_entropy", "rcr_pairs"}
    assert found["rcr_pairs"] < whole["rcr_pairs"] == 1


def test_a_checkpoint_holds_the_ranking_and_the_history_the_parts_of_the_loss(inputs, tmp_path):
    spec = spec_of("fiausa-full")
    train_run(spec, inputs, tmp_path / "run", resume=tmp_path / "resume")
    ranked = fia_usa.prepare(spec, inputs).detector
    loaded = load_detector(tmp_path / "run")
    for index, other in zip(loaded.selection.indices, ranked.selection.indices, strict=True):
        assert torch.equal(index, other)
    columns = (tmp_path / "run" / "history.csv").read_text().splitlines()[0].split(",")
    assert {"ce", "pcr", "icr", "skipped"} <= set(columns)


@pytest.mark.parametrize(
    "run",
    [
        "fiausa-no-fiausa",
        "fiausa-no-rcr",
        "fiausa-random-channels",
        "fiausa-no-mtms",
        "fiausa-macro",
        "fiausa-coverage",
        "fiausa-full-fpn",
        "fiausa-no-rcr-fpn",
    ],
)
def test_every_kind_of_arm_trains(inputs, tmp_path, run):
    last = train_run(spec_of(run), inputs, tmp_path / "run", resume=tmp_path / "resume")
    assert np.isfinite(last["loss"])


def test_without_reconstructions_the_error_names_the_folder(inputs, tmp_path):
    with pytest.raises(WorkbookError, match="reconstructions"):
        fia_usa.prepare(
            spec_of("fiausa-full"), dataclasses.replace(inputs, folders={"reconstructions": tmp_path / "x"})
        )


def test_the_stage_reconstructs_every_training_real_and_no_other_face(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(params.Params, "artifacts", tmp_path)
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "ffpp-c23").symlink_to(inputs.store.path)
    pipeline.reconstruct(params.load(scale="smoke"), "ffpp-c23")
    made = Reconstructions.open(tmp_path / "reconstructions" / "ffpp-c23", inputs.store)
    assert list(made.rows) == list(range(8))
    assert set(made.of(3)) == {"ae", "sr"}
    assert not (tmp_path / ".resume" / "reconstructions" / "ffpp-c23").exists()


def test_at_paper_scale_missing_weights_are_an_error_that_names_them(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(params.Params, "artifacts", tmp_path)
    monkeypatch.setattr(pipeline, "_store", lambda *_: inputs.store)
    with pytest.raises(WorkbookError, match="autoencoder's files are not there"):
        pipeline.reconstruct(params.load(scale="paper"), "ffpp-c23")


def test_only_one_of_the_two_pretrained_reconstructors_is_an_error():
    with pytest.raises(ValueError, match="both|neither"):
        params.Reconstruction(autoencoder="somewhere")


def test_cells_are_inside_outside_or_dropped_as_rcr_has_them():
    mask = np.zeros((1, 16, 16), np.float32)
    mask[0, :10, :10] = 1
    grid = look.cells(mask, 4)[0]
    assert (grid[:2, :2] == 1).all()
    assert (grid[3] == 0).all()
    assert (grid[2, :3] == 0.5).all()


def test_a_chosen_pseudo_fake_changes_its_region_alone(inputs):
    row = 0
    made = Reconstructions.open(inputs.folder("reconstructions"), inputs.store).of(row)
    face = look.RealFace(np.asarray(inputs.store.faces[row]), face_landmarks(SIDE), made)
    for kind in look.KINDS:
        pair = look.forge(face, kind, "ae", seed=1)
        assert (pair.real == pair.fake)[pair.mask == 0].all()
        assert (pair.real != pair.fake)[pair.mask > 0.5].any()
    assert look.mask_flow(face, "eyes", 3, seed=0).soft.shape == (3, SIDE, SIDE)


def test_channels_are_ranked_after_five_epochs():
    assert fia_usa.RANKED_EPOCHS == 5  # Appendix E.3
