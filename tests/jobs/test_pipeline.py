"""dvc.yaml says what params.yaml says, and a stage depends on what it reads and on nothing else."""

import html
import json
import re
import shutil
import subprocess

import nbformat
import pytest
import yaml

from dfrepro import params, places
from dfrepro.__main__ import main, parser
from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT, read_json
from dfrepro.jobs import pipeline
from dfrepro.jobs.embeddings import RUNS

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
GRID = yaml.safe_load((ROOT / "grid" / "dvc.yaml").read_text())["stages"]
P = params.load(scale="laptop")
EVERY = [*STAGES.items(), *GRID.items()]
TRAIN = [(name, stage) for name, stage in EVERY if name.split("-")[0] == "train"]


def test_every_run_is_trained_by_one_stage_and_scored_by_one():
    full = params.load(scale="laptop", grid="full")
    for stages, wanted in ((STAGES, P.core), (GRID, full.runs.keys() - P.core)):
        for verb in ("train", "evaluate"):
            runs = [run for name, stage in stages.items() if name.startswith(verb) for run in stage["matrix"]["run"]]
            assert sorted(runs) == sorted(wanted)


def test_every_kind_of_map_is_made_by_one_stage():
    made = [name for kind, stage in EVERY if kind.startswith("maps") for name in stage["matrix"]["maps"]]
    assert sorted(made) == sorted(P.maps)


def test_no_stage_of_the_core_pipeline_needs_one_of_the_grids():
    outs = [next(iter(out)) if isinstance(out, dict) else out for stage in GRID.values() for out in stage["outs"]]
    made = {out.split("${item")[0].rstrip("/") for out in outs}
    whole = {dep for stage in STAGES.values() for dep in stage["deps"]} & made
    assert whole == set()  # a dependency on artifacts/scores as a whole would run the hundred runs of grid/dvc.yaml


def test_no_run_depends_on_the_word_grid_and_every_notebook_does():
    assert [name for name, stage in EVERY if "grid" in stage.get("params", ())] == ["grid"]
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert "artifacts/${scale}/grid.json" in STAGES[path.stem]["deps"]


def test_a_training_depends_on_its_own_parameters_alone():
    for _, stage in TRAIN:
        own = {"grid/params.yaml": ["runs.${item.run}"]} if "wdir" in stage else "runs.${item.run}"
        assert own in stage["params"]
        assert "runs" not in stage["params"]


def test_a_changed_run_of_ones_own_is_trained_and_scored_again_and_nothing_else_is():
    """Its entry, network and recipe with it, is a parameter of its own two stages, by its name, and of no other's."""
    read = {name: [each for each in stage.get("params", ()) if str(each).startswith("own")] for name, stage in EVERY}
    assert {name: found for name, found in read.items() if found} == {
        "own-faces": ["own.datasets.${item.dataset}"],
        "own-train": ["own.runs.${item.run}"],
        "own-evaluate": ["own.datasets", "own.runs.${item.run}"],
    }


def test_a_training_and_a_scoring_depend_on_what_their_runs_have_from_their_family():
    for name, stage in EVERY:
        if name.startswith(("train", "evaluate")):
            families = {P.run(run).family for run in stage["matrix"]["run"]} - {""}
            listed = {each for each in stage["params"] if isinstance(each, str) and each.startswith("families")}
            assert listed == {f"families.{family}" for family in families}, name


def test_a_scoring_depends_on_the_recipes_that_say_how_it_is_scored():
    scales = [params.load(scale=scale) for scale in ("smoke", "laptop", "paper")]
    own = {name for p in scales for name, recipe in p.sizes.recipes.items() if "evaluation" in recipe}
    for name, stage in EVERY:
        if name.startswith("evaluate"):
            (keys,) = (each["scales/${scale}.yaml"] for each in stage["params"] if "scales/${scale}.yaml" in each)
            used = {P.run(run).recipe for run in stage["matrix"]["run"]} & own
            assert {f"recipes.{recipe}" for recipe in used} <= set(keys), name


def test_what_reads_a_declared_set_depends_on_its_declaration_and_on_the_roots():
    """Which test sets there are, and whose reals are scored with them, is said by `roots` and `datasets`."""
    for name, stage in EVERY:
        verb, words = name.split("-")[0], stage["cmd"].split()
        if verb == "evaluate":
            assert {"roots", "datasets"} <= set(map(str, stage["params"])), name
        elif verb in ("faces", "pairs", "controls"):
            dataset = words[words.index("--dataset") + 1] if "--dataset" in words else "ffpp-c23"
            assert {"roots", f"datasets.{dataset}"} <= set(map(str, stage["params"])), name


def test_every_test_set_and_training_set_is_extracted():
    extracted = set(STAGES["faces"]["matrix"]["dataset"])
    assert {
        dataset for run in P.runs.values() for dataset in (*run.tests, run.data.dataset) if P.has(dataset)
    } <= extracted


def test_an_embeddings_stage_reads_the_runs_that_it_embeds():
    for name, runs in RUNS.items():
        read = {dep.rsplit("/", 1)[-1] for dep in STAGES[f"embed-{name}"]["deps"] if "/scores/" in dep}
        assert read == set(runs)


def test_every_notebook_has_its_stage_and_its_code_stage():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"artifacts/${{scale}}/code/{path.stem}.py" in STAGES[path.stem]["deps"]
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} == set(STAGES["code"]["matrix"]["notebook"])
    assert STAGES["code"]["deps"] == ["notebooks/${item.notebook}.ipynb"]


def test_a_notebooks_stage_depends_on_every_run_that_its_code_names():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        source = "".join("".join(cell["source"]) for cell in read_json(path)["cells"] if cell["cell_type"] == "code")
        named = {run for run in P.runs if f'"{run}"' in source}
        for beginnings in re.findall(r"wb\.named\(([^)]*)\)", source):
            named |= {run for run in P.runs if run.startswith(tuple(re.findall(r'"([^"]+)"', beginnings)))}
        read = {dep.rsplit("/", 1)[-1] for dep in STAGES[path.stem]["deps"] if "/scores/" in dep}
        assert named & P.core <= read, path.stem


def test_the_grids_note_changes_with_its_results_and_only_if_the_grid_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(params.Params, "artifacts", tmp_path)
    monkeypatch.setattr(places, "GRID_LOCK", tmp_path / "dvc.lock")
    notes = {}
    for lock in ("one", "two"):
        (tmp_path / "dvc.lock").write_text(lock)
        for grid in ("core", "full"):
            pipeline.grid(params.load(scale="smoke", grid=grid))
            notes[grid, lock] = read_json(tmp_path / "grid.json")
    assert notes["core", "one"] == notes["core", "two"] != notes["full", "one"] != notes["full", "two"]


def test_a_notebooks_code_does_not_change_with_its_outputs_or_prose(tmp_path, monkeypatch):
    notebooks = tmp_path / "notebooks"
    shutil.copytree(ROOT / "notebooks", notebooks)
    monkeypatch.setattr(places, "NOTEBOOKS", notebooks)
    monkeypatch.setattr(params.Params, "artifacts", tmp_path)
    path = notebooks / "01_motivation.ipynb"
    p = params.load(scale="smoke")
    pipeline.code(p, path.stem)
    before = (tmp_path / "code" / "01_motivation.py").read_text()
    notebook = read_json(path)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
        else:
            cell["source"] = ["other words"]
    path.write_text(json.dumps(notebook))
    pipeline.code(p, path.stem)
    assert (tmp_path / "code" / "01_motivation.py").read_text() == before
    assert "Question" not in before


def test_the_command_line_reports_a_mistake_without_a_traceback(capsys):
    assert main(["train", "erm-dff", "--seed", "0"]) == 2
    assert "Did you mean 'erm-df'?" in capsys.readouterr().err
    assert main(["notebook", "99_none"]) == 2
    assert main(["faces"]) == 2


def test_every_stage_is_a_command_that_the_parser_knows():
    for _, stage in EVERY:
        words = (
            stage["cmd"]
            .replace("${item.seed}", "0")
            .replace("${item.dataset}", "dfd")
            .replace("${item.maps}", "x")
            .replace("${item.notebook}", "00_data")
            .split()
        )
        assert words[:3] == ["python", "-m", "dfrepro"]
        parser().parse_args(words[3:])


def test_an_unknown_name_is_an_error_that_lists_the_known_ones():
    with pytest.raises(WorkbookError, match="01_motivation"):
        pipeline.notebook(P, "02_nothing")


def test_an_executed_notebook_shows_its_figures_with_the_scales_threads_whatever_the_shell_says(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "NOTEBOOKS", tmp_path / "source")
    monkeypatch.setattr(params.Params, "artifacts", tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    parameter = nbformat.v4.new_code_cell("scale = None", metadata={"tags": ["parameters"]})
    sources = ["import os; os.environ['OMP_NUM_THREADS']", "import matplotlib.pyplot as plt\n_ = plt.subplots()"]
    cells = [parameter, *map(nbformat.v4.new_code_cell, sources)]
    (tmp_path / "source").mkdir()
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "source" / "02_pim.ipynb")
    pipeline.notebook(params.load(scale="smoke"), "02_pim")
    threads, shown = [
        cell["outputs"][0]["data"] for cell in read_json(tmp_path / "notebooks" / "02_pim.ipynb")["cells"][-2:]
    ]
    assert "image/png" in shown
    assert threads["text/plain"] == [f"'{params.load(scale='smoke').sizes.threads}'"]


@pytest.mark.skipif(not (ROOT / "dvc.lock").exists(), reason="the pipeline has not been run")
def test_changing_one_runs_learning_rate_retrains_that_run_and_no_other(tmp_path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    assert _would_run(clone) == []
    file = clone / "params.yaml"
    text = file.read_text()
    assert "  erm-df:\n" in text
    file.write_text(text.replace("  erm-df:\n", "  erm-df:\n    training: {lr: 0.0011}\n"))
    train = ["train@erm-df-0", "train@erm-f2f-0", "train@pim-df-0", "train@erm-ffpp-0"]
    assert [stage for stage in train if not _is_up_to_date(clone, stage)] == ["train@erm-df-0"]


def _would_run(clone) -> list[str]:
    done = subprocess.run(["dvc", "repro", "--dry", "--allow-missing"], cwd=clone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")]


def _is_up_to_date(clone, stage: str) -> bool:
    """A clone without data cannot even dry-run a stage that changed: DVC then asks for the data."""
    command = ["dvc", "repro", "--dry", "--allow-missing", "--single-item", stage]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True)
    return done.returncode == 0 and f"Stage '{stage}' didn't change" in done.stdout


def test_publishing_turns_a_framed_page_into_a_file_and_a_dead_slider_into_its_picture(tmp_path, monkeypatch):
    source, executed = tmp_path / "source", tmp_path / "notebooks"  # notebooks/ of the clone, and of the artifacts
    monkeypatch.setattr(places, "NOTEBOOKS", source)
    monkeypatch.setattr(params.Params, "artifacts", tmp_path)
    page = '<p title="a &amp; b">' + "x" * 100_000
    frame = {"text/html": f'<div><iframe srcdoc="{html.escape(page)}" height="9"></iframe></div>'}
    slider = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "image/png": "iVBORw0KGgo="}
    for folder, outputs in ((source, ({}, {})), (executed, (frame, slider))):
        cells = [nbformat.v4.new_code_cell("1", id=str(i)) for i in range(2)]
        for cell, data in zip(cells, outputs):
            cell.outputs = [nbformat.v4.new_output("display_data", data=data)]
        folder.mkdir()
        nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "02_pim.ipynb")
    pipeline.publish(params.load(scale="smoke"))
    first, second = (cell["outputs"][0]["data"] for cell in read_json(source / "02_pim.ipynb")["cells"])
    assert "".join(first["text/html"]) == '<div><iframe src="explorer/02_pim.html" height="9"></iframe></div>'
    assert (source / "explorer" / "02_pim.html").read_text() == page
    assert set(second) == {"image/png"}


def test_the_standins_seed_is_the_scales(monkeypatch):
    asked = []
    monkeypatch.setattr("dfrepro.data.standin.generate", lambda out, spec, *, seed, workers: asked.append((spec, seed)))
    standin = P.sizes.standin.model_copy(update={"seed": 7})
    pipeline.standin(P.model_copy(update={"sizes": P.sizes.model_copy(update={"standin": standin})}))
    ((spec, seed),) = asked
    assert seed == 7
    assert spec.test == P.sizes.standin.test
