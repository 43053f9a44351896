"""A network's margins on faces under views, each face once a view: what two protocols share is computed once.

`artifacts/<scale>/protocol/<run>/<seed>/<dataset>/<view>-<digest>.npy` (N,) float32 has the margin of every row of the
store with that digest, NaN where no protocol has asked yet. A run whose weights are others begins a new folder.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dfrepro import places
from dfrepro.data.manifest import KEY, FaceStore
from dfrepro.errors import WorkbookError
from dfrepro.files import atomic_file
from dfrepro.jobs import pipeline, ready
from dfrepro.params import STANDIN, Params
from dfrepro.protocol.people import everyone
from dfrepro.protocol.sources import digest, widened
from dfrepro.protocol.views import View
from dfrepro.train import checkpoint


@dataclass
class Scorer:
    """One run with one seed. `scored` counts the faces that passed its network since it was made."""

    p: Params
    run: str
    seed: int
    scored: int = 0
    _stores: dict[str, FaceStore] = field(default_factory=dict, repr=False)

    @property
    def trained(self) -> Path:
        return places.run_folder(self.p, self.run, self.seed)

    @cached_property
    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = checkpoint.load_meta(self.trained)["spec"]
        return spec

    @cached_property
    def folder(self) -> Path:
        with open(self.trained / checkpoint.WEIGHTS, "rb") as file:
            weights = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        return self.p.artifacts / "protocol" / self.run / f"{self.seed}-{weights}"

    @cached_property
    def detector(self) -> torch.nn.Module:
        from dfrepro.jobs.train import load_detector

        device = "cuda" if torch.cuda.is_available() else "cpu"
        found: torch.nn.Module = load_detector(self.trained).to(device)
        return found

    def store(self, dataset: str, view: View, tests: str) -> FaceStore:
        """The faces of a declared dataset, wide enough for `view`; made where they are not there."""
        base = self._base(dataset)
        return self._made(widened, dataset, tests) if view.is_wide(base.meta["margin"]) else base

    def people(self, dataset: str, tests: str) -> FaceStore:
        """Everyone in view in a declared dataset (`dfrepro.protocol.people`); made where it is not there."""
        predictor = self.p.sizes.faces.predictor
        return self._made(
            partial(everyone, predictor=Path(predictor) if predictor else None), dataset, tests, "-people"
        )

    def _made(self, make: Callable[..., FaceStore], dataset: str, tests: str, kind: str = "") -> FaceStore:
        name = f"{dataset}-{tests}{kind}"
        if name not in self._stores:
            if self.p.roots[self.p.datasets[dataset].root] == STANDIN:
                ready.standin(self.p)
            out = self.p.artifacts / "protocol" / "faces" / name
            split = None if tests == "all" else tests
            self._stores[name] = make(self._base(dataset), pipeline.videos(self.p, dataset), out, split)
        return self._stores[name]

    def _base(self, dataset: str) -> FaceStore:
        if dataset not in self._stores:
            folder = places.faces_folder(self.p, dataset)
            self._stores[dataset] = FaceStore.open(folder) if folder.is_dir() else ready.store(self.p, dataset)
        return self._stores[dataset]

    def margins(self, dataset: str, store: FaceStore, view: View, rows: np.ndarray) -> np.ndarray:
        """(len(rows),) float64 margins of faces of `store` under `view`; what is not known is scored and kept."""
        path = self.folder / dataset / f"{view.name}-{digest(store)}.npy"
        known = np.load(path, allow_pickle=False) if path.is_file() else np.full(len(store), np.nan, np.float32)
        missing = rows[np.isnan(known[rows])]
        if len(missing):
            known[missing] = self._scored(store, view, missing)
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as partial, open(partial, "wb") as file:
                np.save(file, known)
        return known[rows].astype(float)

    @torch.inference_mode()
    def _scored(self, store: FaceStore, view: View, rows: np.ndarray) -> np.ndarray:
        self.scored += len(rows)
        device = next(self.detector.parameters()).device
        found = []
        for shown in _batches(self._shown(store, view, rows), self.p.sizes.evaluation.batch):
            images = torch.from_numpy(shown).permute(0, 3, 1, 2).to(device)  # (B, 3, T, T) uint8
            found.append(self.detector(images).margins.float().cpu().numpy())
        margins = np.concatenate(found)
        if not np.isfinite(margins).all():
            raise WorkbookError("its scores are not finite", where=f"{self.run}, seed {self.seed}", remedy="Train it")
        return margins

    def _shown(self, store: FaceStore, view: View, rows: np.ndarray) -> Iterator[np.ndarray]:
        """What the network is shown of `rows`, a video at a time, in their order."""
        clips = store.manifest.iloc[rows].groupby(KEY, sort=False).ngroup().to_numpy()
        for these in np.split(rows, np.flatnonzero(np.diff(clips)) + 1):
            points = np.stack([np.reshape(store.manifest["landmarks"].iat[row], (-1, 2)) for row in these])
            yield view.show(np.asarray(store.faces[these]), points, store.meta, self.spec)


def _batches(videos: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    waiting: list[np.ndarray] = []
    for shown in videos:
        waiting.append(shown)
        if sum(map(len, waiting)) >= size:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)
