"""Everything that was measured at one scale, read from its artifacts: for the claims page. Nothing is trained here.

A run or map that is not there is not in the answer, and its claims read "not run". Nothing here imports torch.

What the verdicts rest on is kept beside them, in results/<scale>/evidence, small enough for git: the scores that were
asked for as 32-bit margins, of single frames only where a metric is about them, and the measured numbers. Where there
are no artifacts, as in a fresh clone, the verdicts are computed from there, and are the same to the last bit. What was
kept of several draws of the stand-in (its generator's seed is a column) lies side by side in folders there.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from dfrepro import places
from dfrepro.evaluate.metrics import KEY, margins, video_scores
from dfrepro.evaluate.scores import read
from dfrepro.files import atomic_folder
from dfrepro.params import Params
from dfrepro.report.curves import share_to
from dfrepro.report.evidence import GENERATOR, KEYS, VIDEO, Evidence
from dfrepro.report.people import COLUMNS
from dfrepro.report.schema import STEPS_TO, load_claims

MEASURED = ["dataset", "metric", "value"]
LOOK = "validation_after_"  # and a step: the AUC in validation there


def evidence(p: Params) -> Evidence:
    """All scores and measurements of the declared runs, maps and seeds that are there, as evidence.

    From the artifacts; where there is none, from what was kept.
    """
    found = scores(p)
    if found is None and (folder := _kept(p)).exists():
        return kept(p, folder)
    return joined(p, measured(p), found)


def kept(p: Params, folder: Path) -> Evidence:
    """What `keep` wrote to a folder, as evidence.

    One draw of the stand-in in `folder` itself, each further one in a folder below it, with seeds of its own.
    """
    parts = [_read_kept(part) for part in (folder, *sorted(folder.glob("*/"))) if (part / "items.parquet").is_file()]
    measured, scores = (pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True))
    return joined(p, measured, scores)


def _read_kept(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What was measured, and the scores.

    Former evidence holds the logits of frames in a column `logit`, and of videos the mean probability as `score`.
    """
    items = pd.read_parquet(folder / "items.parquet")
    items = items.astype(dict.fromkeys(items.columns[items.dtypes.map(pd.api.types.is_string_dtype)], "category"))
    parts = [
        pd.read_parquet(path) for name in ("frames", "videos") for path in sorted(folder.glob(f"{name}-*.parquet"))
    ]
    parts = [part.rename(columns={"logit": "margin"}) for part in parts]
    parts = [part[["run", "seed", "item"]].assign(margin=margins(part)) for part in parts]
    found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["run", "seed", "item", "margin"])
    found = found[["run", "seed", "margin"]].join(items.iloc[found["item"]].reset_index(drop=True))
    return pd.read_parquet(folder / "measured.parquet"), found


def joined(p: Params, measured: pd.DataFrame | None, scores: pd.DataFrame | None) -> Evidence:
    """Both as evidence that knows what each run was trained on and which networks are behind it.

    How soon a run reaches another's AUC is found here, of what may have been measured on two machines.
    """
    networks = {f"{places.MAPS}{name}": maps.run or "" for name, maps in p.maps.items()}
    measured = None if measured is None else pd.concat([measured, _races(measured)], ignore_index=True)
    supervisors = {name: p.maps[run.detector.maps].run or "" for name, run in p.runs.items() if run.detector.maps}
    return Evidence(measured, scores, trained_on=p.trained_on, networks=networks, supervisors=supervisors)


def keep(p: Params, evidence: Evidence) -> None:
    """Write what `evidence` was asked for to results/<scale>/evidence, where there are artifacts to keep it from."""
    found = scores(p)
    if found is None:
        return
    at = pd.MultiIndex.from_frame(found[KEYS])
    frames, rest = (
        found[at.isin([key for key, frames in evidence.asked.items() if frames is single])] for single in (True, False)
    )
    means = [video_scores(group).assign(**dict(zip(KEYS, key))) for key, group in rest.groupby(KEYS)]
    videos = pd.concat(means, ignore_index=True).drop(columns="n_frames") if means else rest
    videos = _with_people(videos.assign(frame=VIDEO, **{GENERATOR: p.sizes.standin.seed}), rest)
    write(_kept(p), measured(p), pd.concat([frames, videos], ignore_index=True))


def add(new: Path, folder: Path) -> None:
    """Put the kept evidence in `new` into `folder`, in place of what that holds of the same runs and seeds.

    Both are of one draw of the stand-in. What `folder` holds of other runs and seeds stays, so that a study can go on
    on another machine, which has none of the former one's artifacts.
    """
    tables = zip(_read_kept(folder), _read_kept(new)) if (folder / "items.parquet").is_file() else ()
    joined = [pd.concat([of_others(old, more), more], ignore_index=True) for old, more in tables]
    write(folder, *(joined or _read_kept(new)))


def of_others(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """The rows of `old` whose run and seed `new` has no rows of."""
    pairs = pd.MultiIndex.from_frame(new[["run", "seed"]])
    return old[~pd.MultiIndex.from_frame(old[["run", "seed"]]).isin(pairs)]


def write(folder: Path, measured: pd.DataFrame, scores: pd.DataFrame) -> None:
    """Write evidence of one draw of the stand-in: columns as `evidence` has them; single frames and means of videos."""
    about = [name for name in scores if name not in ("run", "seed", "margin")]
    items = scores[about].drop_duplicates(ignore_index=True)
    found = scores.merge(items.assign(item=range(len(items))), on=about, how="left")
    of_video = found["frame"] == VIDEO
    with atomic_folder(folder) as partial:
        items.to_parquet(partial / "items.parquet", index=False, compression="zstd")
        measured.to_parquet(partial / "measured.parquet", index=False, compression="zstd")
        for name, part in (("frames", found[~of_video]), ("videos", found[of_video])):
            for seed, rows in part[["run", "seed", "item", "margin"]].groupby("seed"):
                rows.to_parquet(
                    partial / f"{name}-{seed}.parquet",
                    index=False,
                    compression="zstd",
                    use_dictionary=["run", "seed"],
                    column_encoding={"item": "DELTA_BINARY_PACKED", "margin": "BYTE_STREAM_SPLIT"},
                )


def _kept(p: Params) -> Path:
    return places.results_folder(p) / "evidence"


def scores(p: Params) -> pd.DataFrame | None:
    """The scores of all runs and seeds that are there, as float32 margins; None where none is."""
    parts = [
        read(folder).assign(run=run, seed=seed)
        for run, seed, folder in _scored(p)
        if (folder / "scores.parquet").is_file()
    ]
    if not parts:
        return None
    found = pd.concat(parts, ignore_index=True)
    found["margin"] = margins(found).astype(np.float32)
    found[GENERATOR] = p.sizes.standin.seed
    return found.drop(columns="score", errors="ignore")


def _with_people(videos: pd.DataFrame, frames: pd.DataFrame) -> pd.DataFrame:
    """The videos with the people that their frames name."""
    known = [name for name in COLUMNS if name in frames]
    if not known:
        return videos
    return videos.merge(frames[[*KEY, *known]].drop_duplicates(KEY), on=KEY, how="left")


def measured(p: Params) -> pd.DataFrame:
    """What is no function of the scores, of all runs, maps and seeds that are there: run, seed, dataset, metric, value.

    Of a number that a map and its network's run both give, the map's is taken.
    """
    parts = [pd.DataFrame(columns=["run", "seed", *MEASURED])]
    for name in p.maps:
        for seed in p.seeds:
            parts += _read(places.maps_folder(p, name, seed), f"{places.MAPS}{name}", seed)
    scored = list(_scored(p))
    for run, seed, folder in scored:
        parts += _read(folder, run, seed)
    parts.append(trainings(p, [(run, seed) for run, seed, _ in scored]))
    found = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    found = found.drop_duplicates(["run", "seed", "dataset", "metric"], ignore_index=True)
    return found.assign(**{GENERATOR: p.sizes.standin.seed})


def trainings(p: Params, runs: Iterable[tuple[str, int]]) -> pd.DataFrame:
    """What trainings, by run and seed, tell of themselves, in rows as `measured` has them, on the test set "train"."""
    told = [
        (run, seed, "train", metric, value)
        for run, seed in runs for metric, value in _training(p, run, seed).items()
    ]  # fmt: skip
    return pd.DataFrame(told, columns=["run", "seed", *MEASURED])


def _training(p: Params, run: str, seed: int) -> dict[str, float]:
    """What a training tells of itself: steps, loss of its first and last epoch, and AUC in validation.

    Not its seconds: those are a machine's, and what is committed is the same on any.
    """
    told: dict[str, float] = {}
    history = places.run_folder(p, run, seed) / "history.csv"
    if history.is_file():
        epochs = pd.read_csv(history)
        told |= {"train_steps": epochs["step"].iloc[-1], "loss_first": epochs["loss"].iloc[0]}
        told["loss_last"] = epochs["loss"].iloc[-1]
        if "validation" in epochs:
            told["validation_auc"] = epochs["validation"].max()
            told |= {f"{LOOK}{step}": auc for step, auc in zip(epochs["step"], epochs["validation"]) if auc == auc}
    return {name: float(value) for name, value in told.items()}


def _races(measured: pd.DataFrame) -> pd.DataFrame:
    """How soon runs reach the AUC of others, where a claim asks for it, in rows as `measured` has them."""
    looks = measured[measured["metric"].astype(str).str.startswith(LOOK)].reset_index(drop=True)
    steps = looks["metric"].str.removeprefix(LOOK).astype(int)
    curves = {
        at: part.set_index(steps[part.index])["value"].sort_index() for at, part in looks.groupby(["run", "seed"])
    }
    heads = looks.drop_duplicates(["run", "seed"]).to_dict("records")
    rows = [
        head | {"metric": f"{STEPS_TO}{other}", "value": share_to(curves[head["run"], head["seed"]], there)}
        for head in heads for other in _raced().get(head["run"], ())
        if (there := curves.get((other, head["seed"]))) is not None
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=measured.columns)


@cache
def _raced() -> dict[str, set[str]]:
    """Which runs' AUC each run is to reach, by the claims."""
    found: dict[str, set[str]] = {}
    for operand in (operand for claim in load_claims() for operand in claim.operands(claim.cells)):
        others = {metric.removeprefix(STEPS_TO) for metric in operand.metrics if metric.startswith(STEPS_TO)}
        found.setdefault(operand.run, set()).update(others)
    return found


def _scored(p: Params) -> Iterator[tuple[str, int, Path]]:
    """Runs of the present grid that have been scored, with seed and folder."""
    for run in p.runs:
        for seed in p.seeds:
            folder = places.scores_folder(p, run, seed)
            if p.in_grid(run) and folder.is_dir():
                yield run, seed, folder


def _read(folder: Path, run: str, seed: int) -> list[pd.DataFrame]:
    path = folder / "measured.csv"
    if not path.is_file():
        return []
    types = {"dataset": str, "metric": str, "value": float}
    return [pd.read_csv(path, dtype=types)[MEASURED].assign(run=run, seed=seed)]
