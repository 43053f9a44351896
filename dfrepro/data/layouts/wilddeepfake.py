"""WildDeepfake (Zi et al., ACM MM 2020): face crops, not videos.

    {real,fake}_{train,test}/<clip>/**/<frame>.png      unpacked, with or without a folder for each face sequence
    {real,fake}_{train,test}/<clip>.tar.gz              as downloaded; read in place, never unpacked

The folders may be one level down, in `deepfake_in_the_wild/`. A numbered clip (a tar) is one of the set's 707 videos
and holds one folder per face sequence, of which there are 7,314. Here the clip is the video, packed or not: papers
report AUC by video. Who is in a clip is not published, so it is its own identity.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from dfrepro.data.layouts.base import FAKE, REAL, Kind, Split, Video
from dfrepro.data.layouts.listing import file_names, image_folders
from dfrepro.data.layouts.reader import Reader, Reading, some
from dfrepro.errors import WorkbookError

TAR = re.compile(r"(?P<stem>.+)\.(tar|tar\.gz|tgz|tar\.xz|tar\.bz2)", re.IGNORECASE | re.DOTALL)


class WildDeepfake(Reader):
    name = "wdf"
    source = "github.com/OpenTAI/wild-deepfake links the request form and the download"
    expects = "real_train/, fake_train/, real_test/, fake_test/ (some of them), with frames or tars of frames"

    def read(self, root: Path, compression: str) -> Reading:
        nested = root / "deepfake_in_the_wild"
        root = nested if nested.is_dir() else root
        reading = Reading()
        for word, label in (("real", REAL), ("fake", FAKE)):
            for split in ("train", "test"):
                folder = root / f"{word}_{split}"
                if folder.is_dir():
                    _read_folder(reading, folder, label, cast(Split, split))
                else:
                    reading.note(f"no {folder.name}", self.source)
        return reading


def _read_folder(reading: Reading, folder: Path, label: int, split: Split) -> None:
    clips = {str(clip.relative_to(folder)): clip for clip in image_folders(folder)}
    if "." in clips:
        raise WorkbookError("frames lie directly in here", where=folder, remedy="each clip needs a folder of its own")
    unpacked = sorted({name.split("/")[0] for name in clips})
    manipulation = "fake" if label == FAKE else "original"
    for name in unpacked:
        people, kind = (f"{folder.name}/{name}",), cast(Kind, "frames" if name in clips else "tree")
        key = f"{split}/{name}"
        reading.videos.append(Video("wdf", manipulation, key, label, split, people, "", folder / name, kind))
    both = set()
    for name, path in _tars(folder):
        if name in unpacked:
            both.add(path.name)
            continue
        people = (f"{folder.name}/{name}",)
        reading.videos.append(Video("wdf", manipulation, f"{split}/{name}", label, split, people, "", path, "tar"))
    if both:
        reading.note(f"{folder.name}: tars passed over, their clips are unpacked beside them: {some(both)}")


def _tars(folder: Path) -> Iterator[tuple[str, Path]]:
    for file in file_names(folder):
        if match := TAR.fullmatch(file):
            yield match["stem"], folder / file
