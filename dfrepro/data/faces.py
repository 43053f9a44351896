"""Face extraction: videos in, one store of lossless crops with 81 landmarks out.

Videos are read in parallel processes (joblib's loky, or a Dask cluster that shares the file system). Each leaves a
shard in the resume folder; when all are there, the store is put together one video at a time, in order of key. A run
that was killed goes on where it was, and neither that nor the number of workers changes a byte of the store.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2

from dfrepro.data.clip import Task, read_clip, write_clip
from dfrepro.data.contact import contact_sheet
from dfrepro.data.crop import to_crop
from dfrepro.data.landmarks import load_predictor
from dfrepro.data.layouts import layout
from dfrepro.data.layouts.base import Video
from dfrepro.data.manifest import Face, FaceStore
from dfrepro.data.shards import Problem, Recipe, Shard, remove_shards, shard_path
from dfrepro.errors import WorkbookError
from dfrepro.files import remove_leftovers

__all__ = ["contact_sheet", "extract", "extract_layout"]

SMALLEST_SIZE = 8
COUNTS = ("videos", "extracted", "partial", "skipped", "faces")


def extract(
    videos: list[Video],
    out: Path,
    *,
    n_frames: int,
    size: int,
    margin: float,
    predictor: Path | None = None,
    workers: int = 1,
    dask: str | None = None,
    progress: bool = True,
    resume: Path | None = None,
    everyone: bool = False,
) -> FaceStore:
    """Cut one face from each of `n_frames` equally spaced frames of every video, and store them at `out`.

    `size` is the side of the stored crops in pixels, `margin` what is added on each side as a share of the face's side.
    `predictor` is the path of an 81- or 68-point dlib predictor (None: the bundled 68 points, extended). `workers` are
    processes on this machine; `dask` is the address of a scheduler whose workers see the same files. Shards wait in
    `resume` (default: .<name of out>.resume beside `out`) and are removed at the end. An existing `out` is replaced.

    Where several people are in view, the face of a video is the one that its mask covers, else the largest and longest
    in view. `everyone`: all faces are cut; the second of `video` is stored as `video#2`, and so on.

    No video stops the run: what is skipped or partial is in the store's report with its reason and remedy. Raises
    `WorkbookError` for settings out of range and for two videos of one key.
    """
    out = Path(out)
    recipe = _checked(Recipe(n_frames, size, margin, Path(predictor) if predictor else None, everyone), workers)
    videos = _distinct(videos)
    if any(video.landmarks is None for video in videos):
        load_predictor(recipe.predictor)  # a wrong path is an error now, not a thousand skipped videos later
    folder = Path(resume) if resume else out.parent / f".{out.name}.resume"
    folder.mkdir(parents=True, exist_ok=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    tasks = [(video, shard_path(folder, video, recipe)) for video in videos]
    _run_all([task for task in tasks if not task[1].exists()], recipe, workers, dask, progress)
    remove_leftovers(out)
    store = _assemble(tasks, out, recipe)
    remove_shards(folder)
    return store


def extract_layout(
    name: str, root: Path, out: Path, compression: str = "c23", n_frames: int = 32, *, limit: int | None = None,
    size: int = 320, margin: float = 0.25, **options: Any,
) -> FaceStore:  # fmt: skip
    """Extract a data set in its official layout (`dfrepro.data.layouts`); `limit` takes the first so many videos.

    `options` are those of `extract`: predictor, workers, dask, progress, resume.
    """
    videos = sorted(layout(name).videos(Path(root), compression), key=lambda video: video.key)[:limit]
    if not videos:
        raise WorkbookError("no videos found", where=root, remedy=f"See `python -m dfrepro check`, layout {name}")
    return extract(videos, out, n_frames=n_frames, size=size, margin=margin, **options)


def _checked(recipe: Recipe, workers: int) -> Recipe:
    ranges = {
        "n_frames": (recipe.n_frames >= 1, "at least 1"),
        "size": (recipe.size >= SMALLEST_SIZE, f"at least {SMALLEST_SIZE} pixels"),
        "margin": (0 <= recipe.margin <= 2, "in [0, 2]"),
        "workers": (workers >= 1, "at least 1"),
    }
    for name, (is_right, remedy) in ranges.items():
        if not is_right:
            value = getattr(recipe, name, workers)
            raise WorkbookError(f"{name} is {value}", where="extract", remedy=f"Must be {remedy}")
    return recipe


def _distinct(videos: list[Video]) -> list[Video]:
    ordered = sorted(map(_storable, videos), key=lambda video: video.key)
    for one, other in pairwise(ordered):
        if one.key == other.key:
            where, remedy = "/".join(one.key), "Keep one of them; each compression goes to a store of its own"
            raise WorkbookError(f"two videos of one key: {one.path} and {other.path}", where=where, remedy=remedy)
    return ordered


def _storable(video: Video) -> Video:
    """File names need not be UTF-8 and the manifest's text must: what is not is spelt out, \\udcff for the byte ff."""
    name, *people = (text.encode("utf-8", "backslashreplace").decode() for text in (video.video, *video.identities))
    return replace(video, video=name, identities=tuple(people))


def _run_all(tasks: list[Task], recipe: Recipe, workers: int, dask: str | None, progress: bool) -> None:
    from tqdm.auto import tqdm

    with tqdm(total=len(tasks), desc="faces", unit="video", disable=not progress) as bar:
        threads = cv2.getNumThreads()
        try:
            run_tasks(write_clip, tasks, recipe, workers, dask, bar.update)
        finally:
            cv2.setNumThreads(threads)


def run_tasks(
    work: Callable[[Task, Recipe], None], tasks: list[Task], recipe: Recipe, workers: int, dask: str | None,
    advance: Callable[[], Any],
) -> None:  # fmt: skip
    """Run `work` on every task, in this process, in `workers` processes, or on the Dask cluster at `dask`.

    Where a worker dies (a decoder's crash, no memory left), what it left undone is tried again, each video alone in a
    process; one that kills its process again gets a shard that says so.
    """
    if dask is None and workers == 1:
        for task in tasks:
            work(task, recipe)
            advance()
        return
    from joblib.externals.loky.process_executor import BrokenProcessPool

    try:
        _in_parallel(work, tasks, recipe, workers, dask, advance)
    except BrokenProcessPool:
        for task in tasks:
            if not task[1].exists():
                _alone(work, task, recipe)
                advance()


def _in_parallel(
    work: Callable[[Task, Recipe], None], tasks: list[Task], recipe: Recipe, workers: int, dask: str | None,
    advance: Callable[[], Any],
) -> None:  # fmt: skip
    from joblib import Parallel, delayed, parallel_config

    with ExitStack() as stack:
        if dask is None:
            stack.enter_context(parallel_config("loky", n_jobs=workers, inner_max_num_threads=1))
        else:
            from distributed import Client

            stack.enter_context(Client(dask))
            stack.enter_context(parallel_config("dask", n_jobs=-1))
        parallel = Parallel(return_as="generator_unordered")
        for _ in parallel(delayed(work)(task, recipe) for task in tasks):
            advance()


def _alone(work: Callable[[Task, Recipe], None], task: Task, recipe: Recipe) -> None:
    from joblib.externals.loky.process_executor import BrokenProcessPool

    try:
        _in_parallel(work, [task], recipe, 2, None, lambda: None)  # 2: joblib runs n_jobs=1 in this very process
    except BrokenProcessPool:
        reason = "reading it kills the process (a decoder's crash, or no memory left)"
        Shard(problems=[Problem(reason, "Leave it out, or re-encode it")]).save(task[1], recipe.size)


def _assemble(tasks: list[Task], out: Path, recipe: Recipe) -> FaceStore:
    report: dict[str, Any] = {"counts": dict.fromkeys(COUNTS, 0), "videos": []}
    meta: dict[str, Any] = {"n_frames": recipe.n_frames, "margin": recipe.margin, "predictors": []}
    return FaceStore.write(out, _rows(tasks, recipe, report, meta), recipe.size, meta=meta, report=report)


def _rows(tasks: list[Task], recipe: Recipe, report: dict[str, Any], meta: dict[str, Any]) -> Iterator[Face]:
    """Every face in order of (key, frame), one video in memory at a time; fills `report` and `meta` on the way."""
    for video, path in tasks:
        shard = Shard.load(path)
        if shard is None:  # damaged on disk since it was written
            shard = read_clip(video, recipe)
        _note(report, video, shard)
        if shard.faces:
            meta["predictors"] = sorted({*meta["predictors"], shard.predictor})
        yield from _video_rows(video, shard, recipe.size)
        for number, faces in enumerate(shard.others, start=2):
            person = replace(shard, faces=faces, masks={})
            yield from _video_rows(replace(video, video=f"{video.video}#{number}"), person, recipe.size)


def _video_rows(video: Video, shard: Shard, size: int) -> Iterator[Face]:
    for frame in sorted(shard.faces):
        face = shard.faces[frame]
        yield Face(
            pixels=face.pixels,
            dataset=video.dataset,
            manipulation=video.manipulation,
            video=video.video,
            frame=frame,
            label=video.label,
            split=video.split,
            identities=video.identities,
            compression=video.compression,
            box=face.box,
            landmarks=to_crop(face.landmarks, face.box, size),
            predictor=shard.predictor,
            mask=shard.masks.get(frame),
            source_width=face.width,
            source_height=face.height,
        )


def _note(report: dict[str, Any], video: Video, shard: Shard) -> None:
    report["counts"]["videos"] += 1
    report["counts"][shard.status] += 1
    report["counts"]["faces"] += sum(map(len, [shard.faces, *shard.others]))
    for problem in shard.problems:
        entry = {"key": list(video.key), "status": shard.status, "reason": problem.reason, "remedy": problem.remedy}
        report["videos"].append({**entry, "frames": list(problem.frames)})
