"""Measuring the calibration: what a run is tested on, and where each draw of the stand-in lies."""

import numpy as np
import pandas as pd
import pytest

from dfrepro import params, places
from dfrepro.data.standin import VERSION
from dfrepro.report import calibrate
from dfrepro.report.calibration import cells


@pytest.fixture(scope="module")
def study() -> params.Params:
    return params.load(scale="study")


def test_every_generator_seed_has_a_folder_of_its_own(study: params.Params) -> None:
    one, two = (calibrate.drawn(study, generator) for generator in (1, 2))
    assert (one.sizes.standin.seed, two.sizes.standin.seed) == (1, 2)
    assert one.artifacts != two.artifacts != study.artifacts
    assert one.artifacts.name == f"{VERSION}-study-1"
    assert places.faces_folder(one, "cdfv2").is_relative_to(one.artifacts)
    assert one.root("cdfv2").is_relative_to(one.artifacts)


@pytest.mark.parametrize(("run", "own"), [("erm-ffpp", "ffpp-c23"), ("pel-rgb", "ffpp-c40")])
def test_a_run_is_tested_on_what_its_cells_read_in_its_own_compression(
    run: str, own: str, study: params.Params
) -> None:
    mine = cells()[cells().run == run]
    changed = calibrate.testing(study, run, mine).run(run)
    assert own in changed.tests
    assert {study.datasets[name].layout for name in changed.tests} == set(mine.test)
    assert len(changed.tests) == mine.test.nunique()
    assert set(changed.conditions) == set(mine.condition) - {"clean"}


def test_what_is_there_is_measured_without_training(
    study: params.Params, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = calibrate.drawn(study, 0).model_copy(update={"artifacts": tmp_path})
    monkeypatch.setattr(calibrate, "drawn", lambda p, generator: here)
    for folder in (places.faces_folder(here, "ffpp-c23"), places.run_folder(here, "erm-df", 3)):
        folder.mkdir(parents=True)
    scores = places.scores_folder(here, "erm-df", 3)
    scores.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = [
        ("ffpp", manipulation, str(video), 0, int(manipulation != "original"), condition, rng.random())
        for condition in ("clean", "shifted")
        for manipulation in ("original", "Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
        for video in range(5)
    ]
    columns = ["dataset", "manipulation", "video", "frame", "label", "condition", "score"]
    pd.DataFrame(rows, columns=columns).to_parquet(scores / "scores.parquet")
    measured = calibrate.measure(study, 0, 3, ["erm-df"])
    assert list(measured.cell) == list(cells().cell[cells().run == "erm-df"])
    assert measured.value.between(-1, 1).all()
