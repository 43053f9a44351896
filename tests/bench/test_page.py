"""docs/performance.md says what was measured, and explains what is missed."""

import pytest

from bench import page
from bench.measure import RESULTS, Row, write
from dfrepro.errors import WorkbookError
from dfrepro.files import read_json

measured = pytest.mark.skipif(not RESULTS.exists(), reason="`make bench` has not been run")
TEXT = "Before.\n<!-- bench: faces loop -->\nold\n<!-- end -->\nAfter.\n"


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "bench.json"
    write("faces", [Row("Faces", "twice", 6.25, 5.0, detail="a | b"), Row("Same", "twice", 94.0, 95.0, unit="%")], path)
    write("loop", [Row("No-op", "DVC", 7.26, 8.0, less=True, unit="s"), Row("Gain", "plain", 1.1)], path)
    return read_json(path)


@measured
def test_the_committed_page_shows_the_committed_figures():
    text = page.PAGE.read_text()
    assert page.filled(text, read_json(RESULTS)) == text


@measured
def test_every_miss_has_a_paragraph_that_explains_it():
    assert page.unexplained(page.PAGE.read_text(), read_json(RESULTS)) == []


def test_a_table_says_what_was_asked_what_was_measured_and_whether_it_is_met(results):
    text = page.filled(TEXT, results)
    assert "| Faces | twice | ≥ 5 × | 6.25 × (a \\| b) | yes |\n" in text
    assert "| Same | twice | ≥ 95 % | 94 % | **no** |\n" in text
    assert "| No-op | DVC | ≤ 8.0 s | 7.3 s | yes |\n" in text
    assert "| Gain | plain | – | 1.1 × | – |\n" in text
    assert text.startswith("Before.\n")
    assert text.endswith("<!-- end -->\nAfter.\n")
    assert "old" not in text
    assert text.count("Measured on: ") == 1
    assert page.filled(text, results) == text


def test_a_miss_without_a_paragraph_is_named(results):
    assert page.unexplained(TEXT, results) == ["Same"]
    assert page.unexplained(TEXT + "**Same**: because.\n", results) == []


def test_figures_without_a_table_are_refused(results):
    with pytest.raises(WorkbookError, match="loop has no table"):
        page.filled(TEXT.replace(" loop", ""), results)


def test_a_benchmark_that_is_measured_again_replaces_its_own_figures_alone(results, tmp_path):
    write("loop", [Row("Gain", "plain", 1.2)], tmp_path / "bench.json")
    again = read_json(tmp_path / "bench.json")
    assert again["faces"] == results["faces"]
    assert [row["value"] for row in again["loop"]["rows"]] == [1.2]
