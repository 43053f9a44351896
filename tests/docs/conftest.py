"""A copy of the repository's own files, for pages whose lines are typed."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from dfrepro.files import ROOT


def copied(folder: Path, parts: Sequence[str]) -> Path:
    """`folder` with these files and folders of the repository, and DVC's configuration."""
    for part in parts:
        put = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        put(ROOT / part, folder / part)
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc")
    return folder
