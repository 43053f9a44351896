"""The library's source files: whether they are those that this process imported, and what trainings rest on.

A worker or a notebook's kernel that lives on while a file is changed would make something by the old code that dvc.lock
records under the new, and a training that was killed would go on by other code than it began with.
"""

import hashlib
import shutil
from pathlib import Path

from dfrepro.files import ROOT

LIBRARY = ROOT / "dfrepro"
TRAINING = ("data", "forge", "jobs/kinds.py", "jobs/train.py", "methods", "nets", "train")  # as dvc.yaml names them


def stamps(library: Path = LIBRARY) -> dict[str, tuple[int, int]]:
    """Size, and time of the last change in nanoseconds, of every source file by its path."""
    found = {path.relative_to(library).as_posix(): path.stat() for path in library.rglob("*.py")}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}


IMPORTED = stamps()


def changed() -> list[str]:
    """The files of the library that are others than when this process imported it, or new, or gone."""
    now = stamps()
    return sorted(name for name in now.keys() | IMPORTED.keys() if now.get(name) != IMPORTED.get(name))


def digest(names: tuple[str, ...] = TRAINING, library: Path = LIBRARY) -> str:
    """SHA-256 of source files, their names and contents. `names`: files and folders of the library."""
    found = hashlib.sha256()
    for path in sorted(file for name in names for file in [library / name, *(library / name).rglob("*.py")]):
        if path.is_file():
            found.update(f"{path.relative_to(library).as_posix()} {path.stat().st_size} ".encode() + path.read_bytes())
    return found.hexdigest()


def resumed_by_this_code(folder: Path) -> Path:
    """The folder below `folder` for the state of a training by this code; what other code left there is removed."""
    own = folder / digest()[:16]
    for other in set(folder.iterdir()) - {own} if folder.is_dir() else ():
        shutil.rmtree(other) if other.is_dir() else other.unlink()
    return own
