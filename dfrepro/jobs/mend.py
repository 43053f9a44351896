"""What a kill or a failing disk leaves of DVC's own files, put right: `python -m dfrepro mend`.

All that the workbook writes appears whole or not at all; DVC writes dvc.lock and its rwlock in place, so a kill at
the wrong moment cuts them off, and DVC then refuses to start. A lock that is cut off is taken from git: what was done
since is in DVC's run cache and is not run again. And DVC takes a file of its cache for what its name says without
reading it: `cache=True` reads them all and removes those that are something else, so that they are made anew.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT, atomic_file

LOCKS = ("dvc.lock", "grid/dvc.lock")
RWLOCK = Path(".dvc", "tmp", "rwlock")


def mend(root: Path = ROOT, *, cache: bool = False) -> list[str]:
    """Mend the repository at `root`, which no DVC process is using; return what was done, one sentence each."""
    done = [_restored(root, name) for name in LOCKS if (root / name).exists() and not _is_lock(root / name)]
    if (root / RWLOCK).exists() and not _is_json(root / RWLOCK):
        (root / RWLOCK).unlink()
        done.append(f"{RWLOCK} was cut off: removed")
    for path in _broken(_cache_of(root)) if cache else ():
        path.unlink()
        done.append(f"{path} does not hold what its name says: removed")
    return done


def _is_lock(path: Path) -> bool:
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        text = path.read_text(encoding="utf-8")
        COMPILED_LOCKFILE_SCHEMA(parsed(text))
    except (yaml.YAMLError, UnicodeDecodeError, Invalid):
        return False
    return text.endswith("\n")


def parsed(text: str) -> Any:
    """What the text of a dvc.lock says."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster on seven thousand lines
    return yaml.load(text, Loader=loader)  # noqa: S506 - both are safe loaders


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def _restored(root: Path, name: str) -> str:
    committed = subprocess.run(["git", "show", f"HEAD:./{name}"], cwd=root, capture_output=True, check=False)
    if committed.returncode:
        (root / name).unlink()
        return f"{name} was cut off and git has none: removed"
    with atomic_file(root / name) as partial:
        partial.write_bytes(committed.stdout)
    return f"{name} was cut off: taken from git; what was done since is in DVC's run cache"


def _cache_of(root: Path) -> Path:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "cache", "dir"], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise WorkbookError(f"DVC tells no cache: {done.stderr.strip()}", where=root, remedy="Run it in the repository")
    return root / done.stdout.strip()


def _broken(cache: Path) -> Iterator[Path]:
    """Files of the cache whose MD5 is not their name."""
    for path in sorted((cache / "files" / "md5").glob("??/*")):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "md5").hexdigest()
        if path.parent.name + path.name.removesuffix(".dir") != digest:
            yield path
