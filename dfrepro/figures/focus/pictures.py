"""What the FoCus notebook looks at beside scores: maps of test faces, what networks cost, and the losses for λ."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from dfrepro.data.dataset import centre, select
from dfrepro.evaluate import cost as focus_cost
from dfrepro.methods.focus import detector as focus
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

    def _reals(self, pairs: "Pairs") -> Tensor:
        found = self.faces.copy()
        has = pairs.has(self.rows)
        found[has] = centre(pairs.of(self.rows[has]), self.faces.shape[1])
        return torch.from_numpy(found).permute(0, 3, 1, 2)


def _spread(rows: np.ndarray, n: int) -> np.ndarray:
    return rows[np.linspace(0, len(rows) - 1, n + 2).astype(int)[1:-1]]


def maps_of(wb: "Workbook", picked: Picked, names: dict[str, str]) -> dict[str, np.ndarray]:
    """Kinds of map side by side, by title; those that the grid leaves out are not in it. `names`: maps -> title."""
    from dfrepro import places
    from dfrepro.data.pairs import Pairs

    made = {}
    for name, title in names.items():
        declared = wb.params.maps[name]
        if wb.maps(name) is None:
            continue
        run = wb.run(declared.run) if declared.run else None
        pairs = None if run else Pairs.open(places.pairs_folder(wb.params, wb.params.maps_dataset(name)))
        made[title] = picked.targets(declared.kind, run, pairs)
    return made


def features(wb: "Workbook", run: str, datasets: tuple[str, ...], *, faces: int = 300) -> pd.DataFrame:
    """Figure 9: one UMAP of a run's features on test faces of several sets: dataset, manipulation, label, x, y."""
    from dfrepro.evaluate.embedding import umap
    from dfrepro.evaluate.predict import predict

    trained = wb.run(run)
    if trained is None:
        return pd.DataFrame(columns=["dataset", "manipulation", "label", "x", "y"])
    detector, seen = trained.detector(), []
    for dataset in datasets:
        store = wb.store(dataset)
        rows = select(store.manifest, split="test")
        few = rows[np.linspace(0, len(rows) - 1, min(faces, len(rows))).astype(int)]
        seen.append(predict(detector, store, few, size=trained.window))
    xy = umap(np.concatenate([each.features for each in seen]), seed=trained.seed)
    table = pd.concat([each.frames for each in seen], ignore_index=True)
    return table[["dataset", "manipulation", "label"]].assign(x=xy[:, 0], y=xy[:, 1])


def costs(wb: "Workbook", names: dict[str, str], *, batch: int = 16, repeats: int = 3) -> pd.DataFrame:
    """Table VIII here: parameters, operations of a face, faces a second on this machine; `names`: run -> title."""
    from dfrepro.jobs.kinds import recipes

    p = wb.params
    specs = {title: p.spec(run, p.seeds[0]) for run, title in names.items()}
    networks = {
        title: recipes(spec).build(spec | {"backbone": spec["backbone"] | {"pretrained": False}})
        for title, spec in specs.items()
    }
    counted = {t: focus_cost.cost(n, specs[t]["backbone"]["image_size"]) for t, n in networks.items()}
    works = {t: focus_cost.inference(n, _blank(specs[t], batch)) for t, n in networks.items()}
    speed = focus_cost.images_per_second(works, batch, repeats=repeats)
    rows = [(t, c.parameters / 1e6, c.flops / 1e9, c.macs / 1e9, speed[t]) for t, c in counted.items()]
    return pd.DataFrame(rows, columns=["network", "parameters, M", "GFLOPs", "GMACs", "images/s"]).round(3)


def _blank(spec: dict[str, Any], batch: int) -> Tensor:
    side = spec["backbone"]["image_size"]
    return torch.zeros(batch, 3, side, side, dtype=torch.uint8)


def losses(wb: "Workbook", lams: tuple[float, ...], *, steps: int = 60, batch: int = 16) -> pd.DataFrame:
    """Figure 11: L_cls and L_loc of FoCus over its first steps for each λ, from the same start on the same faces."""
    from dfrepro.jobs.kinds import recipes
    from dfrepro.train.draws import window

    name, p = "focus-map-focus", wb.params
    spec = p.spec(name, p.seeds[0])
    store = wb.store(p.run(name).data.dataset)
    rows = select(store.manifest, split="train", frames=spec["training"]["frames"])
    labels = store.manifest["label"].to_numpy()
    sides, rng = [rows[labels[rows] == label] for label in (0, 1)], np.random.default_rng(0)
    order = [np.concatenate([rng.choice(side, batch // 2) for side in sides]) for _ in range(steps)]
    found = []
    for lam in lams:
        detector, loss = (
            recipes(spec).build(spec | {"backbone": spec["backbone"] | {"pretrained": False}}).train(),
            focus.FocusLoss(loc=lam),
        )
        optimiser = torch.optim.AdamW(detector.parameters(), lr=1e-3)
        with torch.random.fork_rng(devices=[]):  # Gumbel noise
            torch.manual_seed(0)
            for step, these in enumerate(order):
                faces = centre(store.faces[np.sort(these)], window(spec, store.meta))
                images = torch.from_numpy(np.ascontiguousarray(faces)).permute(0, 3, 1, 2)
                total, parts = loss(
                    detector, {"image": images, "label": torch.from_numpy(labels[np.sort(these)]).long()}
                )
                optimiser.zero_grad()
                total.backward()
                optimiser.step()
                found.append((lam, step, float(parts["cls"].detach()), float(parts["loc"].detach())))
    return pd.DataFrame(found, columns=["lam", "step", "cls", "loc"])
