"""The sweep: everything once, what needs another's result after it, and a failure stops nobody else."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from dfrepro import params, sweep
from dfrepro.errors import WorkbookError
from dfrepro.files import write_json
from dfrepro.study import trained

P = params.load(scale="laptop", grid="full")
ALL = [run for run in P.runs if P.in_grid(run)]


@pytest.fixture
def made(monkeypatch):
    """Threads for processes, and a list of what was made in place of the making."""
    made = []

    def make(p, task):
        made.append(task)
        if task[1] == "erm-fs":
            raise FloatingPointError("the loss is nan")
        return task[1] != "erm-df"

    monkeypatch.setattr(sweep, "_workers", lambda jobs: ThreadPoolExecutor(jobs))
    monkeypatch.setattr(sweep, "_data", lambda p, chosen: None)
    monkeypatch.setattr(sweep, "_make", make)
    return made


def test_every_run_of_the_grid_is_made_once_and_whatever_it_needs_before_it():
    waves = sweep.waves(P, ALL)
    order = [task for wave in waves for task in wave]
    assert len(order) == len(set(order))
    assert {name for kind, name, _ in order if kind == "run"} == set(ALL)
    place = {(kind, name): n for n, wave in enumerate(waves) for kind, name, _ in wave}
    for run in ALL:
        if maps := P.run(run).detector.maps:
            assert place["maps", maps] < place["run", run]
            if network := P.maps[maps].run:
                assert place["run", network] < place["maps", maps]


def test_a_run_supervised_by_maps_brings_their_network_along():
    assert sweep.waves(P, ["focus-eval-focus"]) == [
        [("run", "focus-map-focus", 0)], [("maps", "focus", 0)], [("run", "focus-eval-focus", 0)],
    ]  # fmt: skip


def test_only_what_matches_is_made_and_what_was_there_is_not_counted(made):
    assert sweep.sweep(P, ["erm-df", "erm-n?"], jobs=2) == 1
    assert sorted(name for _, name, _ in made) == ["erm-df", "erm-nt"]


def test_a_run_that_fails_is_named_when_all_others_are_done(made):
    with pytest.raises(WorkbookError, match="1 failed: run erm-fs with seed 0"):
        sweep.sweep(P, ["erm-*"], jobs=2)
    assert len(made) == len([run for run in ALL if run.startswith("erm-")])


def test_a_pattern_that_matches_nothing_is_an_error(made):
    with pytest.raises(WorkbookError, match=r"no run is called 'pimm-\*'"):
        sweep.sweep(P, ["pimm-*"])
    assert made == []


def test_dvc_is_told_of_the_stages_whose_results_are_there_and_of_no_other(tmp_path):
    (tmp_path / "dvc.yaml").write_text(
        """stages:
  standin: {cmd: python -m dfrepro standin, outs: ["artifacts/${scale}/standin"]}
  train:
    matrix: {run: [a, b], seed: "${seeds}"}
    cmd: python -m dfrepro train ${item.run} --seed ${item.seed}
    outs: ["artifacts/${scale}/runs/${item.run}/${item.seed}"]
"""
    )
    for made in ("standin", "runs/a/1", "runs/b/0"):
        (tmp_path / "artifacts" / "smoke" / made).mkdir(parents=True)
    write_json(tmp_path / "artifacts" / "smoke" / "runs" / "b" / "1.json", {})  # not the folder
    words = {"scale": "smoke", "seeds": [0, 1]}
    assert trained(tmp_path, "dvc.yaml", words) == ["dvc.yaml:train@a-1", "dvc.yaml:train@b-0"]
