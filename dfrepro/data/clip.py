"""The faces of one video: frames in, a shard of crops, landmarks, masks and problems out.

Nothing that a file can do stops a run: whatever goes wrong becomes a `Problem` with a remedy, and ends in report.json.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from dfrepro.data.crop import crop, crop_box, crop_mask, is_plausible
from dfrepro.data.landmarks import LANDMARKS, Detection, Predictor, load_predictor
from dfrepro.data.layouts.base import Video
from dfrepro.data.media import COPY_AGAIN, Media, equally_spaced, open_media
from dfrepro.data.shards import Kept, Problem, Recipe, Shard
from dfrepro.data.tracking import Follower
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
            if video.mask is not None and shard.faces:
                _masks(video.mask, media, recipe.size, shard)
    except WorkbookError as error:
        shard.problems.append(Problem(error.what, error.remedy))
    except Exception as error:  # hostile files find errors that no list foresees: report, never hide, never stop
        remedy = "Look at the file; if it plays elsewhere, report this with the file"
        shard.problems.append(Problem(f"{type(error).__name__}: {error}", remedy))
    return shard


def _faces(video: Video, media: Media, recipe: Recipe, shard: Shard) -> None:
    wanted = equally_spaced(media.count, recipe.n_frames)
    if video.landmarks is not None:
        _given(video.landmarks, media, wanted, recipe, shard)
    else:
        _followed(media, wanted, recipe, shard)
    shard.problems += [Problem(note, COPY_AGAIN) for note in media.notes]
    shard.problems += _lost_frames(media)
    if video.kind != "image" and len(wanted) < recipe.n_frames:
        reason = f"has {media.count} frames where {recipe.n_frames} are asked for: each was taken once"
        shard.problems.append(Problem(reason, "Nothing to do", harm=False))


def _lost_frames(media: Media) -> Iterator[Problem]:
    reasons = sorted(set(media.missing.values()))
    for reason in reasons:
        frames = tuple(sorted(index for index, why in media.missing.items() if why == reason))
        yield Problem(f"frames cannot be read: {reason}", COPY_AGAIN, frames)


def _followed(media: Media, wanted: list[int], recipe: Recipe, shard: Shard) -> None:
    """Detect, follow one face, predict its landmarks."""
    predictor = load_predictor(recipe.predictor)
    follower: Follower[Kept] = Follower()
    for index, rgb in media.read(wanted):
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)  # (H, W)
        follower.add(index, grey, partial(_keep, rgb, grey, predictor, recipe))
    shard.predictor = predictor.name
    shard.faces, joined = follower.best()
    shard.problems += _doubts(follower, shard.faces, [i for i in wanted if i not in media.missing], joined)


def _keep(rgb: np.ndarray, grey: np.ndarray, predictor: Predictor, recipe: Recipe, found: Detection) -> Kept:
    return _cut(rgb, predictor(grey, found.box), recipe)


def _cut(rgb: np.ndarray, landmarks: np.ndarray, recipe: Recipe) -> Kept:
    box = crop_box(landmarks, recipe.margin)
    height, width = rgb.shape[:2]
    if not is_plausible(box, height, width):
        what = f"landmarks outside the {width} x {height} picture"
        raise WorkbookError(what, remedy="Check which frames they are for")
    return Kept(crop(rgb, box, recipe.size), box, landmarks, width, height)


def _doubts(follower: Follower, faces: dict[int, Kept], read: list[int], joined: int) -> Iterator[Problem]:
    """What a reader should know of the face that was chosen, or that there is none."""
    if not faces:
        if read:
            yield Problem("no face found", "Look at it; leave it out or give its landmarks", tuple(read))
        return
    if without := tuple(index for index in read if index not in faces):
        yield Problem("no face found in some frames", "Nothing to do: the other frames are used", without)
    if others := follower.others(faces):
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


def _masks(path: Path, media: Media, size: int, shard: Shard) -> None:
    """The same frames of the mask video or folder, cut with the same boxes."""
    try:
        with open_media(path, "frames" if path.is_dir() else "video") as masks:
            places = _mask_places(media, masks, list(shard.faces))
            for place, rgb in masks.read(sorted(places)):
                shard.masks[places[place]] = _mask(rgb, shard.faces[places[place]], size)
    except WorkbookError as error:
        shard.problems.append(Problem(f"mask: {error.what}", error.remedy))
        return
    if lacking := tuple(index for index in shard.faces if index not in shard.masks):
        reason = f"mask: of {masks.count} frames, none for some of the video's"
        shard.problems.append(Problem(reason, "Check that mask and video belong together", lacking))


def _mask_places(media: Media, masks: Media, frames: list[int]) -> dict[int, int]:
    """{index in the mask: frame}: by file name where both are files, else by place."""
    if not (media.names and masks.names):
        return {index: index for index in frames if index < masks.count}
    by_stem = {PurePosixPath(name).stem: place for place, name in enumerate(masks.names)}
    stems = {index: PurePosixPath(media.names[index]).stem for index in frames}
    return {by_stem[stem]: index for index, stem in stems.items() if stem in by_stem}


def _mask(rgb: np.ndarray, face: Kept, size: int) -> np.ndarray:
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)  # (H, W)
    if grey.shape != (face.height, face.width):
        grey = cv2.resize(grey, (face.width, face.height), interpolation=cv2.INTER_AREA)
    return crop_mask(grey, face.box, size)
