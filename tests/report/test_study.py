"""The study: the same pipeline with other words, apart from what a newcomer makes, until its claims are decided."""

import os
import signal
import subprocess
import sys
import threading

import pandas as pd
import pytest
import yaml

from dfrepro import params
from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT, read_json, write_json
from dfrepro.report import study
from dfrepro.report.agenda import agenda, need
from dfrepro.report.collect import _read_kept, add, write
from dfrepro.report.schema import load_claims

WORDS = {"scale": "study", "grid": "full", "seeds": [1, 2]}
CLAIMS = load_claims()
P = params.load(scale="study", grid="full")


def test_words_are_replaced_and_nothing_else_changes():
    before = (ROOT / "params.yaml").read_text()
    after = study.with_words(before, WORDS)
    assert yaml.safe_load(after) == yaml.safe_load(before) | WORDS
    others = [line for line in before.replace("seeds:\n- 0\n", "").splitlines() if line[:6] not in ("scale:", "grid: ")]
    assert [line for line in after.splitlines() if not line.startswith(("scale:", "grid:", "seeds:"))] == others
    assert after.count("#") == before.count("#")


def test_a_word_that_is_not_there_is_an_error():
    with pytest.raises(WorkbookError, match="0 lines that give grid"):
        study.with_words("scale: laptop\n", {"grid": "core"})


def test_another_draw_changes_the_stand_ins_seed_alone():
    before = (ROOT / "scales" / "study.yaml").read_text()
    after = yaml.safe_load(study.with_draw(before, 3))
    assert after["standin"].pop("seed") == 3
    plain = yaml.safe_load(before)
    del plain["standin"]["seed"]
    assert after == plain
    with pytest.raises(WorkbookError, match="stand-in's seed"):
        study.with_draw("standin: {}\n", 3)


def test_five_seeds_share_a_draw_of_the_stand_in():
    assert [study.generator(seed) for seed in (1, 5, 6, 10, 11, 40)] == [0, 0, 1, 1, 2, 7]


# --- what is run, and in which order ------------------------------------------------------------------------------


def test_a_claim_needs_its_runs_and_the_networks_behind_their_maps():
    claim = next(claim for claim in CLAIMS if claim.title == "FoCus 14")
    found = need(claim, P)
    assert {"focus-eval-rgb", "focus-eval-rgb2"} <= found.runs
    assert {"rgb", "rgb2"} <= found.maps
    assert {P.maps["rgb"].run, P.maps["rgb2"].run} <= found.runs
    assert "evaluate*@focus-eval-rgb-3" in found.stages(3)
    assert "maps*@rgb-3" in found.stages(3)


def test_every_testable_claim_is_on_the_agenda_until_it_is_decided_and_the_cheapest_is_first():
    testable = {claim.title for claim in CLAIMS if claim.testable}
    items = agenda(CLAIMS, P)
    assert {item.claim.title for item in items} == testable
    assert all(item.need.runs for item in items)
    first = items[0].claim.title
    assert items[0].seconds == min(len(need(claim, P).runs) for claim in CLAIMS if claim.testable) * 120
    assert first not in {item.claim.title for item in agenda(CLAIMS, P, decided={first})}


def test_a_run_that_an_earlier_claim_asks_for_costs_a_later_one_nothing():
    items, asked = agenda(CLAIMS, P, seconds={"pel-rgb": 1.0}), set()
    for item in items:
        new = item.need.runs - asked
        assert item.seconds == sum(1.0 if run == "pel-rgb" else 120.0 for run in new)
        asked |= item.need.runs
    assert sum(item.seconds for item in items) == 120.0 * (len(asked) - 1) + 1.0


def test_a_pattern_that_names_no_claim_is_an_error():
    with pytest.raises(WorkbookError, match="no claim is called 'PEL'"):
        study.left(["PEL"])
    assert {item.claim.title.partition(" ")[0] for item in study.left(["PEL *"])} == {"PEL"}


# --- the clones ---------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A repository of three files in place of this one."""
    root = tmp_path / "root"
    root.mkdir()
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("")
    (root / "params.yaml").write_text("scale: laptop # of three\ngrid: core\nseeds: [0]\n")
    (root / "scales").mkdir()
    (root / "scales" / "study.yaml").write_text("standin: {seed: 0, train: 2}\n")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=root, check=True)
    monkeypatch.setattr(study, "ROOT", root)
    monkeypatch.setattr(study, "CLONES", root / "build" / "study")
    monkeypatch.setattr(study, "RESULTS", root / "results" / "study")
    return root


def test_the_clone_has_the_words_and_the_repository_keeps_its_own(elsewhere):
    for _ in range(2):  # a second time goes on
        study.prepare(4, [1, 2])
    clone = study.CLONES / "4"
    assert yaml.safe_load((clone / "params.yaml").read_text()) == WORDS
    assert yaml.safe_load((clone / "scales" / "study.yaml").read_text())["standin"]["seed"] == 4
    assert yaml.safe_load((elsewhere / "params.yaml").read_text())["seeds"] == [0]
    assert str(elsewhere / ".dvc" / "cache") in (clone / ".dvc" / "config.local").read_text()


def test_what_was_found_stays_when_the_repository_goes_on(elsewhere):
    """Git took away the metrics of runs that an old commit held and a new one did not."""

    def commit():
        for words in (["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "x"]):
            subprocess.run(["git", *words], cwd=elsewhere, check=True)

    metrics = elsewhere / "results" / "study" / "metrics"
    clone = study.CLONES / "0"
    write_json(metrics / "erm-1.json", {"cdfv2": 0.5})
    write_json(elsewhere / "results" / "bench.json", {"at": "old"})
    (elsewhere / "dvc.lock").write_text("schema: '2.0'\nstages: {data: {cmd: old}}\n")
    (elsewhere / ".gitignore").write_text("build/\n")
    commit()
    study.prepare(0, [1, 2])
    write_json(clone / "results" / "study" / "metrics" / "erm-2.json", {"cdfv2": 0.75})
    (clone / "dvc.lock").write_text("schema: '2.0'\nstages: {data: {cmd: old}, train@erm-2: {cmd: train}}\n")
    (metrics / "erm-1.json").unlink()
    write_json(metrics / "erm-0.json", {"cdfv2": 0.25})
    write_json(elsewhere / "results" / "bench.json", {"at": "new"})
    (elsewhere / "dvc.lock").write_text("schema: '2.0'\nstages: {data: {cmd: new}}\n")
    commit()
    study.prepare(0, [1, 2])
    found = {path.stem for path in (clone / "results" / "study" / "metrics").glob("*.json")}
    assert found == {"erm-0", "erm-1", "erm-2"}
    assert read_json(clone / "results" / "bench.json") == {"at": "new"}
    said = yaml.safe_load((clone / "dvc.lock").read_text())["stages"]
    assert said == {"data": {"cmd": "new"}, "train@erm-2": {"cmd": "train"}}
    assert not (clone / "build" / "results").exists()


def evidence(run: str, seed: int, draw: int, margin: float = 0.5) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What was measured and scored of one video."""
    about = {"run": run, "seed": seed, "generator": draw}
    measured = pd.DataFrame([about | {"dataset": "train", "metric": "train_steps", "value": 9.0}])
    video = {
        "dataset": "dfd",
        "condition": "clean",
        "manipulation": "original",
        "video": "001",
        "label": 0,
        "frame": -1,
    }
    return measured, pd.DataFrame([about | video | {"frame": -1, "margin": margin}])


def test_evidence_of_another_machine_stays_but_for_the_runs_that_are_made_again(tmp_path):
    for run, seed, margin in (("erm-df", 1, 0.25), ("erm-df", 2, 0.5), ("pel-rgb", 1, 0.75)):
        write(tmp_path / "new", *evidence(run, seed, 0, margin))
        add(tmp_path / "new", tmp_path / "kept")
    write(tmp_path / "new", *evidence("erm-df", 1, 0, 0.125))
    add(tmp_path / "new", tmp_path / "kept")
    measured, scores = _read_kept(tmp_path / "kept")
    said = {(row.run, row.seed): row.margin for row in scores.itertuples()}
    assert said == {("erm-df", 1): 0.125, ("erm-df", 2): 0.5, ("pel-rgb", 1): 0.75}
    assert sorted(zip(measured["run"], measured["seed"])) == sorted(said)
    assert len(pd.read_parquet(tmp_path / "kept" / "items.parquet")) == 1  # one video, whoever scores it


def test_a_claim_asks_for_what_no_machine_has_made(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "RESULTS", tmp_path)
    monkeypatch.setattr(study, "CLONES", tmp_path / "none")
    write(tmp_path / "evidence" / "draw-0", *evidence("pel-rgb", 1, 0))
    (item,) = study.left(["PEL 2"])
    assert {"evaluate*@pel-rgb-1", "evaluate*@pel-freq-1"} <= set(item.need.stages(1))
    assert set(item.need.stages(1)) & study.kept() == {"evaluate*@pel-rgb-1"}
    assert not set(item.need.stages(2)) & study.kept()


def test_a_scored_network_is_not_taken_for_its_map_which_has_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "RESULTS", tmp_path)
    measured, scores = evidence("focus-map-focus", 1, 0)
    write(tmp_path / "evidence" / "draw-0", measured, scores)
    assert study.kept() == {"evaluate*@focus-map-focus-1"}
    of_map = measured.assign(dataset="ffpp", metric="map_auc")
    write(tmp_path / "evidence" / "draw-0", pd.concat([measured, of_map]), scores)
    assert study.kept() == {"evaluate*@focus-map-focus-1", "maps*@focus-1"}


def test_what_was_found_is_joined_by_draw_and_judged_with_where_it_comes_from(elsewhere, monkeypatch):
    write(study.RESULTS / "evidence" / "draw-0", *evidence("pel-rgb", 1, 0))  # of another machine
    before = {"seeds": [1, 2], "commits": ["a former one"]}
    write_json(study.RESULTS / "provenance.json", {"draws": {"0": before}})
    (study.RESULTS / "seconds.csv").write_text("draw,stage,seconds\n0,train-pel@pel-rgb-1,900.0\n0,faces@dfd,7.0\n")
    for draw, seeds in ((0, [1]), (1, [6])):
        study.prepare(draw, seeds)
        clone = study.CLONES / str(draw)
        write(clone / "results" / "study" / "evidence", *evidence("erm-df", seeds[0], draw))
        seconds = clone / "artifacts" / "study" / "seconds.csv"
        seconds.parent.mkdir(parents=True)
        seconds.write_text(f"stage,seconds\ntrain@erm-df-{seeds[0]},1800.0\nfaces@dfd,1800.0\n")
    monkeypatch.setattr(study.sys, "executable", "true")
    judged = [
        {"title": "PIM 1", "seeds": [1, 6], "verdict": "confirmed"},
        {"title": "PIM 2", "seeds": [], "verdict": "x"},
    ]

    def written(about):
        assert about == {"scale": "study", "grid": "full", "seeds": [1, 2, 6], "data": "standin"}
        assert sorted(path.name for path in (study.RESULTS / "evidence").iterdir()) == ["draw-0", "draw-1"]
        write_json(study.RESULTS / "claims.json", {"about": about, "claims": judged})
        return judged

    monkeypatch.setattr(study.judge, "study", written)
    assert study.collect() == judged
    provenance = read_json(study.RESULTS / "provenance.json")
    assert provenance["draws"] == {
        "0": {"seeds": [1, 2], "commits": ["a former one", study._commit(elsewhere)]},
        "1": {"seeds": [6], "commits": [study._commit(elsewhere)]},
    }
    assert study.kept() == {"evaluate*@pel-rgb-1", "evaluate*@erm-df-1", "evaluate*@erm-df-6"}
    assert provenance["core_hours"] == 2.25
    assert provenance["seeds_by_claim"] == {"PIM 1": 2}
    assert study._decided() == {"PIM 1"}
    assert study.seconds().groupby("run")["seconds"].sum().to_dict() == {
        "dfd": 3600.0, "erm-df": 3600.0, "pel-rgb": 900.0,
    }  # fmt: skip
    assert study.seconds().dropna()["seed"].tolist() == [1.0, 1.0, 6.0]
    assert pd.read_csv(study.RESULTS / "seconds.csv")["draw"].tolist() == [0, 0, 0, 1, 1]
    assert "1 claims decided" in study.status()
    assert "2.2 core-hours so far (2.2 a decided claim)" in study.status()


def test_a_run_costs_what_one_of_its_seeds_took_for_every_seed_that_a_look_lacks(tmp_path, monkeypatch):
    lines = [("start@small-1", 400), ("train-pel@pel-rgb-1", 60), ("evaluate-pel@pel-rgb-1", 40),
             ("train-pel@pel-rgb-2", 80), ("evaluate-pel@pel-rgb-2", 20), ("train-pel@pel-freq-1", 50)]  # fmt: skip
    kept = pd.DataFrame(lines, columns=["stage", "seconds"]).assign(draw=0)
    monkeypatch.setattr(study, "CLONES", tmp_path / "none")
    monkeypatch.setattr(study, "RESULTS", tmp_path)
    kept.to_csv(tmp_path / "seconds.csv", index=False)
    (pel2,) = study.left(["PEL 2"], look=5)
    assert pel2.need.runs >= {"pel-rgb", "pel-freq"}
    others = pel2.need.runs - {"pel-rgb", "pel-freq"}
    assert pel2.seconds == 3 * 100 + 5 * 50 + 5 * 75 * len(others)  # two of five seeds of pel-rgb are scored
    (later,) = study.left(["PEL 2"], look=10)
    assert later.seconds == 8 * 100 + 10 * 50 + 10 * 75 * len(others)


def test_the_cost_of_deciding_adds_up_to_that_of_the_look(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "CLONES", tmp_path / "none")
    monkeypatch.setattr(study, "RESULTS", tmp_path)
    costs = study.costs()
    assert (costs["seeds"] == study.LOOKS[0]).all()
    assert set(costs["claim"]) == {claim.title for claim in CLAIMS if claim.testable}
    assert costs["until then"].is_monotonic_increasing
    runs = set().union(*(need(claim, P).runs for claim in CLAIMS if claim.testable))
    assert costs["until then"].iloc[-1] == pytest.approx(len(runs) * study.LOOKS[0] * 120 / 3600)


def test_a_clone_that_has_scored_nothing_adds_nothing(elsewhere, monkeypatch):
    study.prepare(0, [1])
    write(study.CLONES / "0" / "results" / "study" / "evidence" / "draw-0", *evidence("pel-rgb", 1, 0))  # git's
    monkeypatch.setattr(study.sys, "executable", "true")
    with pytest.raises(WorkbookError, match="make study"):
        study.collect()
    assert not study.RESULTS.exists()


def test_a_stop_that_reached_the_study_alone_is_passed_on(elsewhere, monkeypatch):
    study.prepare(0, [1])
    monkeypatch.setattr(study, "PATIENCE", 0.1)
    threading.Timer(1, os.kill, [os.getpid(), signal.SIGINT]).start()
    work = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)"
    with pytest.raises(KeyboardInterrupt):
        study._run([sys.executable, "-c", work], 0)
    with pytest.raises(ProcessLookupError):
        os.kill(int((study.CLONES / "0" / "pid").read_text()), 0)


def test_nothing_found_is_an_error_that_says_what_runs_it(elsewhere):
    with pytest.raises(WorkbookError, match="make study"):
        study.collect()
