"""Faces for training: draws from a face store, the same for a (seed, epoch, index) whatever the number of workers.

A *draw* is a place in the sequence of everything a training sees; draw k belongs to epoch k // len(dataset). Which face
it shows and how it is augmented depend on (seed, k) alone, so nothing has to be told when a new epoch begins, and a
training can resume in the middle of one. What is not augmented is seen as in testing: the centre of the stored crop.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dfrepro.data.manifest import FaceStore
from dfrepro.data.sharing import workers_that_fit
from dfrepro.errors import WorkbookError

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Sample:
    """One face on its way into a batch.

    `image` (S, S, 3) uint8 RGB; `label` 1 = fake; `landmarks` (81, 2) float32 in its pixels; `mask` (S, S) uint8, 255
    where manipulated, or None. `row` of the manifest. `extras`: more arrays of the window's size for the batch, which
    every sample of a data set has or none. Arrays may be views of the store: never write into them.
    """

    image: np.ndarray
    label: int
    landmarks: np.ndarray
    mask: np.ndarray | None = None
    row: int = -1
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)


# An augmentation, or a maker of pseudo-fakes: one stored face in, one or several samples out (a real and its fake). It
# keeps the stored size, or returns pictures of the size the network is trained on. Picklable, and pure but for `rng`.
Transform = Callable[[Sample, np.random.Generator], Sample | Sequence[Sample]]


def select(
    manifest: pd.DataFrame,
    *,
    split: str | None = None,
    manipulations: Sequence[str] | None = None,
    label: int | None = None,
    frames: int | None = None,
) -> np.ndarray:
    """Row numbers of the faces of a `split`, of the reals and the given `manipulations`, of one `label`.

    `frames`: at most so many faces of a video, equally spaced over those stored. Raises WorkbookError when none is left
    or a manipulation is not in the store.
    """
    keep = np.ones(len(manifest), bool)
    if split is not None:
        keep &= (manifest["split"] == split).to_numpy()
    if manipulations is not None:
        known = set(manifest["manipulation"])
        if missing := sorted(set(manipulations) - known):
            raise WorkbookError(
                f"no faces of {', '.join(missing)}", where="face store", remedy=f"It has {sorted(known)}"
            )
        keep &= (manifest["manipulation"].isin(manipulations) | (manifest["label"] == 0)).to_numpy()
    if label is not None:
        keep &= (manifest["label"] == label).to_numpy()
    rows = np.flatnonzero(keep)
    if frames is not None and len(rows):
        videos = manifest.iloc[rows].groupby(["dataset", "manipulation", "video"], sort=False).indices.values()
        rows = np.sort(np.concatenate([rows[spread(np.sort(places), frames)] for places in videos]))
    if not len(rows):
        raise WorkbookError(
            f"no face is left (split {split}, manipulations {manipulations}, label {label})",
            where="face store",
            remedy="Extract the faces of this set, or choose another selection",
        )
    return rows


def spread(places: np.ndarray, n: int) -> np.ndarray:
    """`n` of `places` at equal distances, first and last among them."""
    if len(places) <= n:
        return places
    return places[np.round(np.linspace(0, len(places) - 1, n)).astype(int)]


class FaceDataset(Dataset[Batch]):
    """Draws from the `rows` of a store, for training.

    store: the faces; rows: which of them (row numbers of the manifest).
    size: side of the window in stored pixels, cut from the centre of the stored crop.
    seed: decides order and augmentation. transform: see `Transform`.
    draws: how many make an epoch; "all": as many as there are faces; default: as many as the rarer class, twice (one
    class alone: each face once).
    masks: put the store's masks into the batch (zeros for a real; a fake without one is an error).

    Half of the draws are real, fakes spread evenly over their manipulations, real and fake in turn, so that any even
    slice of the sequence is balanced. Each class is gone through in a new order before a face comes back.
    """

    def __init__(
        self,
        store: FaceStore,
        rows: np.ndarray,
        *,
        size: int,
        seed: int,
        transform: Transform | None = None,
        draws: int | Literal["all"] | None = None,
        masks: bool = False,
    ):
        if not len(rows):
            raise WorkbookError("a training needs at least one face", where=store.path)
        if not 0 < size <= store.size:
            raise WorkbookError(f"a window of {size} px in faces of {store.size} px", where=store.path)
        self.store, self.rows, self.size, self.seed = store, np.asarray(rows), size, seed
        self.transform, self.masks = transform, masks
        chosen = store.manifest.iloc[self.rows]
        self.labels = chosen["label"].to_numpy(np.int64)  # (N,)
        self.groups = _groups(self.labels, chosen["manipulation"].to_numpy())
        rarer = min(len(np.flatnonzero(self.labels == label)) for label in np.unique(self.labels))
        self.draws = len(self.rows) if draws == "all" else draws or rarer * len(np.unique(self.labels))
        self._remember()

    def _remember(self) -> None:
        self._order = lru_cache(maxsize=2)(self._draw_order)
        self._landmarks = self.store.manifest["landmarks"].to_numpy()  # looked up once: a lookup costs 50 µs

    def __len__(self) -> int:
        """Draws in an epoch; `dataset[k]` goes on beyond it, into the next epoch."""
        return self.draws

    def __getitem__(self, draw: int) -> Batch:
        return self.__getitems__([draw])

    def __getitems__(self, draws: Sequence[int]) -> Batch:
        """A batch of draws: image (B, 3, size, size) uint8, label (B,), row (B,) of the manifest, draw (B,), mask
        (B, size, size) uint8 where there are masks, and the transform's extras (B, ...). B is more than len(draws)
        where the transform makes pairs."""
        keys = [divmod(int(draw), self.draws) for draw in draws]
        places = np.array([self._order(epoch)[index] for epoch, index in keys])
        if self.transform is None:
            images, labels, masks, origin, extras = self._plain(places)
        else:
            images, labels, masks, origin, extras = self._transformed(places, keys)
        batch = {
            "image": torch.from_numpy(images).permute(0, 3, 1, 2),  # NHWC in memory: the network's format is its matter
            "label": torch.from_numpy(labels),
            "row": torch.from_numpy(self.rows[places][origin]),
            "draw": torch.from_numpy(np.asarray(draws, np.int64)[origin]),
        }
        more = extras if masks is None else {"mask": masks, **extras}
        return batch | {name: torch.from_numpy(values) for name, values in more.items()}

    def keys(self, rows: Sequence[int]) -> list[str]:
        """dataset/manipulation/video:frame of rows of the manifest, for messages."""
        chosen = self.store.manifest.iloc[list(rows)]
        columns = (chosen[name] for name in ("dataset", "manipulation", "video", "frame"))
        return [f"{dataset}/{kind}/{video}:{frame}" for dataset, kind, video, frame in zip(*columns)]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_order", "_landmarks")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._remember()

    # --- what a draw shows ----------------------------------------------------------------------------------------

    def _draw_order(self, epoch: int) -> np.ndarray:
        """(draws,) places in `rows`."""
        rng = np.random.default_rng([self.seed, epoch, 0])
        classes = list(self.groups.values())
        n = -(-self.draws // len(classes))  # of each class
        columns = [_evenly(groups, n, rng) for groups in classes]
        return np.stack(columns, axis=1).ravel()[: self.draws]

    # --- fetching -------------------------------------------------------------------------------------------------

    def _plain(self, places: np.ndarray) -> tuple[Any, ...]:
        images = np.empty((len(places), self.size, self.size, 3), np.uint8)
        masks = np.zeros((len(places), self.size, self.size), np.uint8) if self.masks else None
        for i, place in enumerate(places):
            images[i] = centre(self.store.faces[self.rows[place]], self.size)
            if masks is not None and self.labels[place]:
                masks[i] = centre(self._mask(place)[..., None], self.size)[..., 0]
        return images, self.labels[places], masks, np.arange(len(places)), {}

    def _transformed(self, places: np.ndarray, keys: list[tuple[int, int]]) -> tuple[Any, ...]:
        samples, origin = [], []
        for i, (place, (epoch, index)) in enumerate(zip(places, keys)):
            made = self._make(place, epoch, index)
            samples += made
            origin += [i] * len(made)
        masked = any(sample.mask is not None for sample in samples)
        zeros = np.zeros((self.size, self.size), np.uint8)
        masks = np.stack([zeros if s.mask is None else s.mask for s in samples]) if masked else None
        labels = np.array([sample.label for sample in samples], np.int64)
        extras = {name: np.stack([sample.extras[name] for sample in samples]) for name in samples[0].extras}
        return np.stack([sample.image for sample in samples]), labels, masks, np.array(origin), extras

    def _make(self, place: int, epoch: int, index: int) -> list[Sample]:
        assert self.transform is not None
        row = self.rows[place]
        landmarks = np.asarray(self._landmarks[row], np.float32).reshape(-1, 2)  # (81, 2)
        mask = self._mask(place) if self.masks and self.labels[place] else None
        sample = Sample(np.asarray(self.store.faces[row]), int(self.labels[place]), landmarks, mask, int(row))
        made = self.transform(sample, np.random.default_rng([self.seed, epoch, 2, index]))
        return [self._cut(one) for one in ([made] if isinstance(made, Sample) else made)]

    def _cut(self, sample: Sample) -> Sample:
        height, width = sample.image.shape[:2]
        if (height, width) == (self.size, self.size):
            return sample
        if (height, width) != (self.store.size, self.store.size):
            raise WorkbookError(
                f"the transform returned {height} x {width} px",
                where=type(self.transform).__name__,
                remedy=f"Return the stored {self.store.size} px or the window's {self.size} px",
            )
        image, mask = centre(sample.image, self.size), sample.mask
        cut = None if mask is None else centre(mask[..., None], self.size)[..., 0]
        start = (self.store.size - self.size) // 2
        return replace(sample, image=image, mask=cut, landmarks=sample.landmarks - np.float32(start))

    def _mask(self, place: int) -> np.ndarray:
        mask = self.store.mask(self.rows[place])
        if mask is None:
            raise WorkbookError("a fake without a mask", where=self.keys([self.rows[place]])[0], remedy="Train without")
        return mask


def centre(images: np.ndarray, size: int) -> np.ndarray:
    """The central (..., size, size, C) of stored crops (..., S, S, C): what networks look at."""
    margin = images.shape[-2] - size
    if margin < 0:
        raise WorkbookError(f"a window of {size} px in faces of {images.shape[-2]} px", where="face store")
    start = margin // 2
    return images[..., start : start + size, start : start + size, :]


def batches(
    dataset: FaceDataset,
    batch: int,
    *,
    first: int,
    last: int,
    rank: int = 0,
    world_size: int = 1,
    micro: int = 1,
    workers: int = 0,
    pin: bool = False,
) -> Iterator[list[Batch]]:
    """The batches of the steps `first` to `last` - 1, each as the list of this rank's micro-batches.

    Step s reads the draws s * batch to (s + 1) * batch - 1, split in order over the ranks and then over `micro`.
    `workers`: processes that make them, fewer where shared memory is too small.
    """
    if batch % (world_size * micro):
        raise WorkbookError(f"a batch of {batch} cannot be split over {world_size} ranks x {micro} micro-batches")
    share = batch // (world_size * micro)
    starts = [s * batch + (rank * micro + m) * share for s in range(first, last) for m in range(micro)]
    if workers and starts:
        workers = workers_that_fit(workers, share * sum(each.nbytes for each in dataset[starts[0]].values()))
    loader = DataLoader(
        dataset,
        batch_sampler=[range(start, start + share) for start in starts],  # type: ignore[misc]
        num_workers=workers,
        collate_fn=_same,  # type: ignore[arg-type]  # the data set gives whole batches
        pin_memory=pin,
        generator=torch.Generator(),  # unused, but the default would draw from the global one
    )
    parts = iter(loader)
    return ([_next(parts) for _ in range(micro)] for _ in range(first, last))


def _next(parts: Iterator[Batch]) -> Batch:
    try:
        return next(parts)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        what = f"a data worker was killed, by hand or for want of memory ({str(error).splitlines()[0]})"
        remedy = "The same command goes on; lower `training.workers` if it happens again"
        raise WorkbookError(what, where="training", remedy=remedy) from error


def _same(batch: Batch) -> Batch:
    return batch


def _groups(labels: np.ndarray, manipulations: np.ndarray) -> dict[int, list[np.ndarray]]:
    """The places of each class, by manipulation."""
    groups: dict[int, list[np.ndarray]] = {}
    for label in np.unique(labels):
        kinds = [""] if label == 0 else sorted(set(manipulations[labels == label]))
        groups[int(label)] = [
            np.flatnonzero((labels == label) & ((manipulations == kind) | (kind == ""))) for kind in kinds
        ]
    return groups


def _evenly(groups: list[np.ndarray], n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` places, the groups in random turns, each group's in passes of random order."""
    turns = np.concatenate([rng.permutation(len(groups)) for _ in range(-(-n // len(groups)))])[:n]
    chosen = np.empty(n, np.int64)
    for number, group in enumerate(groups):
        slots = np.flatnonzero(turns == number)
        passes = [rng.permutation(group) for _ in range(-(-len(slots) // len(group)))]
        chosen[slots] = np.concatenate([*passes, group[:0]])[: len(slots)]
    return chosen
