"""docs/performance.md and its table say what was measured, and explain what is missed."""

import csv
import io

import pytest

from bench import page
from bench.measure import RESULTS, Row, write
from dfrepro.files import read_json

measured = pytest.mark.skipif(not RESULTS.exists(), reason="`make bench` has not been run")


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "bench.json"
    write("faces", [Row("Faces", "twice", 6.25, 5.0, detail="a, b"), Row("Same", "twice", 94.0, 95.0, unit="%")], path)
    write("loop", [Row("No-op", "DVC", 7.26, 8.0, less=True, unit="s"), Row("Gain", "plain", 1.1)], path)
    return read_json(path)


@measured
def test_the_committed_table_shows_the_committed_figures():
    assert page.TABLE.read_text() == page.table(read_json(RESULTS)), "run `python -m bench --page`"


@measured
def test_every_miss_has_a_paragraph_that_explains_it():
    assert page.unexplained(page.PAGE.read_text(), read_json(RESULTS)) == []


def test_a_table_says_what_was_asked_what_was_measured_and_whether_it_is_met(results):
    rows = {row["what"]: row for row in csv.DictReader(io.StringIO(page.table(results)))}
    shown = {name: (row["asked"], row["measured"], row["detail"], row["met"]) for name, row in rows.items()}
    assert shown == {
        "Faces": ("≥ 5 ×", "6.25 ×", "a, b", "yes"), "Same": ("≥ 95 %", "94 %", "", "no"),
        "No-op": ("≤ 8.0 s", "7.3 s", "", "yes"), "Gain": ("", "1.1 ×", "", ""),
    }  # fmt: skip
    assert {row["benchmark"] for row in rows.values()} == {"faces", "loop"}
    assert all(row["machine"] for row in rows.values())


def test_a_miss_without_a_paragraph_is_named(results):
    assert page.unexplained("Nothing.\n", results) == ["Same"]
    assert page.unexplained("**Same**: because.\n", results) == []


def test_the_table_is_written_whole(results, tmp_path):
    page.write(tmp_path / "table.csv", tmp_path / "bench.json")
    assert (tmp_path / "table.csv").read_text() == page.table(results)


def test_a_benchmark_that_is_measured_again_replaces_its_own_figures_alone(results, tmp_path):
    write("loop", [Row("Gain", "plain", 1.2)], tmp_path / "bench.json")
    again = read_json(tmp_path / "bench.json")
    assert again["faces"] == results["faces"]
    assert [row["value"] for row in again["loop"]["rows"]] == [1.2]
