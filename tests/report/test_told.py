"""What the command line says of runs: what is there, what came of it, and what to do where it is not."""

import io
import json
import sys

import pandas as pd
import pytest
from rich.console import Console

from dfrepro import params, places
from dfrepro.__main__ import GROUPS, main, parser
from dfrepro.errors import WorkbookError
from dfrepro.report import told


@pytest.fixture
def p(tmp_path, monkeypatch):
    """Parameters of the smoke scale whose artifacts and results are in an empty folder."""
    p = params.load(scale="smoke", seeds=[0, 1])
    p.__dict__["artifacts"], p.__dict__["results"] = tmp_path / "artifacts", tmp_path / "results"  # cached properties
    monkeypatch.setattr(params, "load", lambda *args, **kwargs: p)
    return p


def plant_training(p, run, seed, spec=None) -> None:
    folder = places.run_folder(p, run, seed)
    folder.mkdir(parents=True)
    meta = {"spec": json.loads(json.dumps(p.spec(run, seed))) | (spec or {})}
    (folder / "meta.json").write_text(json.dumps(meta))
    history = {"epoch": [1, 2, 3], "step": [4, 8, 12], "loss": [0.7, 0.5, 0.25], "validation": [0.6, 0.9, 0.8]}
    pd.DataFrame(history).to_csv(folder / "history.csv", index=False)


def plant_scores(p, run, seed, scores) -> None:
    folder = places.scores_folder(p, run, seed)
    folder.mkdir(parents=True)
    own = scores[(scores["run"] == run) & (scores["seed"] == seed)].drop(columns=["run", "seed"])
    own.assign(identity="", source="").to_parquet(folder / "scores.parquet", index=False)


def lines(p, names) -> list[str]:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(told.listing(p, names))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_runs_are_listed_with_what_is_there_of_them(p, planted_scores):
    plant_training(p, "erm-df", 0)
    plant_training(p, "pim-df", 0, spec={"crop": 0.5})
    for seed in (0, 1):
        plant_training(p, "erm-fs", seed)
        plant_scores(p, "erm-fs", seed, planted_scores({"erm-fs": 1.0}, seeds=2, dataset="ffpp"))
        path = places.results_folder(p) / "metrics" / f"erm-fs-{seed}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"ffpp-c23": {"video_auc": 0.8 + 0.1 * seed}}))
    head, *rows = lines(p, ["erm-df", "pim-df", "erm-fs", "erm-nt", "pim-ffpp-aug"])
    assert head.split()[:3] == ["run", "trained", "scored"]
    assert [" ".join(row.split()) for row in rows] == [
        "erm-df 1/2 0/2 some seeds not trained",
        "pim-df 0/2 0/2 stale: declared otherwise since",
        "erm-fs 2/2 2/2 0.850 scored",
        "erm-nt 0/2 0/2 not trained",
        "pim-ffpp-aug 0/2 0/2 not trained (full grid)",
    ]


def test_names_and_patterns_choose_runs_in_their_order(p):
    assert told.chosen(p, ["pim-df", "erm-[df]*", "pim-df"])[:3] == ["pim-df", "erm-df", "erm-f2f"]


@pytest.mark.parametrize(("pattern", "said"), [("erm-dff", "Did you mean 'erm-df'"), ("xyz-*", "no run is called")])
def test_a_name_that_matches_nothing_is_an_error(p, pattern, said):
    with pytest.raises(WorkbookError, match=said):
        told.chosen(p, [pattern])


def test_a_training_says_its_loss_its_validation_and_the_next_step(p):
    plant_training(p, "erm-df", 1)
    said = told.trained(p, "erm-df", 1)
    assert "3 epochs, loss 0.700 → 0.250, validation AUC 0.800 (best 0.900 after epoch 2)" in said
    assert said.endswith("next: python -m dfrepro evaluate erm-df --seed 1")


def test_a_scoring_says_each_sets_auc_with_its_interval_and_the_next_step(p, planted_scores):
    for run in ("erm-df", "pim-df"):
        plant_training(p, run, 0)
        plant_scores(p, run, 0, planted_scores({run: 1.5}, dataset="ffpp"))
    said = told.scored(p, "pim-df", 0).splitlines()
    assert said[0].startswith("pim-df, seed 0: AUC over videos")
    name, auc, low, high = said[1].replace("[", "").replace("]", "").replace(",", "").split()
    assert name == "ffpp-c23"  # as declared, where scores say "ffpp"
    assert 0 < float(low) < float(auc) < float(high) <= 1
    assert said[-1] == "next: python -m dfrepro compare erm-df pim-df"


def test_compare_prints_the_board_and_writes_table_and_figures(p, planted_scores, tmp_path, capsys):
    for run in ("erm-df", "pim-df"):
        for seed in (0, 1):
            plant_training(p, run, seed)
            plant_scores(p, run, seed, planted_scores({run: 1.5}, seeds=2, dataset="ffpp"))
    assert main(["compare", "erm-df", "pim-df", "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "pim-df against erm-df: " in out
    assert {"leaderboard.csv", "roc.png", "curves.svg"} <= {path.name for path in (tmp_path / "out").iterdir()}
    board = pd.read_csv(tmp_path / "out" / "leaderboard.csv")
    assert board["test"].tolist() == ["ffpp-c23", "ffpp-c23"]


@pytest.mark.parametrize(
    ("planted", "said"),
    [("nothing", "is not trained"), ("training", "is not scored"), ("old", "was trained on what was declared before")],
)
def test_what_cannot_be_compared_yet_says_what_to_do(p, capsys, planted, said):
    if planted != "nothing":
        plant_training(p, "erm-df", 0, spec={"crop": 0.5} if planted == "old" else None)
    assert main(["compare", "erm-df", "pim-df", "--no-figures"]) == 2
    err = capsys.readouterr().err
    verb = "evaluate" if planted == "training" else "train"
    assert f"erm-df with seed 0 {said}" in err
    assert f"python -m dfrepro {verb} erm-df --seed 0" in err
    assert err.count("compare:") == 1  # the command's name is said once


def test_one_run_is_no_comparison(p, capsys):
    assert main(["compare", "erm-df"]) == 2
    assert "it takes two runs" in capsys.readouterr().err


def test_an_untrained_run_is_not_scored_and_says_so(p, capsys):
    assert main(["evaluate", "erm-df"]) == 2
    assert "is not trained. Run `python -m dfrepro train erm-df --seed 0`" in capsys.readouterr().err


# --- the command line -------------------------------------------------------------------------------------------------


def test_the_overview_has_every_command_once_users_first_and_fits_80_columns():
    page = parser().format_help()
    assert max(map(len, page.splitlines())) <= 80
    names = [line.split()[0] for line in page.splitlines() if line.startswith("  ") and line[2] not in " -"]
    commands = set(parser()._subparsers._group_actions[0].choices)
    assert set(names) == commands
    assert len(names) == len(commands)
    assert names[:4] == ["runs", "train", "evaluate", "compare"]
    assert set(GROUPS["Your data"]) < set(names)


def test_the_version_is_said(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == "dfrepro 0.1.0\n"


def test_without_a_seed_it_is_the_first(p):
    from dfrepro.jobs.commands import first

    assert first(p, parser().parse_args(["train", "erm-df"])) == 0
    assert first(p, parser().parse_args(["evaluate", "erm-df", "--seed", "1"])) == 1


def test_an_interrupt_says_what_is_saved_and_how_to_go_on(monkeypatch, capsys):
    def stopped(args):
        raise KeyboardInterrupt("erm-df, seed 0 is saved at step 3 of 8")

    monkeypatch.setattr(sys.modules["dfrepro.__main__"], "_stage", lambda args, what: stopped(args))
    assert main(["train", "erm-df"]) == 130
    said = "dfrepro train: stopped; erm-df, seed 0 is saved at step 3 of 8; run the same command to go on\n"
    assert capsys.readouterr().err == said


def test_check_on_the_stand_in_says_what_it_is_and_asks_for_nothing(p, capsys):
    assert main(["check"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Stand-in, made by the workbook" in out
    assert "It is not generated yet; `make repro` does it first. Nothing is to be downloaded." in out
    assert "Absent, so no run is tested on them: cdfv1, ffiw, df40." in out
    assert "not usable" not in out
