"""FFIW-10K, Face Forensics in the Wild (Zhou et al., CVPR 2021).

    {source,target,target_mask}/{train,val[,test]}/*.mp4, or the same with a folder `videos` below

`source` holds the originals, `target` the forgeries, under the same names. The release that the field evaluates on has
`train` and `val` alone and `val` serves as the test set there (SBI does so): without a folder `test`, `val` is test.
"""

from pathlib import Path
from typing import cast

from dfrepro.data.layouts.base import FAKE, REAL, Split, Video
from dfrepro.data.layouts.listing import video_files
from dfrepro.data.layouts.reader import Reader, Reading, some

RELEASE = "FFIW10K-v1-release"


class FFIW(Reader):
    name = "ffiw"
    source = "github.com/tfzhou/FFIW"
    expects = "source/, target/ and target_mask/, each with train/ and val/"

    def read(self, root: Path, compression: str) -> Reading:
        root = root / RELEASE if (root / RELEASE).is_dir() else root
        reading = Reading()
        has_test = any((root / top / "test").is_dir() for top in ("source", "target"))
        if not has_test:
            reading.note("no folder test: val is the test set, as in SBI's evaluation")
        for folder in ("train", "val", "test"):
            split = "test" if folder == "val" and not has_test else folder
            _read_split(reading, root, folder, cast(Split, split))
        return reading


def _read_split(reading: Reading, root: Path, folder: str, split: Split) -> None:
    masks = video_files(root / "target_mask" / folder)
    real, fake = (video_files(root / top / folder) for top in ("source", "target"))
    for name, path in real.items():
        reading.videos.append(Video("ffiw", "original", name, REAL, split, (name,), "", path))
    for name, path in fake.items():
        video = Video("ffiw", "fake", name, FAKE, split, (name,), "", path, mask=masks.get(name))
        reading.videos.append(video)
    if unmasked := fake.keys() - masks.keys():
        reading.note(f"{folder}: {len(unmasked)} forgeries without a mask: {some(unmasked)}", FFIW.source)
    if unpaired := real.keys() ^ fake.keys():
        reading.note(f"{folder}: {len(unpaired)} in only one of source and target: {some(unpaired)}", FFIW.source)
