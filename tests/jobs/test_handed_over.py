"""What dfrepro/jobs/pipeline.py hands to each stage's function, value by value.

DVC does not see that file: every stage would depend on it, and a word in a notebook's helper would train everything
again. What it hands over decides results, so each value is pinned here to the parameter, the artifact or the folder
that the stage declares. Another value needs this test changed, and every stage of that verb run again.
"""

import json
from types import SimpleNamespace

import pytest
import torch

from dfrepro import params, places
from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT
from dfrepro.jobs import pipeline

P = params.load(scale="laptop", grid="full")
META = {"size": 128, "margin": 0.25, "n_frames": 8}


@pytest.fixture
def p(monkeypatch, tmp_path):
    """The laptop's parameters, with every face store the dataset's name and its meta, and artifacts in a folder."""
    monkeypatch.setattr(params.Params, "artifacts", tmp_path)
    monkeypatch.setattr(params.Params, "results", tmp_path / "results")
    monkeypatch.setattr(pipeline, "_store", lambda p, name: SimpleNamespace(name=name, meta=META, manifest=name))
    return params.load(scale="laptop", grid="full")


@pytest.fixture
def handed(monkeypatch):
    """`handed(target, answer)` puts a recorder in place of a function, and returns the list of its calls."""

    def record(target, answer=None):
        calls = []

        def called(*args, **kwargs):
            calls.append((args, kwargs, torch.get_num_threads()))
            return answer

        monkeypatch.setattr(target, called)
        return calls

    return record


def test_a_scoring_gets_the_declared_sets_reals_conditions_frames_and_batch(p, handed):
    calls = handed("dfrepro.jobs.evaluate.evaluate_run", {})
    for run in ("pel-full", "fpg-full", "erm-df"):
        pipeline.evaluate(p, run, 3)
        (trained, stores, inputs, out), options, threads = calls.pop()
        assert trained == places.run_folder(p, run, 3)
        assert out == places.scores_folder(p, run, 3)
        assert {name: store.name for name, store in stores.items()} == {name: name for name in p.tests(run)}
        assert inputs.store.name == p.run(run).data.dataset
        sizes = p.evaluation(run)
        assert options == {
            "batch": sizes.batch, "frames": sizes.frames, "conditions": p.run(run).conditions, "reals": {},
        }  # fmt: skip
        assert threads == p.sizes.threads


def test_a_set_without_reals_of_its_own_is_scored_with_those_that_it_declares(p, handed):
    calls = handed("dfrepro.jobs.evaluate.evaluate_run", {})
    tests = p.run("erm-df").model_copy(update={"tests": ("ffpp-c23", "df40")})
    there = p.model_copy(update={"runs": {**p.runs, "erm-df": tests}, "roots": {**p.roots, "df40": "/copies/df40"}})
    pipeline.evaluate(there, "erm-df", 0)
    assert calls[0][1]["reals"] == {"df40": "ffpp-c23"}
    alone = tests.model_copy(update={"tests": ("df40",)})
    with pytest.raises(WorkbookError, match="is not tested on ffpp-c23"):
        pipeline.evaluate(there.model_copy(update={"runs": {**p.runs, "erm-df": alone}}), "erm-df", 0)


def test_a_training_gets_its_specification_and_the_artifacts_of_its_kind(p, handed):
    calls = handed("dfrepro.jobs.train.train_run", {"seconds": 1.0})
    for run in ("pim-df", "fiausa-full", "focus-eval-focus"):
        pipeline.train(p, run, 2)
        (spec, inputs, out), options, threads = calls.pop()
        assert spec == p.spec(run, 2)
        assert out == places.run_folder(p, run, 2)
        assert inputs.store.name == p.run(run).data.dataset
        assert inputs.folders["reconstructions"] == places.reconstructions_folder(p, inputs.store.name)
        maps = p.run(run).detector.maps
        assert inputs.folders.get("maps") == (places.maps_folder(p, maps, 2) if maps else None)
        assert options == {"resume": p.artifacts / ".resume" / "runs" / f"{run}-2"}
        assert threads == p.sizes.threads


def test_a_start_is_trained_on_its_own_set_with_its_specification(p, handed):
    calls = handed("dfrepro.jobs.train.train_run")
    study = params.load(scale="study", grid="full")
    for name in study.sizes.starts:
        pipeline.start(study, name, 5)
        (spec, inputs, out), _, threads = calls.pop()
        assert spec == study.start_spec(name, 5)
        assert inputs.store.name == spec["data"]["dataset"]
        assert out == places.start_folder(study, name, 5)
        assert threads == study.sizes.threads
    trained = {run: study.sizes.backbones[study.run(run).detector.backbone].start for run in study.runs}
    run = next(run for run, start in trained.items() if start)
    assert pipeline.inputs(study, run, 5).folders["start"] == places.start_folder(study, trained[run], 5)


def test_maps_are_made_of_the_declared_kind_by_the_declared_network_of_the_same_seed(p, handed, monkeypatch):
    networks, made = handed("dfrepro.jobs.train.load_detector", torch.nn.Identity()), []
    monkeypatch.setattr("dfrepro.data.pairs.Pairs.open", lambda folder: folder)
    monkeypatch.setattr("dfrepro.methods.focus.maps.write_maps", lambda *a, **k: made.append((*a, k)))
    for name in ("focus", "shuffled", "pixel"):
        pipeline.maps(p, name, 4)
        source, out, options = made.pop()
        declared, dataset = p.maps[name], p.maps_dataset(name)
        assert (source.kind, source.store.name, source.shuffle, source.seed) == (
            declared.kind, dataset, declared.shuffled, 4,
        )  # fmt: skip
        assert [call[0] for call in networks] == ([(places.run_folder(p, declared.run, 4),)] if declared.run else [])
        networks.clear()
        assert source.pairs == (None if declared.run else places.pairs_folder(p, dataset))
        assert out == places.maps_folder(p, name, 4)
        frames = p.training(declared.run).frames if declared.run else META["n_frames"]
        assert options == {
            "frames": frames, "tests": p.sizes.evaluation.frames, "meta": pipeline.maps_meta(p, name, 4),
        }  # fmt: skip


def test_a_reading_of_equation_4_reaches_the_network(p, monkeypatch):
    read = []
    network = SimpleNamespace(to=lambda device: network, read_as=read.append)
    monkeypatch.setattr("dfrepro.jobs.train.load_detector", lambda folder: network)
    monkeypatch.setattr("dfrepro.methods.focus.maps.write_maps", lambda *a, **k: None)
    pipeline.maps(p, "positive-hq", 0)
    assert read == [p.maps["positive-hq"].reading] == ["positive"]


def test_faces_are_extracted_from_the_declared_layout_at_the_scales_size(p, handed, monkeypatch):
    calls = handed("dfrepro.data.faces.extract", [1])
    asked = []
    videos = SimpleNamespace(videos=lambda root, compression: asked.append((root, compression)) or ["v"])
    monkeypatch.setattr("dfrepro.data.layouts.layout", lambda name: asked.append(name) or videos)
    pipeline.faces(p, "ffpp-c40")
    assert asked == ["ffpp", (p.root("ffpp-c40"), "c40")]
    ((videos, out), options, _) = calls[0]
    assert (videos, out) == (["v"], places.faces_folder(p, "ffpp-c40"))
    sizes = p.sizes.faces
    assert (options["n_frames"], options["size"], options["margin"], options["predictor"]) == (
        sizes.n_frames, sizes.size, sizes.margin, None,
    )  # fmt: skip


def test_pairs_are_cut_for_the_declared_sets_own_videos(p, handed, monkeypatch):
    calls = handed("dfrepro.data.pairs.write_pairs", SimpleNamespace(rows=[], report={"fakes": 0, "missing": []}))
    reader = SimpleNamespace(videos=lambda root, compression: (root, compression))
    monkeypatch.setattr("dfrepro.data.layouts.layout", lambda name: reader)
    pipeline.pairs(p, "ffpp-c40")
    ((store, videos, out), _, _) = calls[0]
    assert (store.name, videos, out) == (
        "ffpp-c40", (p.root("ffpp-c40"), "c40"), places.pairs_folder(p, "ffpp-c40"),
    )  # fmt: skip


def test_training_reals_are_reconstructed_by_networks_of_the_declared_number_of_steps(p, handed, monkeypatch):
    chosen = handed("dfrepro.data.dataset.select", "rows")
    trained = handed("dfrepro.methods.fia_usa.reconstruct.train_reconstructors")
    handed("dfrepro.methods.fia_usa.reconstruct.load_reconstructors", "networks")
    calls = handed("dfrepro.methods.fia_usa.reconstruct.reconstruct")
    pipeline.reconstruct(p, "ffpp-c23")
    assert chosen[0][:2] == (("ffpp-c23",), {"split": "train", "label": 0})
    assert trained[0][1] == {"steps": p.sizes.reconstruction.steps}
    (store, reals, networks, out), _, _ = calls[0]
    assert (store.name, reals, networks) == ("ffpp-c23", "rows", "networks")
    assert out == places.reconstructions_folder(p, "ffpp-c23")


def test_the_controls_are_of_the_stand_in_and_say_so_where_a_copy_stands_in_its_place(p, handed):
    calls = handed("dfrepro.data.standin.controls.run", {"border": 0.5})
    file = places.results_folder(p) / "controls.json"
    pipeline.controls(p)
    (store, tree), _, _ = calls[0]
    assert (store.name, tree) == ("ffpp-c23", p.artifacts / "standin")
    assert json.loads(file.read_text()) == {"border": 0.5}
    pipeline.controls(p.model_copy(update={"roots": {**p.roots, "ffpp": "/copies/ffpp"}}))
    assert "not it" in json.loads(file.read_text())["note"]


def test_the_verbs_of_stages_that_decide_results_are_all_pinned_here():
    verbs = {
        line.split()[4]
        for file in ("dvc.yaml", "grid/dvc.yaml")
        for line in (ROOT / file).read_text().splitlines()
        if line.strip().startswith("cmd:")
    }
    shown = {"notebook", "code", "embed", "grid"}  # what is made of results, and decides none
    pinned_elsewhere = {"standin"}  # tests/jobs/test_pipeline.py
    pinned = {"faces", "controls", "reconstruct", "pairs", "start", "train", "maps", "evaluate"}
    assert verbs - shown - pinned_elsewhere == pinned
