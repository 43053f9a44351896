"""Celeb-DF v1 and v2 (Li et al., CVPR 2020).

    Celeb-real/*.mp4  YouTube-real/*.mp4  Celeb-synthesis/*.mp4
    List_of_testing_videos.txt: lines `<digit> <folder>/<name>.mp4`, where 1 = real

What the list names is test, the rest is train. The people of id0_0000 and id0_id1_0000 are in the names. The official
test set shares people with the rest, which `check` reports.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from dfrepro.data.layouts.base import FAKE, REAL, Split, Video
from dfrepro.data.layouts.labels import read_label_text, relative_path
from dfrepro.data.layouts.listing import video_files
from dfrepro.data.layouts.reader import Reader, Reading, some
from dfrepro.errors import WorkbookError

LIST = "List_of_testing_videos.txt"
FOLDERS = {"Celeb-real": REAL, "YouTube-real": REAL, "Celeb-synthesis": FAKE}
ALIASES = {"Youtube-real": "YouTube-real"}  # as in the tree that SBI's instructions draw


class CelebDFv2(Reader):
    name = "cdfv2"
    source = "the form at github.com/yuezunli/celeb-deepfakeforensics"
    expects = f"Celeb-real/, YouTube-real/, Celeb-synthesis/ and {LIST}"
    official: ClassVar[Mapping[str, int]] = {
        "Celeb-real": 590,
        "YouTube-real": 300,
        "Celeb-synthesis": 5639,
        "test, Celeb-real": 108,
        "test, YouTube-real": 70,
        "test, Celeb-synthesis": 340,
    }

    def read(self, root: Path, compression: str) -> Reading:
        listed = read_test_list(root / LIST)
        reading = Reading()
        for folder, label in FOLDERS.items():
            names = [folder, *(alias for alias, official in ALIASES.items() if official == folder)]
            found = video_files(next((root / name for name in names if (root / name).is_dir()), root / folder))
            for name, path in found.items():
                split: Split = "test" if (folder, name) in listed else "train"
                manipulation = "original" if label == REAL else folder
                people = identities(folder, name)
                reading.videos.append(Video(self.name, manipulation, name, label, split, people, "", path))
            absent = {f"{folder}/{name}" for place, name in listed if place == folder and name not in found}
            if absent:
                reading.missing(f"{len(absent)} that {LIST} names are not there: {some(absent)}", self.source)
        return reading

    def counted(self, video: Video) -> list[str]:
        folder = video.manipulation
        if video.label == REAL:
            folder = "YouTube-real" if video.identities[0].startswith("youtube-") else "Celeb-real"
        return [folder, f"test, {folder}"] if video.split == "test" else [folder]


class CelebDFv1(CelebDFv2):
    name = "cdfv1"
    official: ClassVar[Mapping[str, int]] = {"Celeb-real": 158, "YouTube-real": 250, "Celeb-synthesis": 795}


def identities(folder: str, name: str) -> tuple[str, ...]:
    """Return the people in a video: target and donor of a fake. Every YouTube-real video counts as its own person."""
    if folder == "YouTube-real":
        return (f"youtube-{name}",)
    people = re.match(r"(id\d+)(?:_(id\d+))?_", name)
    return tuple(person for person in people.groups() if person) if people else (name,)


def read_test_list(path: Path) -> set[tuple[str, str]]:
    """Return (folder, stem) of the test videos; `WorkbookError` names the line that is wrong."""
    if not path.is_file():
        remedy = f"it is part of the download; {CelebDFv2.source}"
        raise WorkbookError("the list of test videos is missing", where=path, remedy=remedy)
    listed: set[tuple[str, str]] = set()
    for number, line in enumerate(read_label_text(path).split("\n"), start=1):
        if line.strip():
            entry = _entry(line.strip(), f"{path}:{number}")
            if entry in listed:
                raise WorkbookError(f"{'/'.join(entry)!r} is listed twice", where=f"{path}:{number}", remedy=_AGAIN)
            listed.add(entry)
    return listed


def _entry(line: str, where: str) -> tuple[str, str]:
    digit, text = (*line.split(None, 1), "")[:2]  # by spaces or a tab, as some copies have it
    path = relative_path(text, where)
    folder = ALIASES.get(str(path.parent), str(path.parent))
    if digit not in ("0", "1") or folder not in FOLDERS:
        what = f"{line!r} is not `<0 or 1> <folder>/<name>.mp4` with one of {', '.join(FOLDERS)}"
        raise WorkbookError(what, where=where, remedy=_AGAIN)
    label = REAL if digit == "1" else FAKE
    if label != FOLDERS[folder]:
        what = f"labels swapped: {digit} means {'real' if label == REAL else 'fake'}, but this is in {folder}"
        raise WorkbookError(what, where=where, remedy="in this list 1 = real; " + _AGAIN)
    return folder, os.path.splitext(path.name)[0]


_AGAIN = "fetch the list again from the dataset's authors"
