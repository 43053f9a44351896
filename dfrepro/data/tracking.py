"""The same face through a video: detections of successive frames linked into tracks, and the choice of one.

Every frame is searched once as a whole, on a reduced copy. A face that was there before and is not found is looked for
in a window around its last place; a frame in which that finds nothing either is searched on larger copies. Detections
are linked when they are near in place and size. The face of the video is the track with the largest sum, over the
frames it was seen in, of its side in pixels: present throughout and large; a caller who knows better, by a mask, has
the last word. Where that track is lost, later or earlier
tracks that never share a frame with what is chosen are joined to it (a face that moved far between two sampled frames,
or a cut), if their size and score are alike.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from dfrepro.data.landmarks import Detection, detect, detect_harder, detect_near

LINK = 1.0  # centre distance in faces + |log2 of the size ratio|: above it, another face
JOIN_RATIO = 2.0  # of sizes, between tracks joined
JOIN_SCORE = 0.3  # HOG's mean score: what it sees in empty walls scores less
MAX_TRACKS = 4  # followed at once where one face is chosen by size; more faces than these are counted, not followed
MAX_PEOPLE = 32  # followed at once where everyone is asked for, or a mask chooses
SAME = 0.3  # overlap from which two detections are one face
PATIENCE = 3  # frames that a lost face is searched for in a window

Seen = TypeVar("Seen")  # what the caller keeps of a face in a frame


@dataclass
class Track(Generic[Seen]):
    """One face: `seen` maps the index of a frame to what is kept of it there."""

    box: np.ndarray  # (4,) where it was last
    seen: dict[int, Seen] = field(default_factory=dict)
    sides: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    lost: int = 0  # frames in a row

    @property
    def weight(self) -> float:
        return sum(self.sides)


class Follower(Generic[Seen]):
    """Feed it frames in order; `keep(detection)` says what to store of a face. `best` then gives the video's face.

    `most`: faces followed at once.
    """

    def __init__(self, most: int = MAX_TRACKS) -> None:
        self.most = most
        self.tracks: list[Track[Seen]] = []
        self.most_faces = 0  # in one frame

    def add(
        self, index: int, grey: np.ndarray, keep: Callable[[Detection], Seen], known: np.ndarray | None = None
    ) -> None:
        """Find the faces of frame `index`, `grey` (H, W) uint8, and link them to the tracks.

        `known` (4,): a box where one has to be; it is searched closely if nothing is found there.
        """
        found = self._search(grey)
        if known is not None and not any(touches(known, detection.box) for detection in found):
            found += _search_place(grey, known)
        self.most_faces = max(self.most_faces, len(found))
        pairs, rest = link([track.box for track in self.tracks], found)
        for place, track in enumerate(self.tracks):
            track.lost = 0 if place in pairs else track.lost + 1
        for place, detection in pairs.items():
            _extend(self.tracks[place], index, detection, keep)
        for detection in rest[: max(self.most - self._alive(), 0)]:
            self.tracks.append(Track(detection.box))
            _extend(self.tracks[-1], index, detection, keep)

    def best(self, merit: Callable[[dict[int, Seen]], float] = lambda _: 0.0) -> tuple[dict[int, Seen], int]:
        """What was kept of the chosen face, by frame, and how many tracks it was joined from (0: no face).

        `merit` of what was kept of a track comes before its size and length.
        """
        ranked = sorted(self.tracks, key=lambda track: (-merit(track.seen), -track.weight))  # ties go to the earlier
        return _joined(ranked)

    def people(self, chosen: dict[int, Seen]) -> list[dict[int, Seen]]:
        """What was kept of everyone else, largest and longest in view first; of who was seen once in a video, nothing:
        in one frame HOG may be mistaken."""
        left = sorted((t for t in self.tracks if not self._is(t, chosen)), key=lambda track: -track.weight)
        found = []
        while left:
            person, _ = _joined(left)
            left = [track for track in left if not self._is(track, person)]
            if len(person) >= min(2, len(chosen)):
                found.append(person)
        return found

    def others(self, chosen: dict[int, Seen]) -> int:
        """Faces seen beside the chosen one in at least two frames (in one frame HOG may be mistaken)."""
        n_shared = [len(chosen.keys() & track.seen.keys()) for track in self.tracks if not self._is(track, chosen)]
        return sum(n >= min(2, len(chosen)) for n in n_shared)

    def _search(self, grey: np.ndarray) -> list[Detection]:
        found = detect(grey)
        taken = link([track.box for track in self.tracks], found)[0]
        for place, track in enumerate(self.tracks):
            if place not in taken and track.lost < PATIENCE:
                near = link([track.box], detect_near(grey, track.box))[0]
                found += [d for d in near.values() if all(overlap(d.box, other.box) < SAME for other in found)]
        return found or detect_harder(grey)

    def _alive(self) -> int:
        return sum(track.lost < PATIENCE for track in self.tracks)

    @staticmethod
    def _is(track: Track[Seen], chosen: dict[int, Seen]) -> bool:
        return any(chosen.get(index) is kept for index, kept in track.seen.items())


def touches(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two boxes x0, y0, x1, y1 share a pixel."""
    return bool((np.minimum(a[2:], b[2:]) > np.maximum(a[:2], b[:2])).all())


def link(boxes: list[np.ndarray], found: list[Detection]) -> tuple[dict[int, Detection], list[Detection]]:
    """Pair known `boxes` with detections, nearest first; returns {place in boxes: detection} and the unpaired."""
    costs = [(distance(box, d.box), i, j) for i, box in enumerate(boxes) for j, d in enumerate(found)]
    pairs: dict[int, int] = {}
    for cost, i, j in sorted(costs):
        if cost <= LINK and i not in pairs and j not in pairs.values():
            pairs[i] = j
    rest = [d for j, d in enumerate(found) if j not in pairs.values()]
    return {i: found[j] for i, j in pairs.items()}, rest


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Between two boxes: of their centres in units of the mean side, plus |log2| of the ratio of sides."""
    side_a, side_b = _side(a), _side(b)
    centres = np.linalg.norm((a[:2] + a[2:] - b[:2] - b[2:]) / 2)
    return float(centres / ((side_a + side_b) / 2) + abs(np.log2(side_a / side_b)))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes x0, y0, x1, y1."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    union = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared
    return shared / union if union > 0 else 0.0


def _search_place(grey: np.ndarray, place: np.ndarray) -> list[Detection]:
    """Faces at a known place, which may be a face or a part of one, such as its mouth."""
    for grown in (1.0, 2.0):
        centre, half = (place[:2] + place[2:]) / 2, np.max(place[2:] - place[:2]) * grown / 2
        near = detect_near(grey, np.concatenate([centre - half, centre + half]))
        if found := [detection for detection in near if touches(place, detection.box)]:
            return found
    return []


def _joined(ranked: list[Track[Seen]]) -> tuple[dict[int, Seen], int]:
    """The first track with those that never share a frame with it and are alike; how many tracks that is."""
    if not ranked:
        return {}, 0
    chosen, joined = dict(ranked[0].seen), 1
    for track in ranked[1:]:
        if not chosen.keys() & track.seen.keys() and _alike(ranked[0], track):
            chosen.update(track.seen)
            joined += 1
    return dict(sorted(chosen.items())), joined


def _extend(track: Track[Seen], index: int, detection: Detection, keep: Callable[[Detection], Seen]) -> None:
    track.box = detection.box
    track.seen[index] = keep(detection)
    track.sides.append(_side(detection.box))
    track.scores.append(detection.score)


def _alike(a: Track, b: Track) -> bool:
    ratio = float(np.mean(a.sides) / np.mean(b.sides))
    return 1 / JOIN_RATIO <= ratio <= JOIN_RATIO and float(np.mean(b.scores)) >= JOIN_SCORE


def _side(box: np.ndarray) -> float:
    return float(max(box[2] - box[0], box[3] - box[1]))
