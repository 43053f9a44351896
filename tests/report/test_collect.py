"""What the claims page reads of a scale's artifacts, and the command that judges it: without training anything."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from dfrepro import __main__ as command_line
from dfrepro import params, places
from dfrepro.files import ROOT, read_json
from dfrepro.jobs import pipeline
from dfrepro.report import claims, collect, judge
from dfrepro.report import verdict as verdicts
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


RISES = (0.60, 0.62, 0.64, 0.66, 0.68, 0.70, 0.72, 0.74, 0.76, 0.78, 0.80, 0.82)  # after each twelfth of a training
SOONER = (0.75, 0.83, *[0.83] * 10)  # there after two twelfths


def race(p, seeds=range(1, 6), **validation: tuple[float, ...]) -> params.Params:
    """Trainings of each run, scored, with about these AUCs in validation after every epoch of 100 steps."""
    rng = np.random.default_rng(0)
    for name, aucs in validation.items():
        for seed in seeds:
            run = name.replace("_", "-")
            plant(p, run, seed)
            steps = 100 * np.arange(1, len(aucs) + 1)
            found = {"step": steps, "loss": 0.5, "validation": np.array(aucs) + rng.normal(0, 0.004, len(aucs))}
            pd.DataFrame(found).to_csv(places.run_folder(p, run, seed) / "history.csv", index=False)
    return p.model_copy(update={"grid": "full", "seeds": tuple(seeds)})


@pytest.mark.parametrize(("fpg", "plain", "random", "verdict", "said"), [
    (SOONER, RISES, RISES, "confirmed", ""),
    (RISES, RISES, RISES, "refuted", ""),
    ((0.70,) * 12, RISES, RISES, "refuted", ""),  # never reached
    ((0.5,) * 12, RISES, RISES, "refuted", ""),  # nor by a network that learns nothing, which is an outcome here
    (SOONER, RISES, SOONER, "inconclusive", "the control does the same: random sign"),
    (SOONER, (0.82,) * 12, RISES, "not decidable here", "positive control (the baseline takes more than a third"),
    (SOONER, (0.5, *[0.55] * 11), RISES, "not decidable here", "fpg-plain has not learned"),
    (SOONER, (0.7, *[0.985] * 11), RISES, "not decidable here", "in validation, above 0.97"),
])  # fmt: skip
def test_fpg_is_sooner_where_it_reaches_the_baselines_auc_in_a_third_of_its_steps(
    scale, fpg, plain, random, verdict, said
):
    p = race(scale, fpg_full=fpg, fpg_plain=plain, fpg_random_sign=random)
    (claim,) = [claim for claim in load_claims() if claim.title == "FPG 5"]
    judged = verdicts.judge(claim, collect.evidence(p))
    assert (judged.verdict, said in judged.reason) == (verdict, True), judged.reason


def test_how_soon_an_auc_is_reached_is_found_of_what_two_machines_have_kept(scale, planted_scores, tmp_path):
    folders = []
    for run, aucs in {"fpg_full": SOONER, "fpg_plain": RISES}.items():
        p = race(scale, seeds=[1], **{run: aucs})
        plant(p, "pim-sbi", 1, planted_scores({"pim-sbi": 1.0}))
        collect.keep(p, collect.evidence(p))
        folders.append(shutil.move(tmp_path / "results" / "evidence", tmp_path / run))
        shutil.rmtree(tmp_path / "artifacts")
    collect.add(*folders)
    kept = collect.kept(p, folders[1])
    share = Operand(run="fpg-full", test="train", metric="steps_to_fpg-plain")
    assert kept.value(share, 1) == pytest.approx(2 / 12)
    assert kept.value(share.model_copy(update={"run": "fpg-plain"}), 1) == 1.0
    assert collect.kept(p, folders[0]).value(share, 1) is None  # the baseline's training is not known there


def test_an_epoch_without_a_look_tells_nothing(scale):
    p = race(scale, seeds=[1], fpg_full=(0.6, float("nan"), 0.7))
    found = collect.measured(p)
    looks = found[found["metric"].str.startswith("validation_after_")]
    assert looks["metric"].tolist() == ["validation_after_100", "validation_after_300"]


def test_what_is_there_is_read_and_what_is_not_is_left_out(scale, planted_scores):
    plant(scale, "fpg-full", 0, planted_scores({"fpg-full": 2.0}))
    evidence = collect.evidence(scale)
    assert evidence.seeds("fpg-full") == [0]
    assert evidence.seeds("fpg-baseline") == []
    found = collect.measured(scale).set_index("metric").value
    steps = {"train_steps": 72, "loss_first": 0.7, "loss_last": 0.5, "validation_auc": 0.6}
    steps |= {"validation_after_36": 0.6}
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


@pytest.mark.parametrize("name", ["laptop", "study", "former"])
def test_no_committed_verdict_stands_beside_an_interval_that_contradicts_it(name):
    found = read_json(ROOT / "results" / name / "claims.json")["claims"]
    claims_by = {claim.title: claim for claim in load_claims()}
    decided = [v for v in found if v["verdict"] in ("confirmed", "refuted", "smaller than printed")]
    assert decided
    for verdict in decided:
        primary = claims_by[verdict["title"]].primary
        (kind,) = {cell.test for cell in primary}
        if kind == "exact":
            assert (verdict["verdict"] == "confirmed") == (verdict["effect"] == 0)
            continue
        low, high = verdict["interval"]
        margin = min((cell.margin or 0.0) for cell in primary)
        line = float(np.mean([cell.at_least for cell in primary])) if kind == "difference" else -margin
        assert low <= verdict["effect"] <= high
        assert {
            "confirmed": low > line and (kind != "equivalence" or high < margin),
            "refuted": high < line or (kind == "equivalence" and low > margin),
            "smaller than printed": low <= line <= high < verdict["printed_effect"],
        }[verdict["verdict"]], verdict["title"]
