"""What the FoCus notebook looks at beside scores: maps of test faces, what networks cost, and the losses for λ."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from dfrepro.data.dataset import centre, select
from dfrepro.evaluate import cost as focus_cost
from dfrepro.methods.focus.supervision import PAIRED, as_targets, raw_maps
from dfrepro.report.plots import LABELS

if TYPE_CHECKING:
    from dfrepro.data.manifest import FaceStore
    from dfrepro.data.pairs import Pairs
    from dfrepro.jobs.trained import TrainedRun
    from dfrepro.workbook import Workbook


class Picked:
    """A few test faces as networks see them: `faces` (N, s, s, 3), `masks` (N, s, s), `rows` and `titles`."""

    def __init__(self, store: "FaceStore", side: int, *, reals: int = 2, fakes: int = 2):
        manifest = store.manifest
        self.rows = np.concatenate(
            [_spread(group.index.to_numpy(), reals if name == "original" else fakes)
             for name, group in manifest[manifest.split == "test"].groupby("manipulation")]
        )  # fmt: skip
        self.labels = manifest["label"].to_numpy()[self.rows]
        self.titles = [LABELS.get(name, name) for name in manifest["manipulation"].to_numpy()[self.rows]]
        self.faces = centre(store.faces[self.rows], side)
        masks = [store.mask(int(row)) for row in self.rows]
        blank = np.zeros((store.size, store.size), np.uint8)
        start = (store.size - side) // 2
        stacked = np.stack([blank if mask is None else mask for mask in masks])
        self.masks = stacked[:, start : start + side, start : start + side]

    @property
    def images(self) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.faces)).permute(0, 3, 1, 2)

    def targets(self, kind: str, run: "TrainedRun | None", pairs: "Pairs | None") -> np.ndarray:
        """Maps of a kind as they supervise, (N, s, s) in [0, 1]: zero for reals."""
        reals = None if kind not in PAIRED or pairs is None else self._reals(pairs)
        raw = raw_maps(kind, self.images, network=None if run is None else run.detector(), reals=reals)  # type: ignore[arg-type]
        return as_targets(raw, torch.from_numpy(self.labels), self.faces.shape[1]).numpy()

    def car(self, run: "TrainedRun", *, class_1: bool) -> np.ndarray:
        """FoCus' fused map of Eq. 4 or 9 as it is, its positive part, bilinear to the face: (N, s, s)."""
        maps = run.detector().car_maps(self.images, class_1=class_1).fused.clamp_min(0)  # type: ignore[operator]
        side = self.faces.shape[1]
        return functional.interpolate(maps[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0].numpy()

    def seen(self, kind: str, run: "TrainedRun | None", pairs: "Pairs | None") -> np.ndarray:
        """Figure 7: maps of a kind on reals too, where FoCus' is Eq. 9: (N, s, s), not negative, 1 the kind's largest.

        One scale for all faces: a kind that marks reals as it marks fakes is seen to. Zeros for faces without a pair.
        """
        side = self.faces.shape[1]
        if kind == "focus" and run is not None:
            maps = torch.from_numpy(self.car(run, class_1=True))
        else:
            reals = None if kind not in PAIRED or pairs is None else self._reals(pairs)
            maps = raw_maps(kind, self.images, network=None if run is None else run.detector(), reals=reals)  # type: ignore[arg-type]
            maps = maps.detach().float().clamp_min(0)
            maps = functional.interpolate(maps[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0]
        return (maps / maps.max().clamp_min(1e-12)).numpy()

    def _reals(self, pairs: "Pairs") -> Tensor:
        found = self.faces.copy()
        has = pairs.has(self.rows)
        found[has] = centre(pairs.of(self.rows[has]), self.faces.shape[1])
        return torch.from_numpy(found).permute(0, 3, 1, 2)


def _spread(rows: np.ndarray, n: int) -> np.ndarray:
    return rows[np.linspace(0, len(rows) - 1, n + 2).astype(int)[1:-1]]


def maps_of(
    wb: "Workbook", picked: Picked, names: dict[str, str], *, on_reals: bool = False, paired: bool = True
) -> dict[str, np.ndarray]:
    """Kinds of map side by side, by title; those that the grid leaves out are not in it. `names`: maps -> title.

    As they supervise (`Picked.targets`), or with `on_reals` as Figure 7 has them (`Picked.seen`). `paired` False leaves
    the differences out: unpaired faces, as WDF's, have none.
    """
    from dfrepro import places
    from dfrepro.data.pairs import Pairs

    made = {}
    for name, title in names.items():
        declared = wb.params.maps[name]
        if wb.maps(name) is None or not (paired or declared.kind not in PAIRED):
            continue
        run = wb.run(declared.run) if declared.run else None
        pairs = None if run else Pairs.open(places.pairs_folder(wb.params, wb.params.maps_dataset(name)))
        made[title] = (picked.seen if on_reals else picked.targets)(declared.kind, run, pairs)
    return made


def features(wb: "Workbook", runs: dict[str, str], datasets: tuple[str, ...], *, faces: int = 300) -> pd.DataFrame:
    """Figure 9: a UMAP a run of features of test faces of several sets: model, dataset, manipulation, label, x, y.

    runs: run -> title of the model; those that the grid leaves out are not in it.
    """
    from dfrepro.evaluate.embedding import umap
    from dfrepro.evaluate.predict import predict

    tables = [pd.DataFrame(columns=["model", "dataset", "manipulation", "label", "x", "y"])]
    for run, title in runs.items():
        trained = wb.run(run)
        if trained is None:
            continue
        detector, seen = trained.detector(), []
        for dataset in datasets:
            store = wb.store(dataset)
            rows = select(store.manifest, split="test")
            few = rows[np.linspace(0, len(rows) - 1, min(faces, len(rows))).astype(int)]
            seen.append(predict(detector, store, few, size=trained.window))
        xy = umap(np.concatenate([each.features for each in seen]), seed=trained.seed)
        table = pd.concat([each.frames for each in seen], ignore_index=True)
        tables.append(table[["dataset", "manipulation", "label"]].assign(model=title, x=xy[:, 0], y=xy[:, 1]))
    return pd.concat([table for table in tables if len(table)] or tables, ignore_index=True)


def costs(wb: "Workbook", names: dict[str, str]) -> pd.DataFrame:
    """Table VIII here: parameters and operations of a face; `names`: run -> title."""
    from dfrepro.jobs.kinds import method_of

    p = wb.params
    specs = {title: p.spec(run, p.seeds[0]) for run, title in names.items()}
    networks = {
        title: method_of(spec).build(spec | {"backbone": spec["backbone"] | {"pretrained": False}})
        for title, spec in specs.items()
    }
    counted = {t: focus_cost.cost(n, specs[t]["backbone"]["image_size"]) for t, n in networks.items()}
    rows = [(t, c.parameters / 1e6, c.flops / 1e9, c.macs / 1e9) for t, c in counted.items()]
    return pd.DataFrame(rows, columns=["network", "parameters, M", "GFLOPs", "GMACs"]).round(3)


def losses(wb: "Workbook", runs: dict[float, str]) -> pd.DataFrame:
    """Figure 11: L_cls and L_loc along the trainings of runs that differ in λ, at the scale's own budget.

    runs: λ -> run. Columns lam, epoch, cls, loc; runs that the grid leaves out are not in it.
    """
    tables = [pd.DataFrame(columns=["lam", "epoch", "cls", "loc"])]
    for lam, run in runs.items():
        if (trained := wb.run(run)) is not None:
            tables.append(trained.history[["epoch", "cls", "loc"]].assign(lam=lam))
    return pd.concat([table for table in tables if len(table)] or tables, ignore_index=True)
