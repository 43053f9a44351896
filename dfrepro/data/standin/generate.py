"""`generate`: the whole stand-in from a seed, in any number of processes, resumable."""

import json
from dataclasses import asdict
from pathlib import Path

import joblib
import pandas as pd
from tqdm.auto import tqdm

from dfrepro.data.standin.spec import VERSION, StandinSpec
from dfrepro.data.standin.trees import FF, ffpp_names, produce, units
from dfrepro.errors import WorkbookError
from dfrepro.files import atomic_file, read_json, write_json


def generate(out: Path, spec: StandinSpec, *, seed: int, workers: int = 2, progress: bool = True) -> None:
    """Write the trees of all sets, `truth.parquet` and, last, `complete.json` below `out`.

    The same seed and spec give the same bytes for any number of workers, also after a kill and a restart. A finished
    tree is left alone. Raises `WorkbookError` if `out` holds a stand-in of another seed, spec or version.
    """
    out = Path(out)
    order = {"version": VERSION, "seed": seed, "spec": asdict(spec)}
    if _claim(out, order):
        return
    jobs = [joblib.delayed(produce)(out, spec, seed, unit) for unit in units(spec)]
    done = joblib.Parallel(n_jobs=workers, return_as="generator_unordered")(jobs)
    for _ in tqdm(done, total=len(jobs), desc="stand-in", unit="unit", disable=not progress):
        pass
    _write_lists(out, spec, seed)
    _gather_truth(out)
    _sweep(out)
    write_json(out / "complete.json", order)


def _claim(out: Path, order: dict) -> bool:
    """True if `out` is finished. Otherwise mark it as being made to this order."""
    for name in ("complete.json", ".order.json"):
        if (out / name).exists():
            if read_json(out / name) != order:
                raise WorkbookError(
                    "this folder holds another stand-in", where=out / name, remedy="delete it, or choose another folder"
                )
            if name == "complete.json":
                return True
    write_json(out / ".order.json", order)
    return False


def _write_lists(out: Path, spec: StandinSpec, seed: int) -> None:
    pairs: dict[str, list[tuple[str, str]]] = {"train": [], "val": [], "test": []}
    for unit in units(spec):
        if unit.dataset == "ffpp":
            pairs[unit.split].append(ffpp_names(seed, spec, unit.number))
    for split, names in pairs.items():
        write_json(out / FF / f"{split}.json", names)
    truth = pd.concat([pd.read_parquet(p, columns=_KEYS) for p in _parts(out)])
    videos = truth.drop_duplicates(["dataset", "manipulation", "video"])
    _list_celebdf(out, videos[videos.dataset == "cdfv2"])
    _list_dfdc(out, videos[videos.dataset == "dfdc"])
    _list_dfdcp(out, videos[videos.dataset == "dfdcp"])


_KEYS = ["dataset", "manipulation", "video", "pipeline", "identities"]


def _list_celebdf(out: Path, videos: pd.DataFrame) -> None:
    lines = []
    for row in videos.itertuples():
        folder = (
            row.manipulation if row.pipeline != "original" else "Celeb-real" if "_" in row.video else "YouTube-real"
        )
        lines.append(f"{int(row.pipeline == 'original')} {folder}/{row.video}.mp4")  # 1 = real
    with atomic_file(out / "Celeb-DF-v2" / "List_of_testing_videos.txt") as partial:
        partial.write_text("\n".join(lines) + "\n")


def _list_dfdc(out: Path, videos: pd.DataFrame) -> None:
    lines = sorted(f"{row.video}.mp4,{int(row.pipeline != 'original')}" for row in videos.itertuples())
    with atomic_file(out / "DFDC" / "test" / "labels.csv") as partial:
        partial.write_text("\n".join(["filename,label", *lines]) + "\n")


def _list_dfdcp(out: Path, videos: pd.DataFrame) -> None:
    labels = {}
    for row in videos.itertuples():
        real, (target, *source) = row.pipeline == "original", row.identities
        entry = {"label": "real"} if real else {"label": "fake", "target_id": target, "swapped_id": source[0]}
        labels[f"{'original_videos' if real else row.manipulation}/{row.video}.mp4"] = entry | {"set": "test"}
    with atomic_file(out / "DFDCP" / "dataset.json") as partial:
        partial.write_text(json.dumps(labels, indent=1, sort_keys=True) + "\n")


def _gather_truth(out: Path) -> None:
    parts = [pd.read_parquet(path) for path in _parts(out)]
    with atomic_file(out / "truth.parquet") as partial:
        pd.concat(parts, ignore_index=True).to_parquet(partial, index=False)


def _parts(out: Path) -> list[Path]:
    return sorted((out / ".truth").glob("[!.]*.parquet"))  # not what a kill left half-written


def _sweep(out: Path) -> None:
    """Remove the parts and whatever a kill left half-written (all hidden names)."""
    for path in sorted(out.rglob(".*"), reverse=True):
        if path.is_dir():
            for inner in path.iterdir():
                inner.unlink()
            path.rmdir()
        else:
            path.unlink()
