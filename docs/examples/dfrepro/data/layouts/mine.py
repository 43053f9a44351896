"""A folder of one's own (a worked example: docs/extending.md).

    real/<person>_<clip>.mp4, fake/<method>/<person>_<clip>.mp4, test.txt

test.txt names the people of the test set, one a line; all others are for training.
"""

from pathlib import Path

from dfrepro.data.layouts.base import FAKE, REAL, Video
from dfrepro.data.layouts.listing import folder_names, video_files
from dfrepro.data.layouts.reader import Reader, Reading
from dfrepro.errors import WorkbookError


class Mine(Reader):
    name = "mine"
    source = "whoever filmed it"
    expects = "real/, fake/<method>/ and test.txt, one person a line"

    def read(self, root: Path, compression: str) -> Reading:
        reading, tested = Reading(), _people(root / "test.txt")
        methods = {"original": root / "real"} | {name: root / "fake" / name for name in folder_names(root / "fake")}
        for method, folder in methods.items():
            label = REAL if method == "original" else FAKE
            for name, path in video_files(folder).items():
                person = name.partition("_")[0]
                split = "test" if person in tested else "train"
                reading.videos.append(Video(self.name, method, name, label, split, (person,), "", path))
        return reading


def _people(path: Path) -> set[str]:
    if not path.is_file():
        raise WorkbookError("the test people are not listed", where=path, remedy="One person a line")
    return set(path.read_text(encoding="utf-8").split())
