"""Everyone in view in a store's videos, for protocols that take another face than the one that extraction follows.

Found and followed as extraction does, in as many frames; who is seen in one frame alone is left out, for HOG may be
mistaken there. The store is as `widened` makes it; a person's faces are a clip of their own, `video#1` the followed
one's with the landmarks that are stored, the others larger and longer in view first. `quality` is the detector's score,
NaN where it did not find a stored face again.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from dfrepro.data.crop import crop_box, is_plausible, to_source
from dfrepro.data.landmarks import Detection, Predictor, load_predictor
from dfrepro.data.layouts.base import Video
from dfrepro.data.manifest import Face, FaceStore
from dfrepro.data.media import equally_spaced, open_media
from dfrepro.data.tracking import MAX_PEOPLE, SAME, Follower, overlap
from dfrepro.protocol.declared import WIDEST
from dfrepro.protocol.sources import Clip, cut, followed, made, pictures


class Seen(NamedTuple):
    points: np.ndarray  # (81, 2) in pixels of the frame
    score: float

    @property
    def box(self) -> np.ndarray:
        return crop_box(self.points, 0.0)  # what faces are compared by


def everyone(
    store: FaceStore, videos: list[Video], out: Path, split: str | None, predictor: Path | None = None
) -> FaceStore:
    """The faces of all people in the videos of `store` (of one split; None: all), as the module says.

    predictor: of landmarks, as extraction takes it. Made once, and again where the store is another.
    """
    find = partial(_people, n_frames=store.meta["n_frames"], predictor=predictor)
    return made(store, videos, out, split, partial(_in_parallel, find))


def by_person(manifest: pd.DataFrame) -> pd.DataFrame:
    """The manifest of an `everyone` with `video` as the set's own store has it, `person` (1: the followed one) and
    `side`, of a face's square in pixels of the source."""
    parts = manifest["video"].str.rpartition("#")
    boxes = np.stack(manifest["box"].to_list())
    return manifest.assign(video=parts[0], person=parts[2].astype(int), side=boxes[:, 2] - boxes[:, 0])


def _in_parallel(find: Callable[[Clip], list[Face]], clips: Iterator[Clip]) -> Iterator[Face]:
    for faces in Parallel(n_jobs=-1, return_as="generator")(delayed(find)(clip) for clip in clips):
        yield from faces


def _people(clip: Clip, *, n_frames: int, predictor: Path | None) -> list[Face]:
    cv2.setNumThreads(1)
    with open_media(clip.video.path, clip.video.kind) as media:
        frames = sorted({*equally_spaced(media.count, n_frames), *clip.rows["frame"]})
        shown = pictures(media, clip, frames)
    own = {face.frame: face for face in followed(clip, shown)}
    if clip.video.landmarks is not None:  # its pictures are faces already
        return [replace(face, video=f"{face.video}#1") for face in own.values()]
    stored = {frame: crop_box(to_source(face.landmarks, face.box, clip.side), 0.0) for frame, face in own.items()}
    predict = load_predictor(predictor)
    first, *others = _found(shown, predict, stored)
    faces = []
    for frame in sorted({*own, *first}):
        face = own.get(frame) or cut(clip, frame, shown[frame], first[frame].points, predict.name)
        score = first[frame].score if frame in first else np.nan
        faces.append(replace(face, video=f"{face.video}#1", quality=score))
    for number, seen in enumerate(others, start=2):
        for frame, (points, score) in seen.items():
            face = cut(clip, frame, shown[frame], points, predict.name)
            faces.append(replace(face, video=f"{face.video}#{number}", quality=score))
    return faces


def _found(shown: dict[int, np.ndarray], predict: Predictor, stored: dict[int, np.ndarray]) -> list[dict[int, Seen]]:
    """People by frame; first the one who has most of the `stored` boxes, without frames in which that is another face,
    and nobody else has one of them."""
    follower: Follower[Seen] = Follower(MAX_PEOPLE)

    def matched(seen: dict[int, Seen]) -> list[int]:
        return [frame for frame in seen.keys() & stored.keys() if overlap(seen[frame].box, stored[frame]) >= SAME]

    for frame, rgb in shown.items():
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)  # (H, W)
        follower.add(frame, grey, partial(_seen, grey, predict))
    for track in follower.tracks:
        track.seen = {frame: each for frame, each in track.seen.items() if _is_plausible(each, shown[frame])}
    chosen, _ = follower.best(lambda seen: len(matched(seen)))
    others = follower.people(chosen)
    if not matched(chosen):
        chosen, others = {}, [chosen, *others]
    same = {frame: chosen[frame] for frame in chosen if frame not in stored or frame in matched(chosen)}
    kept = [{frame: seen[frame] for frame in seen if frame not in matched(seen)} for seen in others]
    return [same, *(seen for seen in kept if seen)]


def _seen(grey: np.ndarray, predict: Predictor, found: Detection) -> Seen:
    return Seen(predict(grey, found.box), found.score)


def _is_plausible(seen: Seen, rgb: np.ndarray) -> bool:
    return is_plausible(crop_box(seen.points, WIDEST), *rgb.shape[:2])
