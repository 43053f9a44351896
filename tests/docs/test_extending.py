"""docs/extending.md is done as it says, in a copy of the repository: files written, patches applied, commands run."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from dfrepro.files import ROOT, read_json
from dfrepro.report import study

from .conftest import copied

DOCS = ROOT / "docs"
PAGE = (DOCS / "extending.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^\[([\w./-]+)\]\(examples/([\w./-]+)\)$", PAGE, re.M)  # a file on a line of its own
FILES = {name: (DOCS / "examples" / path).read_text(encoding="utf-8") for name, path in SHOWN if name == path}
pytestmark = pytest.mark.timeout(1800)  # a dozen processes: a minute on an idle core
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
PARTS = ("dfrepro", "tests", "papers", "scales", "grid", "conftest.py", "pyproject.toml", "params.yaml", "dvc.yaml")


def commands() -> list[str]:
    return [line for _, text in BLOCK.findall(PAGE) for line in text.splitlines()]


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The repository at smoke scale with the page's files and patches, and a few faces to train on."""
    copy = copied(tmp_path_factory.mktemp("copy"), PARTS)
    run(copy, "git", "init", "--quiet")
    for path, text in FILES.items():
        if path.endswith(".diff"):
            continue
        assert not (copy / path).exists(), path
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        (copy / path).write_text(text, encoding="utf-8")
    for path in [path for path in FILES if path.endswith(".diff")]:
        run(copy, "git", "apply", "-", input=FILES[path])
    params = copy / "params.yaml"
    params.write_text(study.with_words(params.read_text(), {"scale": "smoke"}))
    write_store = runpy.run_path(str(ROOT / "tests" / "train" / "conftest.py"))["write_store"]
    made = copy / "artifacts" / "smoke"
    write_store(made / "faces" / "ffpp-c23")
    for folder in ("faces/ffpp-c40", "reconstructions/ffpp-c23"):  # what a run of one's own may read
        (made / folder).mkdir(parents=True)
    return copy


def run(where: Path, *command: str, input: str | None = None) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PYTHONPATH": str(where), "PATH": path, "DFREPRO_SCALE": "smoke"}
    done = subprocess.run(command, cwd=where, env=env, input=input, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_the_page_shows_every_example_and_its_blocks_are_commands():
    examples = DOCS / "examples"
    there = {str(path.relative_to(examples)) for path in examples.rglob("*") if path.is_file()}
    assert set(FILES) == {path for path in there if "__pycache__" not in path}
    assert {language for language, _ in BLOCK.findall(PAGE)} == {"sh"}


def test_the_pages_own_tests_pass(copy):
    tests = [path for path in FILES if path.startswith("tests/")]
    assert {Path(path).parent.name for path in tests} == {"forge", "methods", "train", "layouts", "report"}
    assert "passed" in run(copy, sys.executable, "-m", "pytest", "-q", *tests)


def test_the_pages_code_is_formatted_and_typed_like_ours(copy):
    ours = [path for path in FILES if path.endswith(".py")]
    run(copy, "ruff", "format", "--check", *ours)
    run(copy, "ruff", "check", *ours)


def test_the_pages_commands_run_and_leave_what_they_promise(copy):
    for command in commands():
        run(copy, "bash", "-c", command)
    meta = read_json(copy / "artifacts" / "smoke" / "runs" / "residual" / "0" / "meta.json")
    assert meta["spec"]["detector"]["kind"] == "residual"
    assert read_json(copy / "artifacts/smoke/runs/pim-df-sign/0/meta.json")["spec"]["step"]["direction"] == "sign"
    metrics = read_json(copy / "results" / "smoke" / "metrics" / "residual-0.json")
    assert 0 <= metrics["ffpp-c23"]["video_auc"] <= 1
    claims = read_json(copy / "results" / "smoke" / "claims.json")["claims"]
    assert [claim["id"] for claim in claims if claim["paper"] == "shade"] == ["P5-C1"]
    assert "own-train@residual-0" in (copy / "dvc.lock").read_text()
