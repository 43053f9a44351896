"""DiFF, Diffusion Facial Forgery (Cheng et al., ACM MM 2024): single images, in folders per condition and method.

    <condition>/<method>/**/*.png with condition one of T2I, I2I, FS, FE; a folder called real or pristine holds reals

Folders called train, val or test, alone or joined with a label (`fake_test`), may stand anywhere above the images and
give the split; without one, everything is test. Reals come separately, on request. An image's identity is not
published, so each is its own.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from dfrepro.data.layouts.base import REAL, Video
from dfrepro.data.layouts.imagetree import NEUTRAL_WORDS, place, without
from dfrepro.data.layouts.listing import file_names, image_folders, is_image
from dfrepro.data.layouts.reader import Reader, Reading


class DiFF(Reader):
    name = "diff"
    source = "forgeries are linked, pristine images requested, at github.com/xaCheng1996/DiFF"
    expects = "folders of images such as T2I/<method>/, I2I/, FS/, FE/ and a folder of reals called real or pristine"

    def read(self, root: Path, compression: str) -> Reading:
        reading = Reading()
        for folder in image_folders(root, deep=True):
            reading.videos.extend(_images(folder, folder.relative_to(root)))
        if reading.videos and all(video.label != REAL for video in reading.videos):
            reading.missing("no reals: AUC needs them", self.source)
        return reading

    def counted(self, video: Video) -> list[str]:
        return [f"{video.split}, {video.manipulation}"]


def _images(folder: Path, relative: Path) -> Iterator[Video]:
    told = place(relative)
    words = without(told.words, NEUTRAL_WORDS)
    manipulation = "original" if told.label == REAL else "/".join(words[:2]) or "fake"
    split = told.split or "test"
    above = "/".join((split, *(words if told.label == REAL else words[2:])))  # the splits number their images alike
    for file in filter(is_image, file_names(folder)):
        name = f"{above}/{os.path.splitext(file)[0]}"
        people = (f"{manipulation}/{name}",)
        yield Video("diff", manipulation, name, told.label, split, people, "", folder / file, "image")
