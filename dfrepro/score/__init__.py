"""Score your own: `python -m dfrepro score VIDEO_OR_IMAGE_OR_FOLDER --run NAME`, with any trained run.

Faces are found, followed and cut by the code that made the run's training faces (`dfrepro.data.faces`), at the same
size and margin, and scored as test faces are (`dfrepro.evaluate.predict`). Every picture, video and tar of frames is an
input of its own; one that fails is listed with its reason and the rest goes on.

- `inputs`: what there is to score; `results`: scores as data, JSON and CSV
- `saliency`: the map of each kind of detector; `pictures` and `page`: the self-contained HTML page
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text
from scipy.special import expit

from dfrepro import __version__, places
from dfrepro.errors import WorkbookError, plain
from dfrepro.files import ROOT, atomic_folder
from dfrepro.params import STANDIN, Params
from dfrepro.score.inputs import Found, Input, find
from dfrepro.score.results import FRAMES, JSON, VIDEOS, Frame, Note, Person, Result, ranked, write
from dfrepro.train import checkpoint

if TYPE_CHECKING:
    from dfrepro.data.manifest import FaceStore

Faces = Literal["highest", "mean"]
ALL, NONE, SOME = 0, 1, 3  # exit status; 2 is a mistake that stops the command (dfrepro.__main__)
PAGE = "page.html"

WARNING_STANDIN = (
    "This detector was trained on stand-in data: faces drawn by a program. It says nothing about real video. "
    "A score here is not evidence that anything is fake or real."
)
WARNING_REAL = (
    "A score is the opinion of one network, not evidence. On video unlike its training data such a detector is often "
    "wrong, in both directions."
)
WARNING_SMOKE = "This is a run at smoke scale, a few steps of training that show that the code works. It knows nothing."
# Extraction's remedies are for whoever builds a dataset; these, by the same problem, for whoever brings a video
REMEDIES = {
    "Look at it; leave it out or give its landmarks": "Give one in which the face is larger, and looks to the camera",
}


def score(
    p: Params, path: Path, run: str, *, seed: int | None = None, out: Path | None = None, frames: int = 32,
    faces: Faces = "highest", console: Console | None = None,
) -> int:  # fmt: skip
    """Score what lies at `path` with a trained run; print a table, and write page, JSON and CSV into `out`.

    seed: default, the lowest that is trained. out: default, below build/score; replaced as a whole. frames: of a video,
    equally spaced. faces: everyone in view is scored, and an input's score is the highest or the mean of theirs.
    Returns the exit status: 0, every input was scored; 1, none was; 3, some were not. Raises
    `WorkbookError` where there is no such run or path, a folder holds no video or picture, or `out` holds other files.
    """
    console = console or Console(highlight=False)
    trained = trained_run(p, run, seed)
    found = find(path)
    out = _checked(out or _default_out(path, trained))
    with atomic_folder(out) as folder, TemporaryDirectory(dir=folder, prefix=".faces-") as scratch:
        about, results = _score_all(p, trained, found, frames, faces, Path(scratch), folder)
        write(folder, about, results)
    _print(console, about, results, found, out)
    scored = [result.score is not None for result in results]
    return ALL if all(scored) else SOME if any(scored) else NONE


def trained_run(p: Params, run: str, seed: int | None = None) -> Path:
    """The checkpoint's folder of a run that is trained at the present scale; `WorkbookError` names those that are."""
    seeds = _trained(p)
    if run not in seeds:
        there = f"Trained: {', '.join(seeds)}" if seeds else "No run is trained yet: `make repro` trains the core runs"
        how = f". Train it: `python -m dfrepro train {run} --seed {p.seeds[0]}`" if run in p.runs else ""
        raise WorkbookError(f"no trained run {plain(run)!r} at scale {p.scale}", where="score", remedy=f"{there}{how}")
    if seed is not None and seed not in seeds[run]:
        known = ", ".join(map(str, seeds[run]))
        raise WorkbookError(f"{run} is not trained with seed {seed}", where="score", remedy=f"Trained with: {known}")
    return places.run_folder(p, run, min(seeds[run]) if seed is None else seed)


def _trained(p: Params) -> dict[str, list[int]]:
    """Seeds of the runs that are there, by name."""
    found: dict[str, list[int]] = {}
    for meta in sorted((p.artifacts / "runs").glob(f"*/*/{checkpoint.META}")):
        if meta.parent.name.isdecimal():
            found.setdefault(meta.parent.parent.name, []).append(int(meta.parent.name))
    return found


# --- faces, scores, maps ----------------------------------------------------------------------------------------------


def _score_all(
    p: Params, trained: Path, found: Found, n_frames: int, faces: Faces, scratch: Path, folder: Path
) -> tuple[dict[str, Any], list[Result]]:
    from dfrepro.evaluate.predict import predict
    from dfrepro.jobs.train import load_detector
    from dfrepro.score.page import render
    from dfrepro.score.pictures import take
    from dfrepro.train.draws import window

    meta = checkpoint.load_meta(trained)
    store = _faces(p, meta["faces"], found.inputs, n_frames, scratch)
    side = window(meta["spec"], store.meta)
    detector = load_detector(trained)
    scores = predict(detector, store, np.arange(len(store)), size=side, batch=p.sizes.evaluation.batch).frames
    about = _about(trained, meta, store, side) | {"score": f"{faces} of the faces in view"}
    results = _results(found, store, scores, side, faces)
    shots = take(found.inputs, results, store, detector, side)
    (folder / PAGE).write_text(render(about, results, shots, found.others), encoding="utf-8")
    return about, results


def _faces(p: Params, cut: dict[str, Any], inputs: Sequence[Input], n_frames: int, scratch: Path) -> "FaceStore":
    """The faces of all inputs, each under its number as key: names may be anything. Labels are unknown, and unread."""
    from joblib import cpu_count

    from dfrepro.data.faces import extract
    from dfrepro.data.layouts.base import REAL, Video

    videos = [
        Video("own", "unknown", _key(i), REAL, "test", (), "", given.path, given.kind) for i, given in enumerate(inputs)
    ]
    predictor = Path(p.sizes.faces.predictor) if p.sizes.faces.predictor else None
    # beside others a file gets a process that it may kill: extraction reports that and goes on
    workers = 1 if len(videos) == 1 else max(2, min(cpu_count(), len(videos)))
    return extract(
        videos, scratch / "store", n_frames=n_frames, size=cut["size"], margin=cut["margin"], predictor=predictor,
        workers=workers, resume=scratch / "shards", everyone=True,
    )  # fmt: skip


def _key(number: int) -> str:
    return f"{number:06d}"  # sorted as text in the order of the inputs


def _results(found: Found, store: "FaceStore", scores: pd.DataFrame, side: int, faces: Faces) -> list[Result]:
    seen = _frames(store, scores, side)
    notes: dict[str, list[Note]] = {}
    for entry in store.report["videos"]:
        remedy = REMEDIES.get(entry["remedy"], plain(entry["remedy"]))
        note = Note(plain(entry["reason"]), remedy, tuple(entry["frames"]))
        notes.setdefault(entry["key"][2], []).append(note)
    results = []
    for i, given in enumerate(found.inputs):
        shown = tuple(seen.get(_key(i), ()))
        people = _people(shown)
        margins = [person.margin for person in people]
        pooled = float(np.max(margins) if faces == "highest" else np.mean(margins)) if people else None
        margin, p_fake = (None, None) if pooled is None else _with_p(pooled)
        told = tuple(notes.get(_key(i), ()))
        results.append(Result(i + 1, given.name, str(given.path), given.kind, margin, p_fake, shown, told, people))
    for each in found.closed:
        note = Note(each.reason, "Score it by itself")
        results.append(Result(len(results) + 1, each.name, str(each.path), "folder", None, None, (), (note,)))
    return results


def _frames(store: "FaceStore", scores: pd.DataFrame, side: int) -> dict[str, list[Frame]]:
    """The faces of every input by its key, in the order of the store."""
    seen: dict[str, list[Frame]] = {}
    for row, (video, frame, margin) in enumerate(zip(scores["video"], scores["frame"], scores["margin"])):
        key, _, number = video.partition("#")
        box = _seen_box(store, row, side)
        seen.setdefault(key, []).append(Frame(int(frame), *_with_p(margin), box, int(number or 1)))
    return seen


def _people(frames: Sequence[Frame]) -> tuple[Person, ...]:
    margins: dict[int, list[float]] = {}
    for frame in frames:
        margins.setdefault(frame.face, []).append(frame.margin)
    return tuple(Person(face, *_with_p(float(np.mean(of))), len(of)) for face, of in sorted(margins.items()))


def _with_p(margin: float) -> tuple[float, float]:
    return float(margin), float(expit(margin))


def _seen_box(store: "FaceStore", row: int, side: int) -> tuple[float, float, float, float]:
    """The square of the source that the network saw: the middle of the stored crop's."""
    x0, y0, x1, _ = (float(v) for v in store.manifest["box"].iat[row])
    unit = (x1 - x0) / store.size
    start, end = (store.size - side) // 2, (store.size - side) // 2 + side
    corners = (x0 + start * unit, y0 + start * unit, x0 + end * unit, y0 + end * unit)
    return tuple(round(corner, 1) for corner in corners)  # type: ignore[return-value]


def _about(trained: Path, meta: dict[str, Any], store: "FaceStore", side: int) -> dict[str, Any]:
    """Where the scores come from, as plain data."""
    spec, cut = meta["spec"], meta["faces"]
    is_standin = spec["data"]["root"] == STANDIN
    warnings = [WARNING_STANDIN if is_standin else WARNING_REAL]
    if spec["scale"] == "smoke":
        warnings.append(WARNING_SMOKE)
    if store.meta["predictors"] and cut.get("predictors", store.meta["predictors"]) != store.meta["predictors"]:
        ours, its = (", ".join(names) for names in (store.meta["predictors"], cut["predictors"]))
        warnings.append(f"Faces are cut here by the landmarks {ours}, the run's training faces were by {its}.")
    return {
        "run": spec["run"],
        "seed": spec["seed"],
        "scale": spec["scale"],
        "kind": spec["detector"]["kind"],
        "backbone": spec["backbone"]["name"],
        "trained_on": {
            "dataset": spec["data"]["dataset"],
            "fakes": spec["data"]["fakes"],
            "data": "stand-in" if is_standin else "licensed copy",
        },
        "checkpoint": _sha256(trained / checkpoint.WEIGHTS),
        "library": {"trained": meta["library"], "scored": __version__},
        "faces": {**store.meta, "seen": side},
        "warnings": warnings,
    }


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- where it goes, and what is said --------------------------------------------------------------------------------


def _default_out(path: Path, trained: Path) -> Path:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.absolute().stem).strip(".-") or "input"
    return ROOT / "build" / "score" / f"{trained.parent.name}-{trained.name}" / name[:80]


def _checked(out: Path) -> Path:
    """`out` itself, where it may be replaced as a whole: it is not there, is empty or holds an earlier score."""
    try:
        out = out.resolve()
        out.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # a file in the way, no permission, a link in a circle
        raise WorkbookError(
            f"cannot be made ({plain(str(error))})", where=plain(str(out)), remedy="Name a new --out"
        ) from error
    if not out.exists():
        return out
    if not out.is_dir() or {entry.name for entry in out.iterdir()} - {PAGE, JSON, VIDEOS, FRAMES}:
        raise WorkbookError("holds other files than an earlier score", where=plain(str(out)), remedy="Name a new --out")
    return out


def _print(console: Console, about: dict[str, Any], results: Sequence[Result], found: Found, out: Path) -> None:
    trained_on = about["trained_on"]
    console.print(
        f"{about['run']}, seed {about['seed']}, {about['scale']} scale, "
        f"trained on {trained_on['dataset']} ({trained_on['data']}). Scores are P(fake), 0 to 1.\n",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    table = Table("score", "from", "to", "frames", "input", box=None, pad_edge=False, header_style="dim")
    for column in table.columns[:4]:
        column.justify = "right"
    table.columns[4].overflow = "fold"
    for result in ranked(results):
        table.add_row(*_row(result))
    console.print(table)
    if found.others:
        console.print(f"\n{found.others} other files were left aside: neither videos nor pictures by their suffix.")
    for warning in about["warnings"]:
        console.print(Text(f"\n{warning}", "bold yellow"))
    scored = sum(result.score is not None for result in results)
    console.print(f"\n{scored} of {len(results)} scored. {PAGE}, {JSON}, {VIDEOS} and {FRAMES} are in", markup=False)
    console.print(plain(str(out)), markup=False, soft_wrap=True)


def _row(result: Result) -> list[Text]:
    told = [note for note in result.notes if note.remedy != "Nothing to do"]  # the page and the JSON have them all
    notes = Text("").join(Text(f"\n{note.reason}. {note.remedy}", "dim") for note in told)
    name = Text(result.name) + Text(_by_face(result), "dim") + notes
    if result.score is None:
        return [Text("none", "red"), Text(""), Text(""), Text("0"), name]
    ends = ["", ""] if result.lowest == result.highest else [f"{result.lowest:.3f}", f"{result.highest:.3f}"]
    return [Text(f"{result.score:.3f}", "bold"), *map(Text, ends), Text(str(len(result.frames))), name]


def _by_face(result: Result) -> str:
    """Everyone's score, where there are several, left to right as they were numbered."""
    if len(result.people) < 2:
        return ""
    return f"\n{len(result.people)} faces: " + ", ".join(f"{person.score:.3f}" for person in result.people)
