"""DFDCP, the preview of the Deepfake Detection Challenge (Dolhansky et al., 2019).

    method_A/  method_B/  original_videos/
    dataset.json: {"method_A/<person>/.../<name>.mp4": {"label": "fake", "set": "test", ...}}

Videos lie where `dataset.json` says, or under `<method>/videos/`, where SBI's instructions put them.
"""

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any, cast

from dfrepro.data.layouts.base import FAKE, REAL, Split, Video
from dfrepro.data.layouts.labels import inside, read_label_json, relative_path
from dfrepro.data.layouts.listing import is_video
from dfrepro.data.layouts.reader import Reader, Reading, some
from dfrepro.errors import WorkbookError

FOLDERS = {"original_videos": REAL, "method_A": FAKE, "method_B": FAKE}
LABELS = {"real": REAL, "fake": FAKE}


class DFDCPreview(Reader):
    name = "dfdcp"
    source = "the preview set of ai.meta.com/datasets/dfdc (account needed)"
    expects = "method_A/, method_B/, original_videos/ and dataset.json"

    def read(self, root: Path, compression: str) -> Reading:
        table = root / "dataset.json"
        if not table.is_file():
            raise WorkbookError("dataset.json is missing", where=root, remedy=self._layout_remedy())
        entries = read_label_json(table)
        if not isinstance(entries, dict):
            raise WorkbookError("not a table of videos", where=table, remedy=self.source)
        reading, absent = Reading(), []
        for text, entry in entries.items():
            video = _video(root, text, entry, f"{table}: entry {text!r}")
            if video.path.is_file():
                reading.videos.append(video)
            else:
                absent.append(text)
        if absent:
            reading.missing(f"{len(absent)} entries of dataset.json without a file: {some(absent)}", self.source)
        _note_strangers(reading, root)
        return reading


def _video(root: Path, text: str, entry: Any, where: str) -> Video:
    path = relative_path(text, where)
    folder = path.parts[0]
    if folder not in FOLDERS or len(path.parts) < 2:
        raise WorkbookError(f"not in one of {', '.join(FOLDERS)}", where=where, remedy=DFDCPreview.source)
    label, split = _label(entry, where), cast(Split, entry["set"])
    if label != FOLDERS[folder]:
        what = f"labels swapped? it is labelled {entry['label']} and lies in {folder}"
        raise WorkbookError(what, where=where, remedy=DFDCPreview.source)
    rest = PurePosixPath(*path.parts[1:])
    nested = Path(folder, "videos", rest)
    file = inside(root, nested if (root / nested).is_file() else path, where)
    manipulation = "original" if label == REAL else folder
    name = os.path.splitext(str(rest))[0]
    return Video("dfdcp", manipulation, name, label, split, _people(rest, entry), "", file)


def _label(entry: Any, where: str) -> int:
    if not isinstance(entry, dict) or entry.get("label") not in LABELS:
        raise WorkbookError(f"unknown label in {entry!r}: must be real or fake", where=where, remedy=DFDCPreview.source)
    if entry.get("set") not in ("train", "val", "test"):
        raise WorkbookError(f"unknown set {entry.get('set')!r}", where=where, remedy=DFDCPreview.source)
    return LABELS[entry["label"]]


def _people(rest: PurePosixPath, entry: dict[str, Any]) -> tuple[str, ...]:
    """Return the person whose folder it is, and the two that the entry names where it does."""
    folder = rest.parts[0] if len(rest.parts) > 1 else rest.stem
    named = [entry.get("target_id"), entry.get("swapped_id"), re.split("_", folder)[0]]
    return tuple(dict.fromkeys(str(person) for person in named if person))


def _note_strangers(reading: Reading, root: Path) -> None:
    known = {os.path.realpath(video.path) for video in reading.videos}
    strangers = []
    for folder in FOLDERS:
        for place, _, files in os.walk(root / folder):  # does not follow links, so cannot loop
            paths = (os.path.join(place, file) for file in files if is_video(file))
            strangers += [path for path in paths if os.path.realpath(path) not in known]
    if strangers:
        names = some(os.path.relpath(path, root) for path in strangers)
        reading.note(f"left out, {len(strangers)} files without an entry in dataset.json: {names}", DFDCPreview.source)
