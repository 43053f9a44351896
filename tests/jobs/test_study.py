"""The study: the same pipeline with other words, apart from what a newcomer makes."""

import subprocess

import pytest
import yaml

from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT, read_json, write_json
from dfrepro.jobs import study

WORDS = {"scale": "smoke", "grid": "full", "seeds": [3, 4]}


def test_words_are_replaced_and_nothing_else_changes():
    before = (ROOT / "params.yaml").read_text()
    after = study.with_words(before, WORDS)
    assert yaml.safe_load(after) == yaml.safe_load(before) | WORDS
    assert [a for a, b in zip(before.splitlines(), after.splitlines(), strict=True) if a != b] == [
        line for line in before.splitlines() if line.startswith(("scale:", "grid:", "seeds:"))
    ]
    assert after.count("#") == before.count("#")


def test_a_word_that_is_not_there_is_an_error():
    with pytest.raises(WorkbookError, match="0 lines that give grid"):
        study.with_words("scale: laptop\n", {"grid": "core"})


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A repository of three files in place of this one."""
    root = tmp_path / "root"
    root.mkdir()
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("")
    (root / "params.yaml").write_text("scale: laptop # of three\ngrid: core\nseeds: [0]\n")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=root, check=True)
    monkeypatch.setattr(study, "ROOT", root)
    monkeypatch.setattr(study, "CLONE", root / "build" / "study")
    monkeypatch.setattr(study, "RESULTS", root / "results" / "study")
    return root


def test_the_clone_has_the_words_and_the_repository_keeps_its_own(elsewhere):
    for _ in range(2):  # a second time goes on
        study.prepare(WORDS)
    assert yaml.safe_load((study.CLONE / "params.yaml").read_text()) == WORDS
    assert yaml.safe_load((elsewhere / "params.yaml").read_text())["seeds"] == [0]
    assert str(elsewhere / ".dvc" / "cache") in (study.CLONE / ".dvc" / "config.local").read_text()


def test_what_was_found_stays_when_the_repository_goes_on(elsewhere):
    """Git took away the metrics of runs that an old commit held and a new one did not."""

    def commit():
        for words in (["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "x"]):
            subprocess.run(["git", *words], cwd=elsewhere, check=True)

    metrics = elsewhere / "results" / "smoke" / "metrics"
    write_json(metrics / "erm-1.json", {"cdfv2": 0.5})
    write_json(elsewhere / "results" / "bench.json", {"at": "old"})
    (elsewhere / "dvc.lock").write_text("schema: '2.0'\nstages: {data: {cmd: old}}\n")
    (elsewhere / ".gitignore").write_text("build/\n")
    commit()
    study.prepare(WORDS)
    write_json(study.CLONE / "results" / "smoke" / "metrics" / "erm-2.json", {"cdfv2": 0.75})
    (study.CLONE / "dvc.lock").write_text("schema: '2.0'\nstages: {data: {cmd: old}, train@erm-2: {cmd: train}}\n")
    (metrics / "erm-1.json").unlink()
    write_json(metrics / "erm-0.json", {"cdfv2": 0.25})
    write_json(elsewhere / "results" / "bench.json", {"at": "new"})
    (elsewhere / "dvc.lock").write_text("schema: '2.0'\nstages: {data: {cmd: new}}\n")
    commit()
    study.prepare(WORDS)
    found = {path.stem for path in (study.CLONE / "results" / "smoke" / "metrics").glob("*.json")}
    assert found == {"erm-0", "erm-1", "erm-2"}
    assert read_json(study.CLONE / "results" / "bench.json") == {"at": "new"}
    said = yaml.safe_load((study.CLONE / "dvc.lock").read_text())["stages"]
    assert said == {"data": {"cmd": "new"}, "train@erm-2": {"cmd": "train"}}
    assert not (study.CLONE / "build" / "results").exists()


def test_what_was_found_is_copied_with_where_it_comes_from(elsewhere, monkeypatch):
    study.prepare(WORDS)
    write_json(study.CLONE / "results" / "smoke" / "claims.json", {"claims": []})
    write_json(study.CLONE / "results" / "smoke" / "evidence" / "videos.json", {})
    figure = study.CLONE / "artifacts" / "smoke" / "figures" / "02_pim" / "rise.png"
    figure.parent.mkdir(parents=True)
    figure.write_bytes(b"png")
    monkeypatch.setattr(study.sys, "executable", "true")
    study.collect(WORDS)
    provenance = read_json(study.RESULTS / "provenance.json")
    assert provenance["commit"] == study._commit(elsewhere)
    assert {name: provenance[name] for name in WORDS} == WORDS
    assert (study.RESULTS / "claims.json").exists()
    assert (study.RESULTS / "evidence" / "videos.json").exists()
    assert (study.RESULTS / "figures" / "02_pim" / "rise.png").exists()
