"""Wrong science is caught: a change of an operator, a comparison or a number fails a unit test of its module."""

import json
import subprocess
import sys

import pytest

from dfrepro.files import ROOT
from tests.reliability import mutants

SOURCE = '''
LIMIT: int = 3
def f(x: "1 + 1", y=0.5):
    """2 * 2"""
    if x < 0:
        raise ValueError(f"{x + 1}")
    if x < LIMIT <= 9:
        return -x * y + x[1] // 2
    return "a" + name
'''


def test_operators_comparisons_and_numbers_are_changed_and_messages_annotations_and_refusals_are_not():
    changes = [mutant.change for mutant in mutants.mutants_of(SOURCE)]
    assert changes == [
        "3 -> 4", "0.5 -> 0.625", "x < LIMIT <= 9 -> x <= LIMIT <= 9", "x < LIMIT <= 9 -> x < LIMIT < 9", "9 -> 10",
        "-x * y + x[1] // 2 -> -x * y - x[1] // 2", "-x * y -> -x / y", "-x -> +x", "x[1] // 2 -> x[1] / 2", "1 -> 2",
        "2 -> 3",
    ]  # fmt: skip


def test_a_mutant_differs_in_one_place():
    plain = mutants.ast.unparse(mutants.ast.parse(SOURCE)).splitlines()
    for mutant in mutants.mutants_of(SOURCE):
        lines = mutants.ast.unparse(mutants.mutated(SOURCE, mutant.site)).splitlines()
        assert sum(one != other for one, other in zip(plain, lines, strict=True)) == 1


def test_every_module_has_unit_tests_of_its_own():
    assert [module for module in mutants.modules() if not mutants.tests_of(module)] == []


def judged(tmp_path, *words: str) -> list[dict]:
    """The verdicts of `python -m tests.reliability.mutants`, in a process that has no code of ours loaded yet."""
    out = tmp_path / "mutants.jsonl"
    command = [sys.executable, "-m", "tests.reliability.mutants", "--out", str(out), *words]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=mutants.os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_wrong_metrics_are_caught(tmp_path):
    found = judged(tmp_path, "--only", "evaluate/metrics.py", "--sample", "8")
    assert len(found) == 8
    assert sum(line["verdict"] != "survived" for line in found) >= 7


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_at_least_85_of_100_mutants_are_killed(tmp_path, noted):
    found = judged(tmp_path, "--sample", "300")
    survivors = [line for line in found if line["verdict"] == "survived"]
    noted(mutants={"tried": len(found), "killed": len(found) - len(survivors), "survivors": survivors})
    assert len(survivors) <= 0.15 * len(found)
