"""Paper scale runs: every run's real data path, network, step and scoring, at the papers' own sizes on the CPU."""

import os

import pytest

from dfrepro import params
from dfrepro.errors import WorkbookError
from dfrepro.jobs import rehearse

# one a kind of detector, and of pseudo-fakes, by the lightest network that a run of that kind has
KINDS = [
    "erm-ffpp-resnet",
    "sam-sbi",
    "pel-full-wdf",
    "fiausa-full-256",
    "focus-map-focus",
    "focus-eval-pixel",
    "fpg-full",
]
P = params.load(scale="paper", grid="full")


def test_what_is_rehearsed_is_paper_scale_but_for_what_makes_it_small(tmp_path):
    small = rehearse.small(tmp_path)
    for run in P.runs:
        spec, real = small.spec(run, 0), P.spec(run, 0)
        assert spec["backbone"] == real["backbone"] | {"pretrained": False}
        assert {key: spec[key] for key in ("detector", "step", "augment", "crop")} == {
            key: real[key] for key in ("detector", "step", "augment", "crop")
        }
        same = spec["training"].keys() - rehearse.SMALL.keys()
        assert {key: spec["training"][key] for key in same} == {key: real["training"][key] for key in same}
    assert small.sizes.faces.size == P.sizes.faces.size
    assert small.artifacts.is_relative_to(tmp_path)
    assert small.results.is_relative_to(tmp_path)


def test_every_stage_has_a_process_of_its_own_that_ends_with_it():
    with rehearse.OneProcessEach(1) as processes:
        seen = [processes.submit(os.getpid).result(timeout=60) for _ in range(3)]
    assert len({*seen, os.getpid()}) == 4


def test_a_run_that_there_is_not_is_an_error(tmp_path):
    with pytest.raises(WorkbookError, match="no run is called nothing"):
        rehearse.rehearse(["nothing"], tmp_path)


@pytest.mark.timeout(1800)
def test_a_run_of_every_kind_passes(tmp_path):
    rows = rehearse.rehearse(KINDS, tmp_path).set_index("run")
    assert set(rows.index) == set(KINDS)
    assert rows.passed.all(), rows.why[~rows.passed].to_dict()
    assert (rows["GFLOP a step"] > 10).all()
    assert rows.GiB.between(0.2, 20).all()
    again = rehearse.rehearse(KINDS[:1], tmp_path)  # what is there is not done again
    assert again.passed.all()


@pytest.mark.long
@pytest.mark.timeout(6 * 3600)
def test_every_run_passes(tmp_path):
    rows = rehearse.rehearse(["*"], tmp_path).set_index("run")
    assert set(rows.index) == set(P.runs)
    assert rows.passed.all(), rows.why[~rows.passed].to_dict()
