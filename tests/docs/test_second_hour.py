"""docs/second-hour.md, line by line: one's own network is declared, trained, compared, changed, and kept by DVC."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from dfrepro.files import ROOT, read_json
from dfrepro.report import study

from .conftest import copied

PAGE = (ROOT / "docs" / "second-hour.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
PARTS = ("dfrepro", "papers", "scales", "grid", "pyproject.toml", "params.yaml", "dvc.yaml", ".gitignore", ".dvcignore")
OWN = {"own-train@my-vit-0", "own-evaluate@my-vit-0"}
SETS = ("ffpp-c23", "ffpp-c40", "dfd", "cdfv2", "dfdc", "dfdcp", "wdf", "diff")
typed = pytest.mark.long  # two dozen processes, two minutes of an idle core; .ci/run does them
pytestmark = pytest.mark.timeout(3600)


def blocks(language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(PAGE) if found == language]


def run(where: Path, line: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {key: value for key, value in os.environ.items() if key != "DFREPRO_SCALE"}
    who = {f"GIT_{role}_{key}": "someone@x" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    env |= who | {"PYTHONPATH": str(where), "PATH": path, "TQDM_DISABLE": "1", "COLUMNS": "100"}
    done = subprocess.run(["bash", "-c", line], cwd=where, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The repository at smoke scale, as after a first hour whose faces are planted: DVC has them on record."""
    copy = copied(tmp_path_factory.mktemp("copy"), PARTS)
    shutil.copytree(ROOT / ".dvc" / "plots", copy / ".dvc" / "plots")
    params = copy / "params.yaml"
    params.write_text(study.with_words(params.read_text(), {"scale": "smoke"}))
    write_store = runpy.run_path(str(ROOT / "tests" / "train" / "conftest.py"))["write_store"]
    made = copy / "artifacts" / "smoke"
    for number, name in enumerate(SETS):
        write_store(made / "faces" / name, videos=12, seed=number)
        manifest = made / "faces" / name / "manifest.parquet"
        pd.read_parquet(manifest).assign(dataset=name.partition("-")[0]).to_parquet(manifest)
    for folder in ("standin", "reconstructions/ffpp-c23", "starts/main/0", "starts/small/0"):
        (made / folder).mkdir(parents=True)
        (made / folder / "planted").touch()
    shutil.rmtree(copy / "grid")
    run(copy, "git init --quiet && git add -A && git commit -qm 'the first hour'")
    planted = ["standin", *(f"faces@{name}" for name in SETS), "reconstruct", "start@main-0", "start@small-0"]
    run(copy, f"dvc commit -q -f {' '.join(planted)} && git add -A && git commit -qm 'its record'")
    return copy


def declare(copy: Path) -> None:
    """Apply the page's patch, which has no line numbers: params.yaml may grow."""
    (patch,) = blocks("diff")
    lines = patch.partition("@@\n")[2].splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] in " -")
    after = "".join(line[1:] for line in lines if line[0] in " +")
    params = copy / "params.yaml"
    assert params.read_text().count(before) == 1
    params.write_text(params.read_text().replace(before, after))


@typed
def test_every_line_of_the_page_does_what_it_says(copy):
    declare(copy)
    said: dict[str, str] = {}
    seen: dict[str, tuple[str, str]] = {}
    for line in "".join(blocks("sh")).splitlines():
        if line.startswith("git add"):
            changed = run(copy, "git status --porcelain").split()[1::2]
            # what was declared, its record, and its metrics: nothing that is measured in seconds
            assert {name.rpartition("/")[0] or name for name in changed} <= {"params.yaml", "dvc.lock", "results/smoke"}
        said[line] = run(copy, line)
        seen[line] = ((copy / "params.yaml").read_text(), (copy / "dvc.lock").read_text())
    commands = list(said)

    first = said["python -m dfrepro runs my-vit erm-df"]
    assert re.search(r"my-vit +0/1 +0/1 +not trained", first)
    board = said["python -m dfrepro compare erm-df my-vit"]
    assert "my-vit against erm-df: " in board
    assert {"ffpp-c23", "cdfv2", "wdf"} <= {line.split()[0] for line in board.splitlines() if line.strip()}
    assert (copy / "build" / "compare" / "roc.svg").is_file()

    (experiment,) = [line for line in commands if line.startswith("dvc exp run")]
    committed, after = run(copy, "git show HEAD:params.yaml"), seen[experiment][0]
    assert after == committed.replace("lr: 0.002}\n  datasets", "lr: 0.001}\n  datasets")  # comments in place
    assert "own.runs.my-vit.training.lr" in said["dvc params diff"]
    assert "my-vit-0.json" in said["dvc metrics diff"]

    stale = said["dvc status"]
    assert {line.strip(":") for line in stale.splitlines() if line.startswith("own")} == OWN
    meta = read_json(copy / "artifacts" / "smoke" / "runs" / "my-vit" / "0" / "meta.json")
    assert meta["spec"]["backbone"]["kwargs"]["depth"] == 2
    assert meta["spec"]["backbone"]["kwargs"]["img_size"] == 64
    assert meta["spec"]["training"]["lr"] == 0.001
    assert "my-vit-0.json" in said["dvc metrics show"]
    page = (copy / "dvc_plots" / "index.html").read_text()
    assert page.count("vegaEmbed(") == 2
    assert '"run": "my-vit"' in page


@typed
def test_a_change_of_ones_own_network_makes_nothing_else_out_of_date(copy):
    if "my-vit" not in (copy / "params.yaml").read_text():
        declare(copy)
        run(copy, "python -m dfrepro repro my-vit erm-df")
    before = json.loads(run(copy, "dvc status --json"))
    params = copy / "params.yaml"
    text = params.read_text()
    params.write_text(text.replace("embed_dim: 96", "embed_dim: 48"))
    changed = json.loads(run(copy, "dvc status --json"))
    params.write_text(text)
    assert {name for name in changed if changed[name] != before.get(name)} == OWN
    assert "train@erm-df-0" not in changed


@typed
def test_the_pages_python_runs(copy):
    (source,) = blocks("python")
    assert "ffpp-c23" in run(copy, f"python - <<'END'\n{source.rstrip()}\nprint(found.leaderboard())\nEND")


def test_the_pages_patch_is_of_the_section_as_it_is():
    assert yaml.safe_load((ROOT / "params.yaml").read_text())["own"] == {"runs": {}, "datasets": {}}
