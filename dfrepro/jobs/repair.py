"""What a kill or a failing disk leaves of DVC's own files, repaired: `python -m dfrepro repair`, before `make repro`.

All that the workbook writes appears whole or not at all; DVC writes dvc.lock and its rwlock in place, so a kill at
the wrong moment cuts them off, and DVC then refuses to start. A lock that is cut off is taken from git: what was done
since is in DVC's run cache and is not run again. Where git does not know the file, what is left of it is kept under
another name. Where git itself fails, or the lock holds a merge conflict, nothing is touched: an error says what to do.

And DVC takes a file of its cache for what its name says without reading it: `cache=True` reads them all and removes
those that are something else; the next run makes them again.
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
WITHOUT_GIT = "[core]\n    no_scm = true\n"


def repair(root: Path = ROOT, *, cache: bool = False) -> list[str]:
    """Repair the repository at `root`, which no DVC process is using; return what was done, one sentence each.

    Raises WorkbookError, and has then changed nothing, where a lock is damaged and git cannot tell what it held.
    """
    done = [_use_without_git(root)] if _is_outside_git(root) else []
    damaged = [name for name in LOCKS if (root / name).exists() and not _is_lock(root / name)]
    for name in damaged:
        _refuse_conflict(root, name)
    committed = {name: _committed(root, name) for name in damaged}  # all of them before the first is written
    done += [_restore(root, name, content) for name, content in committed.items()]
    if (root / RWLOCK).exists() and not _is_json(root / RWLOCK):
        (root / RWLOCK).unlink()
        done.append(f"{RWLOCK} was cut off: removed")
    for path in _broken(_cache_of(root)) if cache else ():
        path.unlink()
        done.append(f"{path} does not hold what its name says: removed")
    return [sentence for sentence in done if sentence]


def _is_outside_git(root: Path) -> bool:
    """Whether no git repository holds `root`: an unpacked archive, which DVC refuses unless it is told."""
    return not any((folder / ".git").exists() for folder in (root, *root.parents))


def _use_without_git(root: Path) -> str:
    local = root / ".dvc" / "config.local"
    before = local.read_text(encoding="utf-8") if local.exists() else ""
    if "no_scm" in before:
        return ""
    with atomic_file(local) as partial:
        partial.write_text(before + WITHOUT_GIT, encoding="utf-8")
    return "no git repository is here: DVC is told to work without (.dvc/config.local: core.no_scm)"


def _refuse_conflict(root: Path, name: str) -> None:
    lines = (root / name).read_text(encoding="utf-8", errors="replace").splitlines()
    if at := next((number for number, line in enumerate(lines, 1) if line.startswith("<<<<<<< ")), 0):
        remedy = f"Choose one: git checkout --ours {name}, or --theirs, then git add {name}; `make repro` does the rest"
        raise WorkbookError("holds a merge conflict", where=f"{name}, line {at}", remedy=remedy)


def _committed(root: Path, name: str) -> bytes | None:
    """What the last commit holds of a file; None where it holds no such file.

    Raises WorkbookError that quotes git where git does not work here, as in a folder that another user owns.
    """
    known = _git(root, "ls-tree", "--name-only", "HEAD", name)
    if known.returncode:
        said = known.stderr.decode(errors="replace").strip()
        remedy = f"Let git work here, or move {name} away yourself: what was done is in DVC's run cache"
        raise WorkbookError(f"is damaged, and git cannot tell what it held: {said}", where=root / name, remedy=remedy)
    return _git(root, "show", f"HEAD:./{name}").stdout if known.stdout.strip() else None


def _git(root: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, check=False)
    except FileNotFoundError:
        return subprocess.CompletedProcess(words, 127, b"", b"git is not installed")


def _restore(root: Path, name: str, content: bytes | None) -> str:
    if content is None:
        (root / name).rename(root / f"{name}.damaged")
        return f"{name} was cut off and git has none: kept as {name}.damaged; what was done is in DVC's run cache"
    with atomic_file(root / name) as partial:
        partial.write_bytes(content)
    return f"{name} was cut off: taken from git; what was done since is in DVC's run cache"


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
