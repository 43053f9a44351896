"""Folders per method, the form in which DF40 and DiFF come: what each word of a path means."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import cast

from dfrepro.data.layouts.base import FAKE, REAL, Split

REAL_WORDS = frozenset({"real", "reals", "original", "pristine", "0_real"})
FAKE_WORDS = frozenset({"fake", "fakes", "forged", "1_fake"})
SPLIT_WORDS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
NEUTRAL_WORDS = frozenset({"images", "frames", "faces", "faces_all", "frames_all", "videos", "crops"})


@dataclass(frozen=True)
class Place:
    """What a path below the root tells: `words` are the parts that say nothing about label or split."""

    words: tuple[str, ...]
    label: int
    split: Split | None


def place(path: PurePath) -> Place:
    """Read label and split off the folders of `path`, relative to the root; what is not called real is fake.

    A split and a label may share one word (`fake_train`, `val_real`).
    """
    words, label, split = [], FAKE, None
    for part in path.parts:
        tokens = _tokens(part)
        splits = [SPLIT_WORDS[token] for token in tokens if token in SPLIT_WORDS]
        is_marker = all(token in SPLIT_WORDS or token in REAL_WORDS | FAKE_WORDS for token in tokens)
        if not is_marker:
            words.append(part)
            continue
        split = cast(Split, splits[0]) if splits else split
        label = REAL if REAL_WORDS & set(tokens) else label
    return Place(tuple(words), label, split)


def without(words: Iterable[str], unwanted: Iterable[str]) -> tuple[str, ...]:
    """Return the words that are not in `unwanted`, compared without case."""
    lowered = {word.lower() for word in unwanted}
    return tuple(word for word in words if word.lower() not in lowered)


def _tokens(part: str) -> list[str]:
    lowered = part.lower()
    return [lowered] if lowered in REAL_WORDS | FAKE_WORDS else lowered.replace("-", "_").split("_")
