"""Celeb-DF v1 and v2 (Li et al., CVPR 2020), and Celeb-DF++ (Li et al., 2025).

    Celeb-real/*.mp4  YouTube-real/*.mp4  Celeb-synthesis/*.mp4
    List_of_testing_videos.txt: lines `<digit> <folder>/<name>.mp4`, where 1 = real

In Celeb-DF++ a fake is in Celeb-synthesis/<scenario>/<method>/, and its manipulation is "FaceSwap/SimSwap".

What the list names is test, the rest is train. The people of id0_0000 and id0_id1_0000 are in the names. The official
test set shares people with the rest, which `check` reports.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

from dfrepro.data.layouts.base import FAKE, REAL, Split, Video
from dfrepro.data.layouts.labels import read_label_text, relative_path
from dfrepro.data.layouts.listing import folder_names, video_files
from dfrepro.data.layouts.reader import Reader, Reading, some
from dfrepro.errors import WorkbookError

LIST = "List_of_testing_videos.txt"
REALS, FAKES = ("Celeb-real", "YouTube-real"), "Celeb-synthesis"
FOLDERS = (*REALS, FAKES)
# Celeb-DF++'s methods, by its README; that of FaceSwap/Celeb-DF, the fakes of v2, is not in the list of counts
SWAPS = ("BlendFace", "GHOST", "HifiFace", "InSwapper", "MobileFaceSwap", "SimSwap", "UniFace")
REENACTMENTS = ("DaGAN", "FSRT", "HyperReenact", "LIA", "LivePortrait", "MCNET", "TPSMM")
TALKERS = ("AniTalker", "EchoMimic", "EDTalk", "FLOAT", "IP_LAP", "Real3DPortrait", "SadTalker")
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

    def fakes(self, root: Path) -> dict[str, str]:
        """The folders of fakes and what each one's manipulation is called."""
        return {FAKES: FAKES}

    def is_folder(self, folder: str) -> bool:
        """Whether the list may name videos in `folder`."""
        return folder in FOLDERS

    def read(self, root: Path, compression: str) -> Reading:
        listed = read_test_list(root / LIST, self.is_folder)
        reading, fakes = Reading(), self.fakes(root)
        for folder in sorted({*REALS, *fakes, *(place for place, _ in listed)}):
            names = [folder, *(alias for alias, official in ALIASES.items() if official == folder)]
            found = video_files(next((root / name for name in names if (root / name).is_dir()), root / folder))
            label = REAL if folder in REALS else FAKE
            for name, path in found.items():
                split: Split = "test" if (folder, name) in listed else "train"
                manipulation = "original" if label == REAL else fakes.get(folder, FAKES)
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


class CelebDFPP(CelebDFv2):
    name = "cdfpp"
    source = "the form at github.com/OUC-VAS/Celeb-DF-PP"
    expects = f"Celeb-real/, YouTube-real/, Celeb-synthesis/<scenario>/<method>/ and {LIST}"
    official: ClassVar[Mapping[str, int]] = {
        **{what: count for what, count in CelebDFv2.official.items() if "real" in what},
        **{f"test, FaceSwap/{method}": 200 for method in SWAPS},
        **{f"test, FaceReenact/{method}": 200 for method in REENACTMENTS},
        **{f"test, TalkingFace/{method}": 300 for method in TALKERS},
    }

    def fakes(self, root: Path) -> dict[str, str]:
        found = [f"{scenario}/{method}" for scenario in folder_names(root / FAKES)
                 for method in folder_names(root / FAKES / scenario)]  # fmt: skip
        return {f"{FAKES}/{manipulation}": manipulation for manipulation in found}

    def is_folder(self, folder: str) -> bool:
        return folder in REALS or (folder.startswith(f"{FAKES}/") and folder.count("/") == 2)


def identities(folder: str, name: str) -> tuple[str, ...]:
    """Return the people in a video: target and donor of a fake. Every YouTube-real video counts as its own person."""
    if folder == "YouTube-real":
        return (f"youtube-{name}",)
    people = re.match(r"(id\d+)(?:_(id\d+))?_", name)
    return tuple(person for person in people.groups() if person) if people else (name,)


def read_test_list(path: Path, is_folder: Callable[[str], bool] = FOLDERS.__contains__) -> set[tuple[str, str]]:
    """Return (folder, stem) of the test videos; `WorkbookError` names the line that is wrong."""
    if not path.is_file():
        remedy = f"it is part of the download; {CelebDFv2.source}"
        raise WorkbookError("the list of test videos is missing", where=path, remedy=remedy)
    listed: set[tuple[str, str]] = set()
    for number, line in enumerate(read_label_text(path).split("\n"), start=1):
        if line.strip():
            entry = _entry(line.strip(), f"{path}:{number}", is_folder)
            if entry in listed:
                raise WorkbookError(f"{'/'.join(entry)!r} is listed twice", where=f"{path}:{number}", remedy=_AGAIN)
            listed.add(entry)
    return listed


def _entry(line: str, where: str, is_folder: Callable[[str], bool]) -> tuple[str, str]:
    digit, text = (*line.split(None, 1), "")[:2]  # by spaces or a tab, as some copies have it
    path = relative_path(text, where)
    folder = ALIASES.get(str(path.parent), str(path.parent))
    if digit not in ("0", "1") or not is_folder(folder):
        what = f"{line!r} is not `<0 or 1> <folder>/<name>.mp4` with one of {', '.join(FOLDERS)}"
        raise WorkbookError(what, where=where, remedy=_AGAIN)
    label = REAL if digit == "1" else FAKE
    if (label == REAL) != (folder in REALS):
        what = f"labels swapped: {digit} means {'real' if label == REAL else 'fake'}, but this is in {folder}"
        raise WorkbookError(what, where=where, remedy="in this list 1 = real; " + _AGAIN)
    return folder, os.path.splitext(path.name)[0]


_AGAIN = "fetch the list again from the dataset's authors"
