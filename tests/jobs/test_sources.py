"""Code that changes under a process or under a killed training is noticed."""

import shutil

import pytest
import yaml

from dfrepro import params, places
from dfrepro.files import ROOT
from dfrepro.jobs import pipeline, sources


@pytest.mark.parametrize("file", ["nets/pim.py", "methods/pel/median.py", "data/dataset.py", "train/new.py"])
def test_a_line_in_what_trainings_depend_on_changes_their_digest_and_a_plot_does_not(tmp_path, file):
    library = shutil.copytree(ROOT / "dfrepro", tmp_path / "dfrepro", ignore=shutil.ignore_patterns("__pycache__"))
    assert sources.digest(library=library) == sources.digest()
    (library / "report" / "plots.py").write_text("# a plot decides no weights")
    assert sources.digest(library=library) == sources.digest()
    with (library / file).open("a") as source:
        source.write("# another line\n")
    assert sources.digest(library=library) != sources.digest()


def test_the_digest_is_of_what_dvc_has_as_the_trainings_dependencies():
    declared = [yaml.safe_load((ROOT / folder / "dvc.yaml").read_text())["stages"] for folder in (".", "grid")]
    stages = [stage for found in declared for name, stage in found.items() if name.startswith("train")]
    deps = {dep.removeprefix("dfrepro/") for stage in stages for dep in stage["deps"] if dep.startswith("dfrepro/")}
    assert all(any(f"{dep}/".startswith(f"{name}/") for name in sources.TRAINING) for dep in deps)
    assert all(any(f"{dep}/".startswith(f"{name}/") for dep in deps) for name in sources.TRAINING)


def test_a_file_that_is_changed_added_or_removed_after_the_import_is_named(tmp_path, monkeypatch):
    for name in ("kept", "edited", "removed"):
        (tmp_path / f"{name}.py").write_text("x = 1")
    monkeypatch.setattr(sources, "IMPORTED", sources.stamps(tmp_path))
    monkeypatch.setattr(sources.stamps, "__defaults__", (tmp_path,))
    assert sources.changed() == []
    (tmp_path / "edited.py").write_text("x = 22")
    (tmp_path / "removed.py").unlink()
    (tmp_path / "added.py").write_text("")
    assert sources.changed() == ["added.py", "edited.py", "removed.py"]


@pytest.fixture
def training(tmp_path, monkeypatch):
    """`pipeline.train` without a network: notes which states it finds, and is killed the first time."""
    p = params.load(scale="smoke")
    monkeypatch.setattr(params.Params, "artifacts", tmp_path)
    monkeypatch.setattr(pipeline, "inputs", lambda *_: None)
    found = []

    def train_run(spec, inputs, out, *, resume):
        resume.mkdir(parents=True, exist_ok=True)
        found.append([path.name for path in resume.iterdir()])
        if len(found) == 1:
            (resume / "state.safetensors").write_bytes(b"half-way")
            raise KeyboardInterrupt
        return {"seconds": 1.0}

    monkeypatch.setattr("dfrepro.jobs.train.train_run", train_run)
    with pytest.raises(KeyboardInterrupt):
        pipeline.train(p, "focus-map-focus", 0)
    return p, found


def test_a_killed_training_goes_on_and_leaves_no_state(training):
    p, found = training
    pipeline.train(p, "focus-map-focus", 0)
    assert found == [[], ["state.safetensors"]]
    assert not (p.artifacts / ".resume" / "runs" / "focus-map-focus-0").exists()


def test_a_killed_training_does_not_go_on_by_other_code(training, monkeypatch):
    p, found = training
    monkeypatch.setattr(sources, "digest", lambda: "of another line")
    pipeline.train(p, "focus-map-focus", 0)
    assert found == [[], []]


def test_a_training_that_begins_leaves_no_scores_and_no_maps_of_the_weights_before(training):
    p, _ = training
    folders = [places.scores_folder(p, "focus-map-focus", 0), places.maps_folder(p, "focus", 0)]
    others = [places.scores_folder(p, "erm-df", 0), places.maps_folder(p, "attention", 0)]
    for folder in folders + others:
        folder.mkdir(parents=True)
    pipeline.train(p, "focus-map-focus", 0)
    assert not any(folder.exists() for folder in folders)
    assert all(folder.exists() for folder in others)
