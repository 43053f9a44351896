"""What a fake's mask tells: which face was manipulated, where to look for it, and each stored face's own mask.

A mask belongs to a frame by file name where both are files, else by place. Masks of another length than the video (the
DeepFakeDetection release has some of one second for 47) cannot be placed, so they are not used, and the report says so.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from dfrepro.data.crop import crop_box, crop_mask
from dfrepro.data.media import Media, open_media
from dfrepro.data.shards import Kept, Problem
from dfrepro.errors import WorkbookError

VISIBLE = 16  # of 255: a mask with less than this is black but for its codec's noise
SAME_LENGTH = 0.1  # share of the longer by which mask and video may differ in length
TOGETHER = "Check that mask and video belong together"


@dataclass
class Marks:
    """The masks of a video's chosen frames, as PNG: they are nearly all black, so memory does not grow with their size.

    `problems`: why some or all are not there.
    """

    encoded: dict[int, np.ndarray] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path, media: Media, wanted: list[int]) -> "Marks":
        """The masks at `path`, a video or a folder of frames, of the frames `wanted` of `media`. Raises nothing."""
        marks = cls()
        try:
            with open_media(path, "frames" if path.is_dir() else "video") as masks:
                if reason := _of_another_length(media, masks):
                    marks.problems.append(Problem(reason, TOGETHER))
                    return marks
                places = _places(media, masks, wanted)
                for place, rgb in masks.read(sorted(places)):
                    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)  # (H, W)
                    marks.encoded[places[place]] = cv2.imencode(".png", grey, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
                if lacking := tuple(index for index in wanted if index not in marks.encoded):
                    reason = f"mask: of {masks.count} frames, none for some of the video's"
                    marks.problems.append(Problem(reason, TOGETHER, lacking))
        except WorkbookError as error:
            marks.problems.append(Problem(f"mask: {error.what}", error.remedy))
        return marks

    def of(self, frame: int, height: int, width: int) -> np.ndarray | None:
        """The mask (H, W) uint8 of a frame of this size; None where there is none."""
        if frame not in self.encoded:
            return None
        grey = np.asarray(cv2.imdecode(self.encoded[frame], cv2.IMREAD_GRAYSCALE))
        same = grey.shape == (height, width)
        return grey if same else cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)

    def box(self, frame: int, height: int, width: int) -> np.ndarray | None:
        """(4,) float64 x0, y0, x1, y1 around what the mask marks; None where there is no mask or a black one."""
        mask = self.of(frame, height, width)
        if mask is None or mask.max() < VISIBLE:
            return None
        rows, columns = np.flatnonzero((mask >= VISIBLE).any(1)), np.flatnonzero((mask >= VISIBLE).any(0))
        return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)

    def agreement(self, seen: dict[int, Kept]) -> float:
        """How well the mask covers one face, summed over the frames it was `seen` in: Dice's coefficient of the mask
        and the square around the landmarks, in [0, 1] each."""
        return sum(self._dice(frame, face) for frame, face in seen.items())

    def _dice(self, frame: int, face: Kept) -> float:
        mask = self.of(frame, face.height, face.width)
        if mask is None or mask.max() < VISIBLE:
            return 0.0
        x0, y0, x1, y1 = np.clip(crop_box(face.landmarks, 0.0), 0, [face.width, face.height] * 2).astype(int)
        marked = mask >= VISIBLE
        return float(2 * marked[y0:y1, x0:x1].sum() / (marked.sum() + (y1 - y0) * (x1 - x0)))

    def cut(self, faces: dict[int, Kept], size: int) -> tuple[dict[int, np.ndarray], list[int], list[int]]:
        """The faces' masks (size, size) by frame; frames whose mask is black; frames where it marks another place."""
        masks: dict[int, np.ndarray] = {}
        black: list[int] = []
        elsewhere: list[int] = []
        for frame, face in faces.items():
            if (mask := self.of(frame, face.height, face.width)) is None:
                continue
            masks[frame] = crop_mask(mask, face.box, size)
            if masks[frame].max() < VISIBLE:
                (black if mask.max() < VISIBLE else elsewhere).append(frame)
        return masks, black, elsewhere


def _of_another_length(media: Media, masks: Media) -> str:
    if media.names and masks.names:
        return ""
    if abs(media.count - masks.count) <= max(1, SAME_LENGTH * max(media.count, masks.count)):
        return ""
    return f"mask: {masks.count} frames for a video of {media.count}: which is whose cannot be told, none is used"


def _places(media: Media, masks: Media, frames: Iterable[int]) -> dict[int, int]:
    """{index in the mask: frame}: by file name where both are files, else by place."""
    if not (media.names and masks.names):
        return {index: index for index in frames if index < masks.count}
    by_stem = {PurePosixPath(name).stem: place for place, name in enumerate(masks.names)}
    stems = {index: PurePosixPath(media.names[index]).stem for index in frames}
    return {by_stem[stem]: index for index, stem in stems.items() if stem in by_stem}
