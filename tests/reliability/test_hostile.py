"""Files are data: nothing that the workbook reads is run, unpacked or believed."""

import ast
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from dfrepro import params, workbook
from dfrepro.data.manifest import FaceStore
from dfrepro.data.pairs import Pairs
from dfrepro.data.shards import Shard
from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT, read_json, write_json
from dfrepro.jobs.train import load_detector
from dfrepro.methods.fia_usa.reconstruct import Reconstructions
from dfrepro.methods.focus.maps import ForgeryMaps

# --- the code: what could run a file's content is not in it ---------------------------------------------------------

PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib.load", "joblib.dump"}
CALLS = {  # by the last two names of what is called
    "torch.load", "torch.save", "torch.hub.load", "hub.load", "jit.load", "np.fromfile", "yaml.unsafe_load",
    "yaml.full_load", "yaml.load_all", "pd.read_pickle", "DataFrame.to_pickle", "joblib.load", "joblib.dump",
    "os.system", "os.popen", "shutil.unpack_archive", "runpy.run_path",
}  # fmt: skip
BUILTINS = {"eval", "exec", "compile", "__import__"}
UNPACKING = {"extractall", "unpack_archive", "read_pickle", "to_pickle"}


def sources() -> dict[str, str]:
    """Everything that is shipped and run, notebooks' cells included; the tests break things on purpose."""
    files = [path for top in ("dfrepro", "bench", "docs") for path in sorted((ROOT / top).rglob("*.py"))]
    found = {str(path.relative_to(ROOT)): path.read_text() for path in [*files, ROOT / "conftest.py"]}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = [cell for cell in read_json(path)["cells"] if cell["cell_type"] == "code"]
        found[path.name] = "\n\n".join("".join(cell["source"]) for cell in cells)
    return found


def dangers(source: str) -> list[str]:
    """What in a source could run, unpickle or unpack the content of a file."""
    return [what for node in ast.walk(ast.parse(source)) for what in _of(node)]


def _of(node: ast.AST):
    if isinstance(node, ast.Import | ast.ImportFrom):
        module = getattr(node, "module", None) or ""
        names = {alias.name for alias in node.names} | {f"{module}.{alias.name}" for alias in node.names} | {module}
        yield from (f"import {name}" for name in names & (PICKLES | CALLS))
    if not isinstance(node, ast.Call):
        return
    called = ast.unparse(node.func)
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if called.endswith("torch.load") and options.get("weights_only") == "True":
        return  # tensors and plain containers: other people's checkpoints, which imports turn into safetensors
    if called in BUILTINS or called.split(".")[-1] in UNPACKING or ".".join(called.split(".")[-2:]) in CALLS:
        yield called
    if called.endswith(".extract") and not called.endswith(".str.extract"):
        yield called
    if options.get("allow_pickle", "False") != "False" or options.get("weights_only", "True") != "True":
        yield f"{called} with {options}"
    if options.get("shell", "False") != "False":
        yield f"{called} through a shell"
    if called.endswith("np.load") and options.get("allow_pickle") != "False":
        yield "np.load without allow_pickle=False"
    if called == "yaml.load" and options.get("Loader") not in ("yaml.SafeLoader", "yaml.CSafeLoader", "loader"):
        yield "yaml.load without a safe loader"


def test_nothing_that_is_shipped_unpickles_unpacks_or_evaluates_a_file():
    found = {name: dangers(source) for name, source in sources().items()}
    assert len(found) > 100
    named = "dfrepro/methods/imported/read.py"  # names pickle's error, by which torch refuses a file
    assert found.pop(named) == ["import pickle"]
    assert set(re.findall(r"pickle\.\w+", sources()[named])) == {"pickle.UnpicklingError"}
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from joblib import load", "import dill as d", "torch.load(path)", "eval(text)", "exec(text)",
        "np.load(path, allow_pickle=True)", "np.load(path)", "yaml.load(text)", "yaml.load(text, Loader=yaml.Loader)",
        "archive.extractall(folder)", "archive.extract(member)", "shutil.unpack_archive(path)",
        "subprocess.run(line, shell=True)",
        "pd.read_pickle(path)", "os.system(line)", "torch.hub.load('a', 'b')", "f(path, weights_only=False)",
        "from torch import load",
    ],
)  # fmt: skip
def test_the_search_would_find_it(source):
    assert dangers(source)


# --- at work: the interpreter itself tells of every object that is unpickled ----------------------------------------

WATCHED = """
import sys
found, watching = [], False
def hook(event, arguments):
    if watching and event == "pickle.find_class":
        found.append(".".join(map(str, arguments)))
sys.addaudithook(hook)
import torch, timm, lightning_fabric, pandas, pyarrow.parquet, sklearn.metrics, av
from dfrepro.jobs import pipeline
from dfrepro.__main__ import main
pipeline.cores = lambda: 1  # in this very process
watching = True
for words in {commands!r}:
    assert main(words) == 0
print("FOUND", sorted(set(found)))
import pickle
pickle.loads(pickle.dumps(OSError))  # the watch sees what there is to see
print("THEN", found[-1])
"""


def test_extraction_training_and_scoring_unpickle_nothing(tiny, undisturbed, tmp_path):
    project = tiny.make(tmp_path / "project")
    (project / "artifacts" / "smoke").mkdir(parents=True)
    (project / "artifacts" / "smoke" / "standin").symlink_to(undisturbed.project / "artifacts" / "smoke" / "standin")
    commands = [tiny.STAGES[name] for name in ("faces", "train", "evaluate")]
    done = subprocess.run(
        [sys.executable, "-c", WATCHED.format(commands=commands)],
        cwd=project, env=tiny.environment(project), capture_output=True, text=True,
    )  # fmt: skip
    assert "FOUND []" in done.stdout, done.stdout[-500:] + done.stderr[-2000:]
    assert "THEN builtins.OSError" in done.stdout


# --- artifacts with objects in them ---------------------------------------------------------------------------------


class Trap:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


def trapped(path: Path, mark: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array([Trap(mark)] * 400, object), allow_pickle=True)


def store_of(undisturbed) -> Path:
    return undisturbed.project / "artifacts" / "smoke" / "faces" / "ffpp-c23"


def copied(folder: Path, to: Path) -> Path:
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


OPENERS = {
    "faces.npy": FaceStore.open,
    "masks.npy": FaceStore.open,
    "rows.npy": Pairs.open,
    "reals.npy": Pairs.open,
    "pixels.npy": Reconstructions.open,
    "maps.npy": ForgeryMaps.open,
}


@pytest.mark.parametrize("name", OPENERS)
def test_an_array_of_objects_is_refused_and_not_unpickled(undisturbed, tmp_path, name):
    mark, folder = tmp_path / "mark", copied(store_of(undisturbed), tmp_path / "artifact")
    for beside in ("rows.npy", "reals.npy"):
        np.save(folder / beside, np.zeros(1))
    write_json(folder / "meta.json", read_json(folder / "meta.json") | {"kinds": ["ae"], "faces": ""})
    pd.DataFrame().to_csv(folder / "measured.csv")
    trapped(folder / name, mark)
    with pytest.raises(WorkbookError, match=re.escape(str(folder))):
        OPENERS[name](folder)
    assert not mark.exists()


def test_a_shard_of_objects_is_no_shard(tmp_path):
    mark = tmp_path / "mark"
    np.savez(tmp_path / "face-0.npz", frames=np.array([Trap(mark)], object), note=np.array([Trap(mark)], object))
    assert Shard.load(tmp_path / "face-0.npz") is None
    assert not mark.exists()


def test_features_of_objects_are_refused(undisturbed, tmp_path):
    scored = copied(undisturbed.project / "artifacts" / "smoke" / "scores" / "erm-df" / "0", tmp_path / "scored")
    trapped(scored / "features.npy", tmp_path / "mark")
    with pytest.raises(ValueError, match="object"):
        workbook.TrainedRun("erm-df", 0, scored, scored).features()
    assert not (tmp_path / "mark").exists()


@pytest.fixture
def checkpoint(undisturbed, tmp_path):
    return copied(undisturbed.project / "artifacts" / "smoke" / "runs" / "erm-df" / "0", tmp_path / "run")


def test_a_pickle_in_a_runs_place_is_not_run(checkpoint, tmp_path):
    (checkpoint / "model.safetensors").write_bytes(pickle.dumps(Trap(tmp_path / "mark")))
    with pytest.raises(WorkbookError, match=r"model\.safetensors"):
        load_detector(checkpoint)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("detector", "kind"), "os"),
        (("detector", "kind"), "..evil"),
        (("backbone", "name"), "hf_hub:someone/network"),
        (("backbone", "name"), "local-dir:/tmp"),
    ],
)
def test_a_checkpoint_cannot_name_code_or_other_files_to_load(checkpoint, place, value):
    meta = read_json(checkpoint / "meta.json")
    meta["spec"][place[0]][place[1]] = value
    write_json(checkpoint / "meta.json", meta)
    with pytest.raises(WorkbookError):
        load_detector(checkpoint)


def test_a_checkpoint_that_names_a_pickle_beside_it_does_not_get_it_run(checkpoint, tmp_path):
    mark, meta = tmp_path / "mark", read_json(checkpoint / "meta.json")
    (checkpoint / "weights.pth").write_bytes(pickle.dumps({"a": Trap(mark)}))
    meta["spec"]["backbone"]["kwargs"] = {"checkpoint_path": str(checkpoint / "weights.pth")}
    write_json(checkpoint / "meta.json", meta)
    with pytest.raises(RuntimeError, match="weights_only"):
        load_detector(checkpoint)
    assert not mark.exists()


# --- notebooks' parameters and what notebooks show ------------------------------------------------------------------

INJECTIONS = [
    'smoke"; import os; os.mkdir("evil") #',
    "smoke'\nimport os",
    "__import__('os').mkdir('evil')",
    "../smoke",
]


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_parameter_that_holds_code_stays_a_string_and_is_refused_as_a_scale(text, monkeypatch):
    notebook = load_notebook_node(str(ROOT / "notebooks" / "00_data.ipynb"))
    notebook = parameterize_notebook(notebook, {"scale": text})
    (injected,) = [cell for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", ())]
    (assigned,) = ast.parse(injected.source).body
    assert ast.literal_eval(assigned.value) == text
    with pytest.raises(WorkbookError, match="scale is"):
        workbook.open("00_data", text)
    monkeypatch.setenv("DFREPRO_SCALE", text)  # how a stage is told: the notebook is never begun
    with pytest.raises(WorkbookError, match="scale is"):
        params.load()


@pytest.mark.parametrize("name", ["../../etc/passwd", "00_data'; import os", "<script>"])
def test_a_workbook_is_opened_by_a_name_that_is_fit_for_a_folder(name):
    with pytest.raises(WorkbookError, match="is no name of a folder"):
        workbook.open(name)


HOSTILE = "<script>alert(1)</script>"


def test_tables_of_file_names_escape_them(undisturbed):
    store = FaceStore.open(store_of(undisturbed))
    table = store.manifest[["dataset", "manipulation", "video", "frame"]].assign(video=HOSTILE)
    assert HOSTILE not in table._repr_html_()
    assert HOSTILE not in table.groupby("video").size().to_frame()._repr_html_()


def test_no_table_goes_through_pandas_styler_which_escapes_nothing():
    """Tables are drawn by dfrepro.report.tables, which escapes what it shows (tests/report/test_tables.py)."""
    assert not [
        name for name, source in sources().items() if re.search(r"\.style\b(?!\.(use|context|library))", source)
    ]
