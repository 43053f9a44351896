"""Label files: JSON, and the paths they name. Whatever they claim is checked before it is believed."""

import json
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from dfrepro.errors import WorkbookError


def read_label_json(path: Path) -> Any:
    """Return the parsed file. A syntax error or an entry given twice is a `WorkbookError` that names the place."""
    try:
        return json.loads(read_label_text(path), object_pairs_hook=lambda pairs: _without_repeats(pairs, path))
    except json.JSONDecodeError as error:
        raise WorkbookError(f"no valid JSON ({error.msg})", where=f"{path}:{error.lineno}", remedy=_AGAIN) from error
    except RecursionError as error:
        raise WorkbookError("JSON nested too deeply", where=path, remedy=_AGAIN) from error


def read_label_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # copies that went through Windows editors open with a mark
    except UnicodeDecodeError as error:
        raise WorkbookError("this label file is not UTF-8 text", where=path, remedy=_AGAIN) from error
    except OSError as error:
        raise WorkbookError(f"cannot read this label file: {error.strerror}", where=path) from error


def relative_path(text: object, where: str) -> PurePosixPath:
    """Return a path named by a label file, backslashes made slashes; absolute ones and `..` are refused."""
    if not isinstance(text, str) or not text or "\0" in text:
        raise WorkbookError(f"not a path: {text!r}", where=where, remedy=_AGAIN)
    slashed = text.replace("\\", "/")
    path = PurePosixPath(slashed)
    if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", slashed):
        raise WorkbookError(
            f"the path {text!r} leaves the dataset's folder",
            where=where,
            remedy="make it relative to the dataset's root: absolute paths and '..' are refused",
        )
    return path


def foreign_path(text: object, where: str) -> PurePosixPath:
    """As `relative_path`, but of an absolute path, of another machine say, what follows its root; `..` is refused."""
    if isinstance(text, str):
        text = re.sub(r"^(?:[A-Za-z]:)?/+", "", text.replace("\\", "/"))
    return relative_path(text, where)


def inside(root: Path, path: PurePosixPath | Path, where: str) -> Path:
    """Return root/path after following its links; `WorkbookError` if they lead out of the root.

    A folder right below the root may itself be a link, to another disk say: what lies below its target is inside.
    """
    full = root / path
    real, top = Path(os.path.realpath(full)), Path(path).parts[:1]
    if not any(real.is_relative_to(os.path.realpath(base)) for base in (root, root.joinpath(*top))):
        raise WorkbookError(
            f"the path {str(path)!r} leaves the dataset's folder through a symbolic link",
            where=where,
            remedy="replace the link by the files, or declare the folder it points to as the root",
        )
    return full


def _without_repeats(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):  # json would silently keep the last one, and with it perhaps another label
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise WorkbookError(f"the entry {repeated!r} is there twice", where=path, remedy="remove one of them")
    return table


_AGAIN = "fetch the file again from the dataset's authors"
