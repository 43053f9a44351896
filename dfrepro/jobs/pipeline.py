"""What each stage of dvc.yaml does, one function a stage; notebooks call the same functions for what is not there yet.

A function writes its artifact whole or not at all, below `artifacts/<scale>/`. Work that a kill interrupts continues
from `artifacts/<scale>/.resume/`, which is outside what DVC removes before it runs a stage.
"""

import base64
import hashlib
import html
import io
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfrepro import places
from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT, atomic_file, atomic_folder, read_json, remove_leftovers, write_json
from dfrepro.jobs import sources
from dfrepro.jobs.runner import cores
from dfrepro.params import OWN, STANDIN, Params

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from dfrepro.data.layouts import Video
    from dfrepro.data.manifest import FaceStore
    from dfrepro.train.ingredients import Inputs

INJECTED = "injected-parameters"  # papermill's tag of the cell that names the scale
WIDGET = "application/vnd.jupyter.widget-view+json"
LARGE = 350_000  # characters of base64: a quarter of a megabyte

# --- data ----------------------------------------------------------------------------------------------------------


def standin(p: Params) -> None:
    """Generate the stand-in's trees."""
    from dfrepro.data.standin import StandinSpec, generate

    sizes = p.sizes.standin
    spec = StandinSpec(**sizes.model_dump(exclude={"seed"}))
    generate(p.artifacts / "standin", spec, seed=sizes.seed, workers=cores())


def faces(p: Params, dataset: str) -> "FaceStore":
    """Extract the faces of a declared dataset. Without a single face there is nothing to go on with: an error."""
    from dfrepro.data.faces import extract

    sizes = p.sizes.faces
    predictor = Path(sizes.predictor) if sizes.predictor else None
    store = extract(
        videos(p, dataset), places.faces_folder(p, dataset), n_frames=sizes.n_frames, size=sizes.size,
        margin=sizes.margin, predictor=predictor, workers=cores(), resume=p.artifacts / ".resume" / "faces" / dataset,
    )  # fmt: skip
    if len(store) == 0:
        raise WorkbookError(
            "no face was found in any video", where=p.root(dataset), remedy=f"Read {store.path / 'report.json'}"
        )
    return store


def videos(p: Params, dataset: str) -> "list[Video]":
    """The videos of a declared dataset; one of your own files goes by the name that it is declared under."""
    from dfrepro.data.layouts import layout

    declared = p.datasets[dataset]
    found = layout(declared.layout).videos(p.root(dataset), declared.compression)
    return [replace(video, dataset=dataset) for video in found] if declared.layout == OWN else found


def faces_of_folder(
    layout_name: str, root: Path, out: Path, *, compression: str, n_frames: int, size: int, margin: float,
    predictor: Path | None, workers: int, dask: str | None, limit: int | None,
) -> None:  # fmt: skip
    """Extract the faces of any folder in an official layout, and draw a contact sheet beside them."""
    from dfrepro.data.faces import contact_sheet, extract_layout

    store = extract_layout(
        layout_name, root, out, compression=compression, n_frames=n_frames, size=size, margin=margin,
        predictor=predictor, workers=workers, dask=dask, limit=limit,
    )  # fmt: skip
    sheet = out.with_name(out.name + "-contact-sheet.png")
    if len(store):
        contact_sheet(store, sheet)
    print(f"{len(store)} faces of {store.report['counts']}; see {out / 'report.json'} and {sheet}")


def controls(p: Params) -> None:
    """Measure what short cuts could tell in-domain: the border, the file, the colours."""
    from dfrepro.data.standin import controls as measure

    if p.roots[p.datasets["ffpp-c23"].root] != STANDIN:
        write_json(
            places.results_folder(p) / "controls.json",
            {"note": "the controls are of the stand-in; roots.ffpp is not it"},
        )
        return
    write_json(places.results_folder(p) / "controls.json", measure.run(_store(p, "ffpp-c23"), p.artifacts / "standin"))


def reconstruct(p: Params, dataset: str) -> None:
    """Pass every training real of a declared dataset through FIA-USA's reconstructors, trained on the same faces."""
    from dfrepro.data.dataset import select
    from dfrepro.methods.fia_usa import reconstruct as small

    store, resume = _store(p, dataset), p.artifacts / ".resume" / "reconstructions" / dataset
    reals = select(store.manifest, split="train", label=0)
    sizes = p.sizes.reconstruction
    if sizes.autoencoder and sizes.restorer:
        from dfrepro.methods.fia_usa.reconstruct_pretrained import kl_autoencoder, restorer

        networks = {"ae": kl_autoencoder(ROOT / sizes.autoencoder), "sr": restorer(ROOT / sizes.restorer)}
    else:
        small.train_reconstructors(store, reals, resume / "networks", steps=sizes.steps)
        networks = small.load_reconstructors(resume / "networks")
    small.reconstruct(
        store, reals, networks, places.reconstructions_folder(p, dataset), device=_device(), resume=resume / "faces"
    )
    shutil.rmtree(resume, ignore_errors=True)


def pairs(p: Params, dataset: str) -> None:
    """Cut the real face behind every fake of a declared dataset out of the originals' videos."""
    from dfrepro.data.pairs import write_pairs

    made = write_pairs(_store(p, dataset), videos(p, dataset), places.pairs_folder(p, dataset))
    print(f"{len(made.rows)} pairs of {made.report['fakes']} fakes; originals with gaps: {len(made.report['missing'])}")


# --- runs ----------------------------------------------------------------------------------------------------------


def train(p: Params, run: str, seed: int) -> None:
    """Train one run with one seed."""
    from dfrepro.jobs.train import train_run

    spec, needed = p.spec(run, seed), inputs(p, run, seed)
    made_by_it = [places.maps_folder(p, name, seed) for name, declared in p.maps.items() if declared.run == run]
    for folder in (places.scores_folder(p, run, seed), *made_by_it):  # killed later on, new weights would keep old ones
        shutil.rmtree(folder, ignore_errors=True)
    with _threads(p), _state(p, "runs", f"{run}-{seed}") as resume:
        train_run(spec, needed, places.run_folder(p, run, seed), resume=resume)


def start(p: Params, name: str, seed: int) -> None:
    """Train what the runs of a seed begin from; where the scale declares no such start, a folder that says so."""
    from dfrepro.jobs.train import train_run
    from dfrepro.train.ingredients import Inputs

    out = places.start_folder(p, name, seed)
    if name not in p.sizes.starts:
        with atomic_folder(out) as folder:
            write_json(folder / "none.json", {"start": name, "why": f"scale {p.scale} declares none"})
        return
    spec = p.start_spec(name, seed)
    with _threads(p), _state(p, "starts", f"{name}-{seed}") as resume:
        train_run(spec, Inputs(_store(p, spec["data"]["dataset"])), out, resume=resume)


@contextmanager
def _state(p: Params, kind: str, name: str) -> Iterator[Path]:
    """Where a training keeps its state until it ends: one by other code is not continued."""
    folder = p.artifacts / ".resume" / kind / name
    yield sources.resumed_by_this_code(folder)
    shutil.rmtree(folder, ignore_errors=True)


def inputs(p: Params, run: str, seed: int) -> "Inputs":
    """What a run reads: faces, and the other stages' artifacts that its kind may ask for."""
    from dfrepro.train.ingredients import Inputs

    declared = p.run(run)
    folders = {"reconstructions": places.reconstructions_folder(p, declared.data.dataset)}
    if begins := p.sizes.backbones[declared.detector.backbone].start:
        folders["start"] = places.start_folder(p, begins, seed)
    if declared.detector.maps:
        folders["maps"] = places.maps_folder(p, declared.detector.maps, seed)
    return Inputs(_store(p, declared.data.dataset), folders)


def maps(p: Params, name: str, seed: int) -> None:
    """Make the maps `name` of all training fakes as targets, and score them on test faces (P4)."""
    out, declared = places.maps_folder(p, name, seed), p.maps[name]
    from dfrepro.data.pairs import Pairs
    from dfrepro.jobs.train import load_detector
    from dfrepro.methods.focus import maps as focus_maps
    from dfrepro.train.draws import window

    dataset = p.maps_dataset(name)
    store, paired = _store(p, dataset), focus_maps.needs_pairs(declared.kind)
    source = focus_maps.Source(
        declared.kind, store, window({"crop": p.sizes.crop}, store.meta), shuffle=declared.shuffled, seed=seed,
        network=load_detector(places.run_folder(p, declared.run, seed)).to(_device()) if declared.run else None,
        pairs=Pairs.open(places.pairs_folder(p, dataset)) if paired else None,
    )  # fmt: skip
    if declared.reading:
        source.network.read_as(declared.reading)  # type: ignore[union-attr, operator]
    frames = p.training(declared.run).frames if declared.run else store.meta["n_frames"]
    with _threads(p):
        focus_maps.write_maps(
            source, out, frames=frames, tests=p.sizes.evaluation.frames, meta=maps_meta(p, name, seed)
        )


def maps_meta(p: Params, name: str, seed: int) -> dict:
    """What decides maps, as plain data: their declaration and, where a network makes them, its run."""
    declared = p.maps[name]
    made_by = p.spec(declared.run, seed) if declared.run else None
    return {"maps": declared.model_dump(mode="json"), "network": made_by}


def evaluate(p: Params, run: str, seed: int) -> None:
    """Score every test set of one run with one seed, and write its metrics beside the printed ones' names."""
    trained, out = places.run_folder(p, run, seed), places.scores_folder(p, run, seed)
    metrics = places.results_folder(p) / "metrics" / f"{run}-{seed}.json"
    p.run(run)
    if not trained.exists():
        remedy = f"Run `python -m dfrepro train {run} --seed {seed}`"
        raise WorkbookError(f"{run} with seed {seed} is not trained", where=trained, remedy=remedy)
    from dfrepro.jobs.evaluate import evaluate_run

    remove_leftovers(out)
    stores = {name: _store(p, name) for name in p.tests(run)}
    reals = {name: other for name in stores if (other := p.datasets[name].reals)}
    if absent := sorted(set(reals.values()) - set(stores)):
        raise WorkbookError(
            f"is not tested on {absent[0]}, whose reals another test set takes", where=f"runs.{run}.tests"
        )
    sizes, conditions = p.evaluation(run), p.run(run).conditions
    with _threads(p):
        found = evaluate_run(
            trained,
            stores,
            inputs(p, run, seed),
            out,
            batch=sizes.batch,
            frames=sizes.frames,
            conditions=conditions,
            reals=reals,
            corrupted=sizes.corrupted,
        )
    write_json(metrics, found)


@contextmanager
def _threads(p: Params) -> Iterator[None]:
    """The scale's number of threads: with the same number everywhere, results do not depend on the number of cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(p.sizes.threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def embed(p: Params, name: str) -> None:
    """Fit and cache the embedding that a notebook shows."""
    from dfrepro.jobs import embeddings

    with atomic_file(p.artifacts / "embeddings" / f"{name}.parquet") as partial:
        embeddings.embedding(p, name).to_parquet(partial)


def grid(p: Params) -> None:
    """Say for the notebooks' stages which grid has been run: with `full`, what its lock file says of its results."""
    lock = places.GRID_LOCK.read_bytes() if p.grid == "full" and places.GRID_LOCK.exists() else b""
    write_json(p.artifacts / "grid.json", {"grid": p.grid, "results": hashlib.sha256(lock).hexdigest()})


# --- notebooks -----------------------------------------------------------------------------------------------------


def code(p: Params, name: str) -> None:
    """Write the notebook's code alone, so that a stage can depend on it and not on outputs and prose."""
    cells = [cell["source"] for cell in _notebook(name)["cells"] if cell["cell_type"] == "code"]
    with atomic_file(p.artifacts / "code" / f"{name}.py") as partial:
        partial.write_text("\n\n".join("".join(cell) for cell in cells) + "\n", encoding="utf-8")


def notebook(p: Params, name: str, run: str | None = None) -> Path:
    """Execute a notebook and return where it is; it appears only if every cell ran.

    run: of a notebook with such a parameter, the run that it is about: then it goes to build/notebooks.
    """
    import nbformat
    import papermill

    from dfrepro.jobs.kernel import OwnKernel, with_a_home

    _notebook(name)
    if run is not None and "run" not in papermill.inspect_notebook(places.NOTEBOOKS / f"{name}.ipynb"):
        raise WorkbookError("takes no --run", where=f"notebooks/{name}.ipynb", remedy="09_protocol does")
    if run is not None:
        p.run(run)  # an unknown one is told before a kernel starts
    (p.artifacts / "figures" / name).mkdir(parents=True, exist_ok=True)
    title, given = (name, {"scale": p.scale}) if run is None else (f"{name}-{run}", {"scale": p.scale, "run": run})
    failed = p.artifacts / "failed" / f"{title}.ipynb"
    failed.parent.mkdir(parents=True, exist_ok=True)
    os.environ.pop("MPLBACKEND", None)  # the kernel's own shows figures; a shell's `agg` would not
    if p.sizes.threads:  # as for trainings and scores: what is drawn does not depend on the number of cores
        os.environ["OMP_NUM_THREADS"] = str(p.sizes.threads)
    with_a_home()
    try:
        papermill.execute_notebook(
            places.NOTEBOOKS / f"{name}.ipynb", failed, parameters=given, kernel_name="python3",
            language="python", kernel_manager_class=OwnKernel,  # whatever an editor left out and a site calls python3
            extra_arguments=["--IPKernelApp.log_level=40"],  # else each says that it listens on this machine's own TCP
            progress_bar="TQDM_DISABLE" not in os.environ,
        )  # fmt: skip
    except papermill.exceptions.PapermillExecutionError as error:
        raise WorkbookError(
            f"cell {error.exec_count} failed with {error.ename}: {error.evalue}",
            where=f"notebooks/{name}.ipynb", remedy=f"Open {failed} to see it",
        ) from None  # fmt: skip
    executed = nbformat.read(failed, as_version=4)
    _without_times(executed)
    done = (p.artifacts if run is None else ROOT / "build") / "notebooks" / f"{title}.ipynb"
    with atomic_file(done) as partial:
        nbformat.write(executed, partial)
    failed.unlink()
    return done


def _without_times(executed: "NotebookNode") -> None:
    """Leave out when and where each cell ran, progress bars, and the numbers of widgets whose kernel is gone: executed
    again, the notebook is the same file."""
    executed.metadata = {
        key: value for key, value in executed.metadata.items() if key in ("kernelspec", "language_info")
    }
    for cell in executed.cells:
        if INJECTED in cell.metadata.get("tags", []):
            cell.id = INJECTED  # papermill's own is drawn at random
        cell.metadata = {key: value for key, value in cell.metadata.items() if key not in ("papermill", "execution")}
        if cell.cell_type == "code":
            cell.outputs = [each for each in cell.outputs if not _bar(each)]
            for each in cell.outputs:
                each.get("data", {}).pop(WIDGET, None)


def publish(p: Params) -> None:
    """Copy the outputs of the executed notebooks into notebooks/, cell by cell, leaving code and prose as they are."""
    import nbformat

    from dfrepro.jobs.kernel import PYTHON3

    for executed in sorted((p.artifacts / "notebooks").glob("[!.]*.ipynb")):
        source = nbformat.read(places.NOTEBOOKS / executed.name, as_version=4)
        done = [c for c in nbformat.read(executed, as_version=4).cells if INJECTED not in c.metadata.get("tags", [])]
        if [c.source for c in done] != [c.source for c in source.cells]:
            raise WorkbookError(
                "has changed since it was executed", where=f"notebooks/{executed.name}", remedy="Run `dvc repro`"
            )
        count = 0
        for cell, ran in zip(source.cells, done):
            if cell.cell_type == "code":
                count += 1
                cell.outputs, cell.execution_count = ran.outputs, count
                for output in cell.outputs:
                    if "execution_count" in output:
                        output.execution_count = count
                    _lighten(output, executed.stem)
        source.metadata.setdefault("kernelspec", PYTHON3)  # some editors leave it out, and nbval asks for it
        with atomic_file(places.NOTEBOOKS / executed.name) as partial:
            nbformat.write(source, partial)


def _bar(output: dict[str, Any]) -> bool:
    """Whether an output is a progress bar's widget and nothing else: without a kernel it is a dead line."""
    data = output.get("data", {})
    return WIDGET in data and "image/png" not in data


def _lighten(output: dict[str, Any], notebook: str) -> None:
    """Make an output fit for git and for a reader without a kernel: small pictures, no dead sliders, pages as files."""
    data = output.get("data", {})
    if "image/png" in data:
        data.pop(WIDGET, None)
        if len(data["image/png"]) > LARGE:
            data["image/jpeg"] = _jpeg(data.pop("image/png"))
            if "image/png" in output.get("metadata", {}):  # its size and its text for who cannot see it
                output["metadata"]["image/jpeg"] = output["metadata"].pop("image/png")
    if page := re.search(r'srcdoc="([^"]*)"', data.get("text/html", "")):
        with atomic_file(places.NOTEBOOKS / "explorer" / f"{notebook}.html") as partial:
            partial.write_text(html.unescape(page[1]), encoding="utf-8")
        data["text/html"] = data["text/html"].replace(page[0], f'src="explorer/{notebook}.html"')


def _jpeg(png: str) -> str:
    """A picture in base64, as JPEG in all its colours: a figure full of faces is a third of its PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA")
    Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB").save(
        buffer, "JPEG", quality=88, subsampling=0, optimize=True
    )
    return base64.b64encode(buffer.getvalue()).decode()


# --- helpers -------------------------------------------------------------------------------------------------------


def _store(p: Params, dataset: str) -> "FaceStore":
    from dfrepro.data.manifest import FaceStore

    folder = places.faces_folder(p, dataset)
    if not folder.exists():
        raise WorkbookError(
            f"the faces of {dataset} are not there", where=folder, remedy="Run `dvc repro` or `dvc pull`"
        )
    return FaceStore.open(folder)


def _notebook(name: str) -> dict:
    path = places.NOTEBOOKS / f"{name}.ipynb"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in places.NOTEBOOKS.glob("*.ipynb")))
        raise WorkbookError(f"there is no notebook {name!r}", where="notebooks", remedy=f"Known: {known}")
    return read_json(path)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
