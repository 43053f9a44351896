"""DVC from inside: the releases with which the runner is known to do what `dvc repro` does."""

import subprocess

import dvc
import pytest

from dfrepro import params, places
from dfrepro.__main__ import main
from dfrepro.files import ROOT
from dfrepro.jobs import runner
from dfrepro.jobs.graph import VERSIONS, Pipeline
from dfrepro.report import curves

LAPTOP = params.load(scale=params.declared_scale())


def test_the_release_of_dvc_is_one_that_the_runner_is_known_to_work_with():
    assert dvc.__version__.startswith(tuple(f"{version}." for version in VERSIONS)), (
        "dfrepro/jobs/graph.py uses a stage's changed, save, commit and dump_stages and the run cache's restore: "
        "run tests/jobs/test_runner.py with this release of DVC, then add it to VERSIONS"
    )


def test_plain_dvc_sees_the_core_grid_and_the_runner_both():
    """With both, `dvc status` of a clone that is up to date lists seven thousand lines."""
    done = subprocess.run(["dvc", "stage", "list", "--all", "--name-only"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with Pipeline(ROOT, whole=False) as core:
        assert set(done.stdout.split()) == core.nodes.keys()
    with Pipeline(ROOT) as both:
        more = both.nodes.keys() - core.nodes.keys()
    assert {name.partition(":")[0] for name in more} == {"grid/dvc.yaml"}
    assert both.nodes["grid"].after == more


@pytest.mark.parametrize(("grid", "shown"), [("core", False), ("full", True)])
def test_with_the_full_grid_dvc_itself_sees_it_so_that_it_is_pushed_and_kept(tmp_path, monkeypatch, grid, shown):
    (tmp_path / ".dvcignore").touch()
    monkeypatch.setattr(places, "GRID_LOCK", tmp_path / "dvc.lock")
    monkeypatch.setattr(params, "load", lambda: given)
    monkeypatch.setattr(runner, "repro", lambda *_, **__: runner.Report())
    monkeypatch.setattr(curves, "gather", lambda p: None)
    monkeypatch.delenv("DFREPRO_SCALE", raising=False)
    given = LAPTOP.model_copy(update={"grid": grid})
    assert main(["repro"]) == 0
    assert (tmp_path / ".dvcignore").exists() != shown
