"""One picture of the whole pipeline, in step with dvc.yaml."""

import re
import shutil
import xml.etree.ElementTree as ElementTree

import pytest
import yaml
from dvc.repo import Repo

from dfrepro.files import ROOT
from dfrepro.jobs import dag

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def found():
    return dag.stages(ROOT)


def test_the_committed_picture_is_that_of_dvc_yaml(found):
    assert dag.svg(found) == (ROOT / "docs" / "figures" / "pipeline.svg").read_text(), "run `python -m dfrepro dag`"


def test_every_stage_is_drawn_with_the_number_of_its_runs_but_for_bookkeeping(found):
    declared = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert found.keys() == {name for name in declared if name != "grid" and not name.startswith("code-")}
    for name, stage in found.items():
        matrix = declared[name].get("matrix", {"single": [0]})
        assert stage.runs == len(next(iter(matrix.values()))), name  # seeds: one


def test_a_stage_leads_to_what_takes_its_files_and_no_way_is_drawn_that_a_longer_one_implies(found):
    assert found["standin"].leads_to == {"faces"}  # and not to the controls, which take its files too
    assert found["train-fpg"].leads_to == {"evaluate-fpg"}
    assert found["evaluate-fpg"].leads_to == {"07_fpg", "08_claims"}
    assert not found["08_claims"].leads_to


def test_a_new_stage_needs_neither_a_comment_nor_a_notebook(tmp_path):
    for name in ("dvc.yaml", "params.yaml", "scales"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    declared = (tmp_path / "dvc.yaml").read_text()
    own = "stages:\n  own:\n    cmd: touch own\n    deps:\n      - artifacts/${scale}/standin\n    outs:\n      - own\n"
    (tmp_path / "dvc.yaml").write_text(declared.replace("stages:\n", own, 1))
    Repo.init(str(tmp_path), no_scm=True).close()
    found = dag.stages(tmp_path)
    assert next(iter(found.items())) == ("own", dag.Stage("", 1, frozenset()))
    assert "own" in found["standin"].leads_to
    assert ">own</text>" in dag.svg(found)


def test_no_box_lies_on_another_and_every_line_ends_at_boxes(found):
    drawn = ElementTree.fromstring(dag.svg(found))
    corners = {(float(box.get("x")), float(box.get("y"))) for box in drawn.iter(f"{SVG}rect")}
    assert len(corners) == len(found)
    for x, y in corners:
        near = [c for c in corners if abs(c[0] - x) < dag.BOX[0] and abs(c[1] - y) < dag.BOX[1]]
        assert near == [(x, y)]
    middles = {y + dag.BOX[1] / 2 for _, y in corners}
    lines = [re.fullmatch(r"M(\S+) (\S+)H.* (\S+)H(\S+)", line.get("d")) for line in drawn.iter(f"{SVG}path")]
    assert len(lines) == sum(len(stage.leads_to) for stage in found.values())
    for x0, y0, y1, x1 in (map(float, line.groups()) for line in lines):
        assert x0 < x1
        assert {y0, y1} <= {float(f"{y:g}") for y in middles}
