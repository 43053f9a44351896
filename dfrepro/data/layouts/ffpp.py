"""FaceForensics++ (Rössler et al., ICCV 2019) and, inside it, DeepFakeDetection (Google and Jigsaw, 2019).

    original_sequences/{youtube,actors}/{raw,c23,c40}/videos/*.mp4
    manipulated_sequences/<Method>/{raw,c23,c40}/videos/*.mp4
    manipulated_sequences/<Method>/masks/videos/*.mp4
    train.json val.json test.json: lists of pairs of originals, such as ["071", "054"]

A pair is one unit of a split: its two originals and both fakes, 071_054 and 054_071. DeepFakeDetection has no official
split, so all of it is test.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from dfrepro.data.layouts.base import FAKE, REAL, Finding, Split, Video
from dfrepro.data.layouts.labels import read_label_json
from dfrepro.data.layouts.listing import folder_names, video_files
from dfrepro.data.layouts.reader import Reader, Reading, some
from dfrepro.errors import WorkbookError

COMPRESSIONS = {"raw": ("raw", "c0"), "c23": ("c23",), "c40": ("c40",)}  # early copies call raw c0
METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
DFD = "DeepFakeDetection"
OFFICIAL_DFD = {"original": 363, DFD: 3068}
SPLITS = ("train", "val", "test")
OFFICIAL_PAIRS = {"train": 360, "val": 70, "test": 70}
OFFICIAL_SHA256 = {
    "train": "e59386911255e6fb0a79a7808ec2210536b8c0474268342694c4bca766d1b347",
    "val": "b48cc511f66938e05356aaa9c67e150b1e3638c355db3d745225b0022884b36e",
    "test": "886f5a0da623c25820692e0d8dc33d197ddb1db527a7f1cfcb9bcbca60fe4f40",
}
SOURCE = "videos: the download script behind the form at github.com/ondyari/FaceForensics"
SPLIT_SOURCE = "the official ones are in dataset/splits of github.com/ondyari/FaceForensics; put them in the root"


class FaceForensics(Reader):
    name = "ffpp"
    shared = frozenset({"actors", DFD})
    source = SOURCE
    expects = "original_sequences/, manipulated_sequences/ and train.json, val.json, test.json"
    compressions = tuple(COMPRESSIONS)
    official_val = True

    def read(self, root: Path, compression: str) -> Reading:
        splits = read_splits(root)
        reading = Reading()
        for method in ("original", *_methods(root)):
            real = method == "original"
            known = {name: split for name, split in splits.items() if ("_" in name) != real}
            found = video_files(_folder(root, method, compression))
            masks = {} if real else video_files(root / "manipulated_sequences" / method / "masks")
            for name in found.keys() & known.keys():
                label, identities = (REAL, (name,)) if real else (FAKE, tuple(name.split("_")))
                split, path, mask = known[name], found[name], masks.get(name)
                video = Video("ffpp", method, name, label, split, identities, compression, path, mask=mask)
                reading.videos.append(video)
            if found:
                _report(reading, f"{method} {compression}", set(found), set(known))
        return reading

    def counted(self, video: Video) -> Iterable[str]:
        yield f"{video.manipulation} {video.compression}"

    def remarks(self, root: Path) -> Iterable[Finding]:
        yield from _split_notes(root)
        if absent := set(METHODS) - set(_methods(root)):
            yield Finding("note", f"manipulations that are not there: {', '.join(sorted(absent))}", SOURCE)


class DeepFakeDetection(Reader):
    name = "dfd"
    shared = frozenset({"youtube", *METHODS})
    source = SOURCE + " (-d DeepFakeDetection and -d DeepFakeDetection_original)"
    expects = f"original_sequences/actors/ and manipulated_sequences/{DFD}/"
    compressions = tuple(COMPRESSIONS)
    official_val = True  # all of it is test: nothing to carve from

    def read(self, root: Path, compression: str) -> Reading:
        reading = Reading()
        masks = video_files(root / "manipulated_sequences" / DFD / "masks")
        for method, pattern in (("actors", r"(\d+)__.+"), (DFD, r"(\d+)_(\d+)__.+__\w{8}")):
            found = video_files(_folder(root, method, compression))
            label, manipulation = (REAL, "original") if method == "actors" else (FAKE, DFD)
            actors = {name: match.groups() for name in found if (match := re.fullmatch(pattern, name, re.DOTALL))}
            for name, identities in actors.items():
                path, mask = found[name], masks.get(name) if label == FAKE else None
                video = Video("dfd", manipulation, name, label, "test", identities, compression, path, mask=mask)
                reading.videos.append(video)
            if found:
                what, official = f"{manipulation} {compression}", OFFICIAL_DFD[manipulation]
                reading.expected[what] = official
                if len(found) < official:
                    reading.missing(f"{what}: {len(found)} of {official}", self.source)
            if strange := found.keys() - actors.keys():
                reading.note(f"{method} {compression}: left out, names that tell no actors: {some(strange)}")
        return reading

    def counted(self, video: Video) -> Iterable[str]:
        yield f"{video.manipulation} {video.compression}"


def read_splits(root: Path) -> dict[str, Split]:
    """Return the split of every original and every fake that `train.json`, `val.json` and `test.json` name.

    Raises `WorkbookError` for a missing file, an entry that is no pair, and an identity in two splits.
    """
    splits: dict[str, Split] = {}
    for split in SPLITS:
        path = root / f"{split}.json"
        for number, pair in enumerate(_pairs(path), start=1):
            one, other = pair
            for identity in pair:
                if splits.get(identity, split) != split:
                    what = f"identity {identity!r} is in this split and in {splits[identity]}"
                    raise WorkbookError(what, where=f"{path}: entry {number}", remedy=SPLIT_SOURCE)
            splits |= dict.fromkeys((one, other, f"{one}_{other}", f"{other}_{one}"), cast(Split, split))
    return splits


def _pairs(path: Path) -> list[tuple[str, str]]:
    if not path.is_file():
        nested = path.parent / "FaceForensics++"
        hint = f"did you mean {nested}? Otherwise, " if nested.is_dir() else ""
        raise WorkbookError("the split file is missing", where=path, remedy=hint + SPLIT_SOURCE)
    entries = read_label_json(path)
    if not isinstance(entries, list):
        raise WorkbookError("not a list of pairs", where=path, remedy=SPLIT_SOURCE)
    for number, entry in enumerate(entries, start=1):
        if not (isinstance(entry, list) and len(entry) == 2 and all(_is_identity(name) for name in entry)):
            what = f'{entry!r} is no pair of originals such as ["071", "054"]'
            raise WorkbookError(what, where=f"{path}: entry {number}", remedy=SPLIT_SOURCE)
    return [(one, other) for one, other in entries]


def _is_identity(name: object) -> bool:
    return isinstance(name, str) and name != "" and not set(name) & set("_/\\\0")


def _methods(root: Path) -> list[str]:
    """Return the manipulations that are there, DFD aside: it is a dataset of its own."""
    return [name for name in folder_names(root / "manipulated_sequences") if name != DFD]


def _folder(root: Path, method: str, compression: str) -> Path:
    """Return the folder of one method's videos (which may be absent): `original`, `actors` or a manipulation."""
    if compression not in COMPRESSIONS:
        raise WorkbookError(f"unknown compression {compression!r}", remedy=f"one of {', '.join(COMPRESSIONS)}")
    parts = {"original": ("original_sequences", "youtube"), "actors": ("original_sequences", "actors")}
    top = root.joinpath(*parts.get(method, ("manipulated_sequences", method)))
    folders = [top / alias / "videos" for alias in COMPRESSIONS[compression]]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def _report(reading: Reading, what: str, found: set[str], known: set[str]) -> None:
    reading.expected[what] = len(known)
    if strangers := found - known:
        reading.note(f"{what}: left out, in no split: {some(strangers)}", SPLIT_SOURCE)
    if absent := known - found:
        reading.missing(f"{what}: {len(absent)} that the split files name are not there: {some(absent)}", SOURCE)


def _split_notes(root: Path) -> Iterable[Finding]:
    """Say which split files are not the official ones: a stand-in or a subset has its own, rightly."""
    for split in SPLITS:
        digest = hashlib.sha256((root / f"{split}.json").read_bytes()).hexdigest()
        if digest != OFFICIAL_SHA256[split]:
            pairs = OFFICIAL_PAIRS[split]
            text = f"{split}.json is not the official split of {pairs} pairs (SHA-256 {digest[:12]}…)"
            yield Finding("note", text, SPLIT_SOURCE)
