"""Whose videos are independent: groups of videos that share no person with any other.

A fake shares its take and its face with the real that it was made from, and a person may be in several videos. Leaving
out, or drawing, single videos would count them as so many answers. A test set's videos fall into groups instead: two
videos are in one group when a chain of shared people joins them (the connected components). Who is in a video is said
by the columns `identity` (of the take) and `source` (of the face put there), else by the names of its layout.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

COLUMNS = ("identity", "source")


def people(dataset: str, video: str) -> tuple[str, ...]:
    """Who is in a video, by the names of FF++, DFD, Celeb-DF and DFDCP; of any other set it is its own person."""
    if dataset == "ffpp":  # 071_054, of target and source, or 071
        return tuple(video.split("_"))
    if dataset == "dfd":  # 01_02__kitchen_pan__PNKJOF3H, or 01__kitchen_pan
        return tuple(video.partition("__")[0].split("_"))
    if dataset == "cdfv2" and video.startswith("id"):  # id0_id1_0000, or id0_0000
        return tuple(part for part in video.split("_") if part.startswith("id"))
    if dataset == "dfdcp":  # 1000/1000_1001_000, or 1000/1000_000
        return tuple(video.rpartition("/")[2].split("_")[:-1]) or (video,)
    return (video,)


def groups(items: pd.DataFrame) -> np.ndarray:
    """The number of the group (N,) of each row: of one dataset, with columns dataset, video and perhaps `COLUMNS`.

    Raises nothing: a row without any name is a group of its own.
    """
    casts = list(_casts(items))
    names = {name: number for number, name in enumerate(dict.fromkeys(name for cast in casts for name in cast))}
    rows = np.repeat(np.arange(len(casts)), [len(cast) for cast in casts])
    columns = len(casts) + np.array([names[name] for cast in casts for name in cast], int)
    size = len(casts) + len(names)
    _, component = connected_components(coo_array((np.ones(len(rows)), (rows, columns)), shape=(size, size)), False)
    return np.unique(component[: len(casts)], return_inverse=True)[1]


def _casts(items: pd.DataFrame) -> Iterable[tuple[str, ...]]:
    known = [items[name].fillna("").astype(str) for name in COLUMNS if name in items]
    for dataset, video, *named in zip(items["dataset"], items["video"], *known):
        yield tuple(name for name in named if name) or people(dataset, video)
