"""Splits by identity: a validation part for the sets that come without one, and a test for overlap."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from dfrepro.data.layouts.base import Video

VAL_SHARE = 0.1


def held_out(identity: str, share: float = VAL_SHARE) -> bool:
    """True for about `share` of all identities: the same ones on every machine, whatever else is in the set."""
    return int.from_bytes(hashlib.sha256(identity.encode("utf-8", "surrogateescape")).digest()[:8]) < share * 2**64


def carve_val(videos: Iterable[Video]) -> tuple[list[Video], list[Video]]:
    """Move the held-out identities of `train` to `val`; return (videos, left out).

    A video of two people, one held out and one not, would leak an identity wherever it went, so it is left out.
    """
    kept, left_out = [], []
    for video in videos:
        held = {held_out(identity) for identity in video.identities} if video.split == "train" else {False}
        if len(held) == 2:
            left_out.append(video)
        else:
            kept.append(replace(video, split="val") if held == {True} else video)
    return kept, left_out


def overlap(videos: Iterable[Video], one: str = "train", other: str = "test") -> set[tuple[str, str]]:
    """Return the (dataset, identity) pairs that occur in both splits."""
    people: dict[str, set[tuple[str, str]]] = {one: set(), other: set()}
    for video in videos:
        if video.split in people:
            people[video.split].update((video.dataset, identity) for identity in video.identities)
    return people[one] & people[other]
