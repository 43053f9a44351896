"""A stage of dvc.yaml depends on all code that decides its result: the import closure of what its command runs.

Imports are read from the source, at a module's head and inside of functions, but not those for types alone. What is
looked up by name at run time is followed by the runs of the stage: the module of a run's kind, the maker of its fakes.
"""

import ast
from functools import cache

import pytest
import yaml

from dfrepro import params
from dfrepro.files import ROOT, read_json
from dfrepro.jobs.kinds import KINDS
from dfrepro.train.draws import FORGES

P = params.load(scale="laptop", grid="full")
PIPELINE = "dfrepro.jobs.pipeline"

# What cannot change a result, and why
WITHOUT = {
    "dfrepro": "the version, which a checkpoint notes",
    "dfrepro.errors": "words of messages",
    "dfrepro.files": "how files are written, whole or not at all; what is in them is the caller's",
    "dfrepro.places": "names of folders, which DVC sees as dependencies and outputs",
    "dfrepro.params": "checks values that are the stage's parameters; its defaults are pinned by tests/test_params.py",
    "dfrepro.settings": "types of a stage's parameters; likewise",
    PIPELINE: "hands parameters and artifacts, all declared, to the function that is followed here",
    "dfrepro.data.contact": "draws a sheet that no stage makes",
    "dfrepro.data.check": "tells a user what is there",
    "dfrepro.data.sharing": "how many processes make batches; tests/data/test_dataset.py: their number changes none",
}
# Imports that are not followed, and why
NOT_FOLLOWED = {
    (
        "dfrepro.methods.focus.run_evaluation",
        "dfrepro.evaluate.embedding",
    ): "measures in a scoring, which depends on it",
    ("dfrepro.methods.focus.run_evaluation", "dfrepro.evaluate.predict"): "likewise",
    ("dfrepro.workbook", "dfrepro.jobs.ready"): "makes what is missing: of a stage's dependencies nothing is",
    ("dfrepro.protocol.scoring", "dfrepro.jobs.ready"): "likewise",
    ("dfrepro.jobs.ready", PIPELINE): "likewise",
}


@cache
def stages() -> dict[str, dict]:
    found = {}
    for folder in ("", "grid/"):
        for name, stage in yaml.safe_load((ROOT / folder / "dvc.yaml").read_text())["stages"].items():
            found[folder + name] = stage
    return found


@cache
def modules() -> dict[str, str]:
    """Every module of the library by its dotted name: its path."""
    paths = [path.relative_to(ROOT) for path in (ROOT / "dfrepro").rglob("*.py")]
    return {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path.as_posix() for path in paths}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((ROOT / modules()[module]).read_text(encoding="utf-8"))


def imports(node: ast.AST) -> set[str]:
    """The library's modules that a piece of source imports, without those for types alone."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
        return set()
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names} & modules().keys()
    if isinstance(node, ast.ImportFrom):
        names = {f"{node.module}.{alias.name}" for alias in node.names}
        return (names & modules().keys()) | ({node.module} & modules().keys())
    return set().union(*(imports(child) for child in ast.iter_child_nodes(node)))


def of_function(name: str) -> set[str]:
    """What a function of the pipeline imports, with the functions of the same file that it calls."""
    functions = {node.name: node for node in tree(PIPELINE).body if isinstance(node, ast.FunctionDef)}
    found, left, seen = set(), [name], set()
    while left:
        here = functions[left.pop()]
        seen.add(here.name)
        found |= imports(here)
        called = {node.id for node in ast.walk(here) if isinstance(node, ast.Name)} & functions.keys()
        left += called - seen
    return found


@cache
def neighbours(module: str) -> frozenset[str]:
    found = {other for other in imports(tree(module)) if (module, other) not in NOT_FOLLOWED}
    if module == "dfrepro.data.layouts":  # readers by their names in params.yaml
        found |= {name for name in modules() if name.startswith("dfrepro.data.layouts.")}
    return frozenset(found)


def closure(roots: set[str]) -> set[str]:
    left, found = set(roots), set()
    while left:
        module = left.pop()
        found.add(module)
        if module not in WITHOUT:
            parents = {module.rsplit(".", n)[0] for n in range(1, module.count("."))}
            left |= (neighbours(module) | parents) - found
    return {module for module in found if any(not isinstance(node, ast.Expr) for node in tree(module).body)}


def looked_up(verb: str, runs: list[str]) -> set[str]:
    declared = [P.run(run) for run in runs]
    fakes = {FORGES[run.data.fakes][0] for run in declared if verb == "train" and run.data.fakes in FORGES}
    return (
        {KINDS[run.detector.kind] for run in declared}
        | fakes
        | ({KINDS["backbone"], FORGES["sbi"][0]} if verb == "start" else set())
    )


def needed(stage: dict) -> set[str]:
    """The modules that decide what a stage's command makes."""
    _, _, _, verb, *words = stage["cmd"].split()
    # a matrix over your own runs and sets, of params.yaml: a run may be of any kind
    matrix = {key: sorted(P.core) if of == "${own.runs}" else of for key, of in stage.get("matrix", {}).items()}
    if verb == "notebook":
        cells = read_json(ROOT / "notebooks" / f"{words[0]}.ipynb")["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        plain = "\n".join(line for cell in code for line in cell.splitlines() if not line.startswith(("%", "!")))
        roots = imports(ast.parse(plain))
    else:
        roots = of_function(verb)
    maps = [P.maps[name].run for name in matrix.get("maps", ()) if P.maps[name].run]
    return closure(roots | looked_up(verb, [*matrix.get("run", ()), *maps])) - WITHOUT.keys()


def missing(stage: dict, deps: list[str]) -> set[str]:
    """The files that decide a stage's result and that no dependency covers."""
    paths = {modules()[module] for module in needed(stage)}
    return {path for path in paths if not any(path == dep or path.startswith(f"{dep}/") for dep in deps)}


@pytest.mark.parametrize("name", stages())
def test_a_stage_depends_on_all_code_that_decides_its_result_and_on_no_other(name):
    stage = stages()[name]
    deps = stage.get("deps", [])
    assert sorted(missing(stage, deps)) == []
    if not name.endswith("code"):
        files = {modules()[module] for module in needed(stage)}
        ours = [dep for dep in deps if dep.startswith("dfrepro")]
        assert [dep for dep in ours if not any(f"{file}/".startswith(f"{dep}/") for file in files)] == []


@pytest.mark.parametrize(
    ("name", "dependency", "file"),
    [
        ("evaluate-pel", "dfrepro/data/dataset.py", "dfrepro/data/dataset.py"),
        ("maps-focus", "dfrepro/nets", "dfrepro/nets/cam.py"),
        ("grid/train-fiausa", "dfrepro/methods/fia_usa", "dfrepro/methods/fia_usa/pseudo_fakes.py"),
    ],
)
def test_a_dependency_that_is_taken_away_is_missed(name, dependency, file):
    stage = stages()[name]
    assert file in missing(stage, [dep for dep in stage["deps"] if dep != dependency])


def dependent_on(file: str) -> set[str]:
    return {
        name
        for name, stage in stages().items()
        if any(f"{file}/".startswith(f"{dep}/") for dep in stage.get("deps", ()))
    }


def made(names: set[str]) -> set[str]:
    """Of names of stages, those that train, score or make maps."""
    return {name for name in names if name.removeprefix("grid/").split("-")[0] in ("train", "evaluate", "maps")}


def test_how_faces_are_cut_decides_every_training_every_scoring_and_all_maps():
    changed = made(dependent_on("dfrepro/data/dataset.py"))  # `centre`, for one
    assert changed == made(set(stages()))
    assert {"train", "train-pel", "evaluate", "evaluate-focus-eval", "maps-focus", "grid/maps-true"} <= changed


def test_a_change_of_pels_code_runs_pels_runs_again_and_no_others():
    pels = {f"{folder}{verb}-pel" for folder in ("", "grid/") for verb in ("train", "evaluate")}
    assert made(dependent_on("dfrepro/methods/pel/detector.py")) == pels


def test_a_change_of_a_plot_a_report_or_a_notebook_trains_and_scores_nothing():
    changed = (
        "dfrepro/figures/pel/figures.py",
        "dfrepro/report/plots.py",
        "dfrepro/workbook.py",
        "notebooks/04_pel.ipynb",
    )
    for file in changed:
        assert not made(dependent_on(file)), file


def test_no_committed_scale_lets_validation_choose_the_weights():
    for scale in ("smoke", "laptop", "study", "paper"):
        p = params.load(scale=scale, grid="full")
        assert {p.training(run).select for run in p.runs} == {"last"}


def test_what_is_left_out_is_there():
    assert WITHOUT.keys() <= modules().keys()
    assert {name for edge in NOT_FOLLOWED for name in edge} <= modules().keys()
    assert all(other in imports(tree(module)) for module, other in NOT_FOLLOWED)
