"""What the claims page reads of a scale's artifacts, and the command that judges it: without training anything."""

import json
import shutil

import pandas as pd
import pytest

from dfrepro import __main__ as command_line
from dfrepro import params, places
from dfrepro.files import ROOT, read_json
from dfrepro.jobs import pipeline
from dfrepro.report import claims, collect, judge
from dfrepro.report.schema import Operand, load_claims


@pytest.fixture
def scale(monkeypatch, tmp_path):
    """Smoke scale, two seeds, with artifacts and results in a folder of the test's own."""
    monkeypatch.setattr(params.Params, "artifacts", property(lambda self: tmp_path / "artifacts"))
    monkeypatch.setattr(places, "results_folder", lambda p: tmp_path / "results")
    monkeypatch.setenv("DFREPRO_SCALE", "smoke")
    return params.load(seeds=[0, 1])


def plant(p, run: str, seed: int, scores=None) -> None:
    folder = places.scores_folder(p, run, seed)
    folder.mkdir(parents=True)
    measured = pd.DataFrame([["dfd", "saliency_inside", 0.6]], columns=["dataset", "metric", "value"])
    measured.to_csv(folder / "measured.csv", index=False)
    if scores is not None:
        scores.drop(columns=["run", "seed"]).to_parquet(folder / "scores.parquet")
    history = pd.DataFrame({"step": [36, 72], "loss": [0.7, 0.5], "validation": [0.6, None]})
    (run_folder := places.run_folder(p, run, seed)).mkdir(parents=True)
    history.to_csv(run_folder / "history.csv", index=False)


def test_what_is_there_is_read_and_what_is_not_is_left_out(scale, planted_scores):
    plant(scale, "fpg-full", 0, planted_scores({"fpg-full": 2.0}))
    evidence = collect.evidence(scale)
    assert evidence.seeds("fpg-full") == [0]
    assert evidence.seeds("fpg-baseline") == []
    found = collect.measured(scale).set_index("metric").value
    steps = {"train_steps": 72, "loss_first": 0.7, "loss_last": 0.5, "validation_auc": 0.6}
    assert found.to_dict() == {"saliency_inside": 0.6} | steps  # and no seconds: what is committed is of no machine
    assert collect.scores(scale).run.unique().tolist() == ["fpg-full"]


def test_a_run_outside_the_grid_does_not_count_even_if_it_is_there(scale):
    plant(scale, "fpg-ms", 0)
    assert not len(collect.measured(scale))
    assert set(collect.measured(scale.model_copy(update={"grid": "full"})).run) == {"fpg-ms"}


def test_maps_are_measured_under_their_own_name_and_before_their_networks_run(scale):
    folder = places.maps_folder(scale, "focus", 1)
    folder.mkdir(parents=True)
    pd.DataFrame([["ffpp", "map_auc", 0.8]], columns=["dataset", "metric", "value"]).to_csv(folder / "measured.csv")
    plant(scale, "focus-map-focus", 1)
    found = collect.measured(scale)
    assert found[found.metric == "map_auc"][["run", "seed", "value"]].to_numpy().tolist() == [
        ["focus-map-focus", 1, 0.8]
    ]
    assert "train_steps" in set(found.metric)


def test_a_run_rests_on_its_network_and_on_the_one_behind_the_maps_that_supervise_it(scale):
    evidence = collect.evidence(scale)
    assert evidence.behind("focus-eval-attention") == ("focus-eval-attention", "focus-map-vit")
    assert evidence.behind("focus-eval-pixel") == ("focus-eval-pixel",)  # of fakes and their reals, by no network
    assert evidence.behind("focus-map-gradcam") == ("focus-map-vit",)


def test_nothing_at_all_is_no_error(scale):
    assert collect.scores(scale) is None
    assert collect.evidence(scale).seeds("fpg-full") == []


@pytest.fixture
def two_runs(scale, planted_scores):
    """sam-sbi and pim-sbi on five test sets, the second a better one."""
    for run, distance in (("sam-sbi", 0.5), ("pim-sbi", 2.0)):
        sets = [planted_scores({run: distance}, dataset=name) for name in ("cdfv2", "dfd", "dfdc", "dfdcp", "wdf")]
        plant(scale, run, 0, pd.concat(sets))
    return scale


def test_a_clone_without_artifacts_judges_what_was_kept_to_the_same_verdicts(two_runs, tmp_path):
    assert command_line.main(["claims"]) == 0
    written = (tmp_path / "results" / "claims.json").read_bytes()
    assert '"one_seed": true' in written.decode()  # something was judged
    shutil.rmtree(tmp_path / "artifacts")
    (tmp_path / "results" / "claims.json").unlink()
    assert command_line.main(["claims"]) == 0
    assert (tmp_path / "results" / "claims.json").read_bytes() == written
    assert command_line.main(["claims"]) == 0  # and the kept is not replaced by nothing
    assert (tmp_path / "results" / "claims.json").read_bytes() == written


def test_a_studys_verdicts_are_judged_anew_from_its_evidence_alone(two_runs, tmp_path, monkeypatch):
    assert command_line.main(["claims"]) == 0
    monkeypatch.setattr(places, "STUDY", tmp_path / "results")
    monkeypatch.setattr(places, "FORMER", tmp_path / "none")
    path = tmp_path / "results" / "claims.json"
    written = path.read_bytes()
    shutil.rmtree(tmp_path / "artifacts")
    path.write_bytes(written.replace(b'"one_seed": true', b'"one_seed": false'))
    assert command_line.main(["claims", "--study"]) == 0
    assert path.read_bytes() == written


def test_only_what_a_verdict_rests_on_is_kept(two_runs, planted_scores, tmp_path):
    plant(two_runs, "erm-df", 1, planted_scores({"erm-df": 1.0}, dataset="diff"))  # no claim asks it about DiFF
    command_line.main(["claims"])
    kept = tmp_path / "results" / "evidence"
    assert sorted(file.name for file in kept.iterdir()) == ["items.parquet", "measured.parquet", "videos-0.parquet"]
    assert set(pd.read_parquet(kept / "videos-0.parquet").run) == {"sam-sbi", "pim-sbi"}


def test_single_frames_are_kept_where_a_metric_is_about_them_and_only_there(two_runs, planted_scores, tmp_path):
    for run, distance in (("pel-freq", 2.0), ("pel-rgb", 0.5)):
        plant(two_runs, run, 0, planted_scores({run: distance}, dataset="ffpp"))
    assert command_line.main(["claims"]) == 0
    folder = tmp_path / "results" / "evidence"
    frames, videos = (pd.read_parquet(folder / f"{name}-0.parquet") for name in ("frames", "videos"))
    assert frames.groupby("run").size().to_dict() == {"pel-freq": 160, "pel-rgb": 160}
    assert videos.groupby("run").size().to_dict() == {"sam-sbi": 4 * 80, "pim-sbi": 4 * 80}  # no claim asks about DFD
    kept, whole = collect.kept(two_runs, folder), collect.evidence(two_runs)
    on_videos = Operand(run="sam-sbi", test="cdfv2", metric="video_auc")
    for operand in (on_videos, Operand(run="pel-freq", test="ffpp", metric="frame_auc")):
        assert kept.value(operand, 0) == whole.value(operand, 0) is not None
        left, whole_left = (each.influences(operand, 0) for each in (kept, whole))
        assert all((left[name] == whole_left[name]).all() for name in whole_left)
    on_frames = on_videos.model_copy(update={"metric": "frame_auc"})
    assert whole.value(on_frames, 0) is not None
    assert kept.value(on_frames, 0) is None  # nobody had asked


def test_the_command_writes_a_verdict_a_claim_without_training(two_runs, tmp_path, monkeypatch, capsys):
    for name in ("train", "evaluate", "standin", "faces"):
        monkeypatch.setattr(pipeline, name, lambda *_: pytest.fail("the claims page must never train"))
    assert command_line.main(["claims"]) == 0
    written = json.loads((tmp_path / "results" / "claims.json").read_text())
    verdicts = {claim["id"]: claim["verdict"] for claim in written["claims"]}
    assert len(verdicts) == len(load_claims())
    assert written["about"]["scale"] == "smoke"
    assert verdicts["P0-C1"] == "not run"
    assert "FoCus 9" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["laptop", "study", "former"])
def test_committed_verdicts_follow_from_the_committed_evidence(name, tmp_path):
    results = ROOT / "results" / name
    written = read_json(results / "claims.json")
    p = params.load(**{word: written["about"][word] for word in ("scale", "grid", "seeds")})
    former = judge.former() if name == "study" else {}
    verdicts = claims.write_claims(collect.kept(p, results / "evidence"), tmp_path / "claims.json", former=former)
    for verdict, committed in zip(verdicts, written["claims"], strict=True):
        assert (verdict["id"], verdict["verdict"]) == (committed["id"], committed["verdict"])
        for number in ("effect", "interval", "by_seed"):
            assert verdict[number] == pytest.approx(committed[number], abs=1e-9), verdict["id"]
