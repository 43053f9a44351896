"""The faces of one video: frames in, a shard of crops, landmarks, masks and problems out.

Nothing that a file can do stops a run: whatever goes wrong becomes a `Problem` with a remedy, and ends in report.json.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from dfrepro.data.crop import crop, crop_box, is_plausible
from dfrepro.data.landmarks import LANDMARKS, Detection, Predictor, load_predictor
from dfrepro.data.layouts.base import FAKE, Video
from dfrepro.data.marks import Marks
from dfrepro.data.media import COPY_AGAIN, Media, equally_spaced, open_media
from dfrepro.data.shards import Kept, Problem, Recipe, Shard
from dfrepro.data.tracking import MAX_PEOPLE, MAX_TRACKS, Follower
from dfrepro.errors import WorkbookError

MAX_LANDMARK_BYTES = 2**16  # 81 pairs take 1.3 kB: a larger .npy is something else


Task = tuple[Video, Path]  # a video and where its shard goes


def write_clip(task: Task, recipe: Recipe) -> None:
    """One video in one process, on one thread: what a worker does."""
    cv2.setNumThreads(1)
    video, path = task
    read_clip(video, recipe).save(path, recipe.size)


def read_clip(video: Video, recipe: Recipe) -> Shard:
    """Extract `video` as `recipe` says. Raises nothing that comes from the video's own files."""
    shard = Shard()
    try:
        with open_media(video.path, video.kind) as media:
            _faces(video, media, recipe, shard)
    except WorkbookError as error:
        shard.problems.append(Problem(error.what, error.remedy))
    except Exception as error:  # hostile files find errors that no list foresees: report, never hide, never stop
        remedy = "Look at the file; if it plays elsewhere, report this with the file"
        shard.problems.append(Problem(f"{type(error).__name__}: {error}", remedy))
    return shard


def _faces(video: Video, media: Media, recipe: Recipe, shard: Shard) -> None:
    wanted = equally_spaced(media.count, recipe.n_frames)
    marks = Marks() if video.mask is None else Marks.read(video.mask, media, wanted)
    if video.landmarks is not None:
        _given(video.landmarks, media, wanted, recipe, shard)
    else:
        _followed(media, wanted, recipe, shard, marks if video.label == FAKE else Marks())
    shard.problems += [Problem(note, COPY_AGAIN) for note in media.notes]
    shard.problems += [Problem(remark, "Nothing to do", harm=False) for remark in media.remarks]
    shard.problems += _lost_frames(media)
    if video.kind != "image" and len(wanted) < recipe.n_frames:
        reason = f"has {media.count} frames where {recipe.n_frames} are asked for: each was taken once"
        shard.problems.append(Problem(reason, "Nothing to do", harm=False))
    _masks(video.label, marks, recipe.size, shard)


def _lost_frames(media: Media) -> Iterator[Problem]:
    reasons = sorted(set(media.missing.values()))
    for reason in reasons:
        frames = tuple(sorted(index for index, why in media.missing.items() if why == reason))
        yield Problem(f"frames cannot be read: {reason}", COPY_AGAIN, frames)


def _followed(media: Media, wanted: list[int], recipe: Recipe, shard: Shard, marks: Marks) -> None:
    """Detect, follow faces, predict their landmarks; the one that `marks` cover is the video's, else the largest."""
    predictor = load_predictor(recipe.predictor)
    follower: Follower[Kept] = Follower(MAX_PEOPLE if recipe.everyone or marks.encoded else MAX_TRACKS)
    for index, rgb in media.read(wanted):
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)  # (H, W)
        follower.add(index, grey, partial(_keep, rgb, grey, predictor, recipe), marks.box(index, *grey.shape))
    shard.predictor = predictor.name
    shard.faces, joined = follower.best(marks.agreement)
    if recipe.everyone:
        shard.others = follower.people(shard.faces)
    is_marked = marks.agreement(shard.faces) > 0
    read = [i for i in wanted if i not in media.missing]
    shard.problems += _doubts(follower, shard, read, joined, is_marked)


def _keep(rgb: np.ndarray, grey: np.ndarray, predictor: Predictor, recipe: Recipe, found: Detection) -> Kept:
    return _cut(rgb, predictor(grey, found.box), recipe)


def _cut(rgb: np.ndarray, landmarks: np.ndarray, recipe: Recipe) -> Kept:
    box = crop_box(landmarks, recipe.margin)
    height, width = rgb.shape[:2]
    if not is_plausible(box, height, width):
        what = f"landmarks outside the {width} x {height} picture"
        raise WorkbookError(what, remedy="Check which frames they are for")
    return Kept(crop(rgb, box, recipe.size), box, landmarks, width, height)


def _doubts(follower: Follower, shard: Shard, read: list[int], joined: int, is_marked: bool) -> Iterator[Problem]:
    """What a reader should know of the face that was chosen, or that there is none."""
    faces = shard.faces
    if not faces:
        if read:
            yield Problem("no face found", "Look at it; leave it out or give its landmarks", tuple(read))
        return
    if without := tuple(index for index in read if index not in faces):
        yield Problem("no face found in some frames", "Nothing to do: the other frames are used", without)
    if others := follower.others(faces):
        if is_marked:
            yield Problem(f"{others + 1} faces: the one that its mask covers was followed", "Nothing to do", harm=False)
        elif not shard.others:
            reason = f"{others + 1} faces: the one that is largest and longest in view was followed"
            yield Problem(reason, "If the manipulated face is another one, leave the video out", harm=False)
    if joined > 1:
        reason = f"the face was lost and found again elsewhere {joined - 1} times: fast motion or a cut"
        yield Problem(reason, "Look at its crops: all should show one person", harm=False)


def _given(folder: Path, media: Media, wanted: list[int], recipe: Recipe, shard: Shard) -> None:
    """Cut by landmarks that came with the data set (DeepfakeBench's form): no detection."""
    shard.predictor = "given"
    for index, rgb in media.read(wanted):
        stem = PurePosixPath(media.names[index]).stem if media.names else f"{index:03d}"
        try:
            shard.faces[index] = _cut(rgb, load_landmarks(folder / f"{stem}.npy"), recipe)
        except WorkbookError as error:
            shard.problems.append(Problem(f"{stem}.npy: {error.what}", error.remedy, (index,)))


def load_landmarks(path: Path) -> np.ndarray:
    """(81, 2) float64 from `path`; `WorkbookError` where it is missing, of another shape, not finite, or not plain."""
    remedy = "Take landmarks and frames from the same release"
    try:
        if path.stat().st_size > MAX_LANDMARK_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes, far more than {LANDMARKS} points take")
        points = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: a false shape is refused, not allocated
        points = np.array(points, np.float64)
    except FileNotFoundError as error:
        raise WorkbookError("no landmarks for this frame", remedy=remedy) from error
    except (OSError, ValueError, EOFError, TypeError) as error:
        raise WorkbookError(f"not landmarks ({error})", remedy=remedy) from error
    if points.shape != (LANDMARKS, 2):
        raise WorkbookError(f"landmarks of shape {points.shape}, not ({LANDMARKS}, 2)", remedy=remedy)
    if not np.isfinite(points).all():
        raise WorkbookError("landmarks that are not finite", remedy=remedy)
    return points


def _masks(label: int, marks: Marks, size: int, shard: Shard) -> None:
    """Cut the masks with the faces' boxes. A fake's face beside which another place is marked is left out."""
    if not shard.faces:
        return
    shard.problems += marks.problems
    shard.masks, black, elsewhere = marks.cut(shard.faces, size)
    if label != FAKE:
        return
    shard.masks = {frame: mask for frame, mask in shard.masks.items() if frame not in {*black, *elsewhere}}
    if elsewhere:
        shard.faces = {frame: face for frame, face in shard.faces.items() if frame not in elsewhere}
        reason = "the mask marks another place than the face that was found: left out, it is not manipulated"
        shard.problems.append(Problem(reason, "Look at video and mask; give its landmarks", tuple(elsewhere)))
    if black:
        reason = "labelled fake and its mask is empty: the faces are kept without a mask"
        shard.problems.append(Problem(reason, "Look at them: nothing may be manipulated there", tuple(black)))
