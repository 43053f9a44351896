"""DF40 (Yan et al., NeurIPS 2024): 40 methods, cropped frames or single images, in folders per method.

    [train|test]/<method>/<ff|cdf>/frames/<video>/*.png       face swapping and reenactment: a folder is a clip
    [train|test]/<method>/<ff|cdf>/**/*.png                   synthesis and editing: a file is an image
    [train|test]/<method>/{fake,real}/**/*.png                methods with reals of their own
    [train|test]/<method>/{fake,real}/**/*.mp4                videos, in the parts that come as such

The reals of the ff and cdf parts are those of FF++ and Celeb-DF and are not in the download: declare them as datasets
of their own, and say `reals`. Without a folder train or test, everything is test. Where a compression is asked of other
layouts, this one can be asked for a domain: "ff" leaves the files of cdf out, and "cdf" those of ff.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from dfrepro.data.layouts.base import REAL, Video
from dfrepro.data.layouts.imagetree import NEUTRAL_WORDS, Place, place, without
from dfrepro.data.layouts.listing import file_names, is_image, is_video, media_folders
from dfrepro.data.layouts.reader import Reader, Reading

CLIP_PARENTS = frozenset({"frames", "frames_all", "faces_all"})
DOMAINS = frozenset({"ff", "cdf"})
OFFICIAL_METHODS = 40


class DF40(Reader):
    name = "df40"
    source = "github.com/YZY-stack/DF40 links the processed train and test data"
    expects = "a folder per method, with frames/<video>/ or images below"

    def read(self, root: Path, compression: str) -> Reading:
        reading = Reading()
        for folder in media_folders(root, deep=True):
            relative = folder.relative_to(root)
            if not (compression in DOMAINS and (DOMAINS - {compression}) & set(relative.parts)):
                reading.videos.extend(_entries(folder, relative))
        methods = {video.manipulation for video in reading.videos if video.label != REAL}
        if methods and len(methods) < OFFICIAL_METHODS:
            reading.note(f"{len(methods)} of {OFFICIAL_METHODS} methods", self.source)
        if reading.videos and all(video.label != REAL for video in reading.videos):
            reading.note("forgeries only: the reals are those of FF++ and Celeb-DF", "declare these as datasets too")
        return reading

    def counted(self, video: Video) -> list[str]:
        return [f"{video.split}, {video.manipulation}"]


def _entries(folder: Path, relative: Path) -> Iterator[Video]:
    told = place(relative)
    names = file_names(folder)
    for name in filter(is_video, names):
        yield _video(told, folder / name, (*told.words[1:], os.path.splitext(name)[0]), "video")
    if folder.parent.name in CLIP_PARENTS and any(map(is_image, names)):
        yield _video(told, folder, told.words[1:], "frames")
        return
    for name in filter(is_image, names):
        yield _video(told, folder / name, (*told.words[1:], os.path.splitext(name)[0]), "image")


def _video(told: Place, path: Path, rest: tuple[str, ...], kind: str) -> Video:
    method = told.words[0] if told.words else "fake"
    split = told.split or "test"
    words = without(rest, NEUTRAL_WORDS) or (path.name,)
    if told.label == REAL:
        words = (method, *words)  # methods bring reals of their own, which may have the same names
    name = "/".join((split, *words))
    manipulation = "original" if told.label == REAL else method
    people = _identities(words)
    return Video("df40", manipulation, name, told.label, split, people, "", path, kind)  # type: ignore[arg-type]


def _identities(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return ff/000, ff/003 of ff/000_003, and cdf/id0, cdf/id1 of cdf/id0_id1_0000; else the whole name."""
    domain = words[0]
    for name in words:  # from the outside in: a clip's folder tells people, the frame in it a number
        if match := re.fullmatch(r"(\d{3})(?:_(\d{3}))?", name) or re.match(r"(id\d+)(?:_(id\d+))?_", name):
            return tuple(f"{domain}/{person}" for person in match.groups() if person)
    return ("/".join(words),)
