"""One drawing of the whole pipeline, in step with dvc.yaml."""

import pytest

from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT
from dfrepro.jobs import dag

DRAWN = """
flowchart TD
\tnode1["a@x"]
\tnode2["a@y"]
\tnode3["b"]
\tnode4["c@x"]
\tnode5["code@c"]
\tnode6["grid/dvc.yaml:a@z"]
\tnode1-->node3
\tnode2-->node3
\tnode3-->node4
\tnode1-->node4
\tnode5-->node4
\tnode6-->node4
"""


def test_each_kind_is_drawn_once_with_its_number_and_no_arrow_that_a_longer_way_implies():
    assert dag.by_kind(DRAWN).splitlines() == [
        "flowchart LR", '  a["a ×2"]', "  a --> b", "  b --> c",
    ]  # fmt: skip


def test_the_drawing_in_the_docs_is_that_of_dvc_yaml():
    drawn = dag.BLOCK.search((ROOT / "docs" / "pipeline.md").read_text(encoding="utf-8"))[0]
    assert drawn == dag.by_kind(dag.all_stages()), "run `python -m dfrepro dag`"


def test_a_folder_without_a_pipeline_is_an_error_that_says_so(tmp_path):
    with pytest.raises(WorkbookError, match="DVC draws nothing"):
        dag.all_stages(tmp_path)
