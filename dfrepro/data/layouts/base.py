"""What a dataset layout tells the rest of the workbook: which videos are there, and what is missing.

A layout reads a dataset exactly as its authors (or DeepfakeBench) ship it. Nothing is renamed, moved or unpacked, and
no frame is decoded: `videos` lists, `check` counts. Partial copies work: only files that exist are listed.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

Split = Literal["train", "val", "test"]
Kind = Literal["video", "frames", "tree", "tar", "image"]
Level = Literal["error", "missing", "note"]
REAL, FAKE = 0, 1


@dataclass(frozen=True)
class Video:
    """One clip of a dataset, wherever its frames are kept. `key` identifies it in every table of the workbook."""

    dataset: str  # "ffpp", "dfd", "cdfv2", ...: the field's short name
    manipulation: str  # "original" for reals; "Deepfakes", ...; "fake" where the layout does not tell
    video: str  # unique within (dataset, manipulation): "071_054", "00001/clip3"
    label: int  # REAL = 0, FAKE = 1
    split: Split
    identities: tuple[str, ...]  # people, or the nearest thing the layout tells; comparable within one dataset
    compression: str  # "raw" | "c23" | "c40" | "" where the layout does not tell
    path: Path  # what `kind` says
    kind: Kind = "video"  # a video file | a folder of frames | a tree of such | a tar of frames | one image file
    mask: Path | None = None  # mask video, or folder of mask frames
    landmarks: Path | None = None  # folder of <frame>.npy, (81, 2) in frame pixels: DeepfakeBench's preprocessed form

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.dataset, self.manipulation, self.video)


@dataclass(frozen=True)
class Count:
    """How many of one thing a root holds, beside how many the dataset's authors published (None: not established)."""

    what: str
    found: int
    official: int | None = None


@dataclass(frozen=True)
class Finding:
    """One thing a reader of a root should know: an `error` makes it unusable, `missing` and `note` do not."""

    level: Level
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Inventory:
    """What a root holds, found by listing folders and reading label files alone."""

    layout: str
    root: Path
    counts: tuple[Count, ...] = ()
    findings: tuple[Finding, ...] = field(default=())

    @property
    def usable(self) -> bool:
        """True if `videos` would return something."""
        return any(count.found for count in self.counts) and not any(f.level == "error" for f in self.findings)


class Layout(Protocol):
    """A reader of one official layout. `videos` and `check` raise or report `WorkbookError`s that name the place."""

    name: str

    def videos(self, root: Path, compression: str = "c23") -> list[Video]:
        """Return every video that is there and whose split is known, sorted by key, each key once.

        `compression` chooses among the variants of layouts that have them (FF++, DFD) and is ignored by the others.
        """
        ...

    def check(self, root: Path) -> Inventory:
        """Return what is there without opening a video: seconds, on a full copy too."""
        ...
