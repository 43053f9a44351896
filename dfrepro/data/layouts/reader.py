"""What all layouts share: one reading of a root serves `videos` (which refuses) and `check` (which reports)."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

from dfrepro.data.layouts.base import FAKE, Count, Finding, Inventory, Video
from dfrepro.data.layouts.listing import media_folders
from dfrepro.data.layouts.splits import carve_val, overlap
from dfrepro.errors import WorkbookError


@dataclass
class Reading:
    """What one pass over a root found, in the official splits."""

    videos: list[Video] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    expected: dict[str, int] = field(default_factory=dict)  # what `counted` calls it -> how many there should be

    def missing(self, text: str, remedy: str = "") -> None:
        self.findings.append(Finding("missing", text, remedy))

    def note(self, text: str, remedy: str = "") -> None:
        self.findings.append(Finding("note", text, remedy))


class Reader(ABC):
    """A layout whose `videos` and `check` both follow from `read`."""

    name: ClassVar[str]
    source: ClassVar[str]  # where the official files come from
    expects: ClassVar[str]  # what the root has to hold
    official: ClassVar[Mapping[str, int]] = {}  # what `counted` calls it -> published number
    compressions: ClassVar[tuple[str, ...]] = ("",)  # the variants that `check` counts
    official_val: ClassVar[bool] = False  # False: a validation split is carved out of train
    shared: ClassVar[frozenset[str]] = frozenset()  # folders that another layout reads below the same root

    @abstractmethod
    def read(self, root: Path, compression: str) -> Reading:
        """List what is there; raise `WorkbookError` on anything that contradicts itself."""

    def counted(self, video: Video) -> Iterable[str]:
        """Return the lines of the inventory under which `video` counts."""
        yield f"{video.split}, {'fake' if video.label == FAKE else 'real'}"

    def videos(self, root: Path, compression: str = "c23") -> list[Video]:
        reading = self.read(self._existing(root), compression)
        if not reading.videos:
            raise WorkbookError(f"no {self.name} videos here", where=root, remedy=self._layout_remedy())
        videos = in_order(reading.videos, root)
        return videos if self.official_val else carve_val(videos)[0]

    def check(self, root: Path) -> Inventory:
        try:
            root = self._existing(root)
            readings = [self.read(root, compression) for compression in self.compressions]
            videos = [video for reading in readings for video in in_order(reading.videos, root)]
            remarks = list(self.remarks(root))
        except WorkbookError as error:
            place = f"{error.where}: " if error.where else ""
            return Inventory(self.name, root, (), (Finding("error", place + error.what, error.remedy),))
        counts = self._counts(videos, readings)
        findings = [finding for reading in readings for finding in reading.findings] + remarks
        findings += [*self._shortfalls(counts), *self._splits(videos), *self._unread(root, videos)]
        if not videos:
            findings.insert(0, Finding("error", f"no {self.name} videos here", self._layout_remedy()))
        return Inventory(self.name, root, tuple(counts), tuple(findings))

    def remarks(self, root: Path) -> Iterable[Finding]:
        """Yield what `check` says about the root beyond what `read` found."""
        return ()

    def _existing(self, root: Path) -> Path:
        if not root.is_dir():
            raise WorkbookError("this folder does not exist", where=root, remedy=self._layout_remedy())
        return root

    def _layout_remedy(self) -> str:
        return f"the root must hold {self.expects}; {self.source}; see docs/datasets.md"

    def _counts(self, videos: Sequence[Video], readings: Iterable[Reading]) -> list[Count]:
        found = Counter(line for video in videos for line in self.counted(video))
        official = dict(self.official)
        for reading in readings:
            official |= reading.expected
        return [Count(line, found[line], official.get(line)) for line in [*official, *sorted(found.keys() - official)]]

    def _shortfalls(self, counts: Iterable[Count]) -> Iterable[Finding]:
        for count in counts:
            if count.what in self.official and count.found < self.official[count.what]:
                yield Finding("missing", f"{count.what}: {count.found} of {count.official}", self.source)

    def _unread(self, root: Path, videos: Iterable[Video]) -> Iterable[Finding]:
        """Folders of videos or pictures of which nothing is read: nothing in a root vanishes without a word."""
        used: set[Path] = set()
        for video in videos:
            for path in filter(None, (video.path, video.mask, video.landmarks)):
                used |= {path, path.parent}
        unread = [
            str(folder.relative_to(root))
            for folder in media_folders(root, deep=True)
            if not used & {folder, *folder.parents} and not self.shared & set(folder.relative_to(root).parts)
        ]
        if unread:
            yield Finding(
                "note",
                f"nothing is read of {len(unread)} folders with videos or pictures: {some(unread)}",
                self._layout_remedy(),
            )

    def _splits(self, videos: Sequence[Video]) -> Iterable[Finding]:
        if shared := overlap(videos):
            people = {identity for video in videos if video.split == "test" for identity in video.identities}
            text = f"{len(shared)} of the {len(people)} test identities are also in train"
            yield Finding("note", text, "expect optimistic in-domain scores; cross-dataset tests are unaffected")
        if not self.official_val and any(video.split == "train" for video in videos):
            kept, left_out = carve_val(videos)
            text = f"no official validation split: {sum(video.split == 'val' for video in kept)} train videos of "
            text += f"held-out identities become val, {len(left_out)} that mix them with others are left out"
            yield Finding("note", text)


def in_order(videos: Iterable[Video], where: object) -> list[Video]:
    """Return the videos sorted by key; `WorkbookError` if two share one (and the compression)."""
    ordered = sorted(videos, key=lambda video: (video.key, video.compression, str(video.path)))
    for one, other in pairwise(ordered):
        if (one.key, one.compression) == (other.key, other.compression):
            splits = "" if one.split == other.split else f", in {one.split} and in {other.split}"
            raise WorkbookError(
                f"duplicate video {'/'.join(one.key)!r}{splits}: {str(one.path)!r} and {str(other.path)!r}",
                where=where,
                remedy="keep one of them",
            )
    return ordered


def some(names: Iterable[str], limit: int = 5) -> str:
    """Return the first few names, quoted so that spaces and newlines show, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return ", ".join(repr(name) for name in ordered[:limit]) + more
