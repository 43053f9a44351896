"""PEL's runs (P2): one stream or two, with or without each module, on labels alone; and where its residuals lie."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dfrepro.data.dataset import Sample, centre, select
from dfrepro.data.manifest import FaceStore
from dfrepro.methods.pel import detector as pel
from dfrepro.methods.pel import frequency as pel_frequency
from dfrepro.nets.detector import Backbone
from dfrepro.nets.losses import CrossEntropy
from dfrepro.train.draws import some_faces, training_data, window
from dfrepro.train.ingredients import Ingredients, Inputs, Measurement, Spec, variant

if TYPE_CHECKING:
    from dfrepro.methods.pel.residuals import Change, Changes

MEASURED = 2000  # faces: 192 means and deviations over a million windows do not move with more
WATCHED = 480  # fakes, and as many reals, whose residuals are measured
BATCH = 64
KINDS = (pel.NoiseEnhancement, pel.ChannelAttention, pel.MutualEnhancement)
COLUMNS = ("inside", "lift", "energy", "change", "spread")  # of `residuals_inside` whose means are measured
KEY = ["identity", "frame"]


def build(spec: Spec) -> pel.PEL:
    """The untrained PEL. A checkpoint brings the statistics of its frequency input."""
    return pel.build(variant(spec, pel.VARIANTS), Backbone(**spec["backbone"]), spec["seed"])


def prepare(spec: Spec, inputs: Inputs) -> Ingredients:
    detector = build(spec)
    if "freq" in detector.streams:
        chosen = variant(spec, pel.VARIANTS)
        faces = some_faces(spec, inputs.store, MEASURED)
        batches = (detector.resize(part) for part in _images(faces).split(BATCH))
        detector.standardise(pel_frequency.measure(batches, chosen.bank, chosen.size))
    data = training_data(spec, inputs)
    data.transform = data.transform or flipped
    return Ingredients(detector, data, CrossEntropy(spec["training"]["label_smoothing"]))


def flipped(sample: Sample, rng: np.random.Generator) -> Sample:
    """Every second face mirrored: PEL's only augmentation here (the paper is silent). Landmarks stay: none are read."""
    return replace(sample, image=sample.image[:, ::-1]) if rng.random() < 0.5 else sample


def measure(detector: pel.PEL, spec: Spec, stores: Mapping[str, FaceStore], inputs: Inputs) -> list[Measurement]:
    """What the enhancement modules do on the run's own test set.

    share_noise, share_attention, share_mutual: `residuals.shares`, the mean over faces.
    Where the set has true masks, the mean over faces of each column of `residuals_inside` by module, stream and class:
    "self_rgb_lift_fake", "mutual_freq_change_real", ...
    """
    store = stores.get(spec["data"]["dataset"])
    if store is None or not any(isinstance(module, KINDS) for module in detector.modules()):
        return []
    dataset, side = str(store.manifest["dataset"].iloc[0]), window(spec, store.meta)
    rows = _spread(select(store.manifest, split="test"), WATCHED)
    found = {f"share_{kind}": value for kind, value in module_shares(detector, store, rows, side).items()}
    pairs = masked_pairs(store) if store.masks is not None else pd.DataFrame()
    if len(pairs):
        pairs = pairs.iloc[_spread(np.arange(len(pairs)), WATCHED)]
        table = residuals_inside(detector, store, pairs, side)
        means = table.groupby(["module", "stream", "side"], sort=False)[list(COLUMNS)].mean()
        found |= {
            f"{module}_{stream}_{column}_{kind}": float(value)
            for (module, stream, kind), row in means.iterrows()
            for column, value in row.items()
        }
    return [Measurement(dataset, name, value) for name, value in found.items()]


def module_shares(detector: pel.PEL, store: FaceStore, rows: np.ndarray, side: int) -> dict[str, float]:
    """The mean over faces of `residuals.shares`, by kind of module."""
    from dfrepro.methods.pel.residuals import shares

    parts = [shares(detector, detector.resize(batch)) for batch in _seen(store, rows, side)]
    return {kind: float(torch.cat([part[kind] for part in parts]).mean()) for kind in parts[0]}


def _spread(values: np.ndarray, n: int) -> np.ndarray:
    return values[np.linspace(0, len(values) - 1, min(n, len(values))).astype(int)]


# --- where residuals lie ------------------------------------------------------------------------------------------


def masked_pairs(store: FaceStore) -> pd.DataFrame:
    """Test fakes with a mask, each with the real it was made of: rows of the manifest `fake`, `real`; manipulation.

    FF++ names a fake <whose video>_<whose face>. A fake whose real frame found no face is left out.
    """
    m = store.manifest.iloc[select(store.manifest, split="test")]
    m = m.assign(row=m.index, identity=m["video"].str.split("_").str[0])
    fakes = m[(m["label"] == 1) & (m["mask"] >= 0)].rename(columns={"row": "fake"})
    reals = m[m["label"] == 0].drop_duplicates(KEY).rename(columns={"row": "real"})
    return fakes[[*KEY, "manipulation", "fake"]].merge(reals[[*KEY, "real"]], on=KEY).reset_index(drop=True)


def residuals_inside(detector: pel.PEL, store: FaceStore, pairs: pd.DataFrame, side: int) -> pd.DataFrame:
    """Where each residual lies and what it does in the mask, of fakes and in the same place of their reals (Sec. 4.4).

    One row a face, module ("self", "mutual") and stream; `side` is "fake" or "real". Energies are centred
    (`residuals.energy`), and `area` is the mask's share of the picture:

    inside   share of the residual's energy that lies in the mask
    lift     inside / area: 1 where the residual knows nothing of the mask
    energy   ln of the residual's mean energy in the mask: how much is enhanced there
    change   ln of the feature's energy in the mask after the module over that before: below 0 is suppressed
    spread   (Σ e)² / (n Σ e²) of the residual's energy e over the picture's n pixels, in (0, 1]: 1 is everywhere alike

    A face without residual or with an empty mask has none.
    """
    tables = []
    for kind in ("fake", "real"):
        for part in _parts(len(pairs)):
            some = pairs.iloc[part]
            masks = torch.from_numpy(np.stack([_mask(store, row, side) for row in some["fake"]]))  # (B, side, side)
            (images,) = _seen(store, some[kind].to_numpy(), side)
            for (module, stream), change in _changes(detector, images).items():
                columns = _inside(change, masks)
                known = (columns["area"] > 0) & np.isfinite(columns["energy"])
                tables.append(some.assign(side=kind, module=module, stream=stream, **columns)[known])
    empty = pairs.head(0).assign(side="", module="", stream="", **dict.fromkeys(("area", *COLUMNS), 0.0))
    return pd.concat(tables, ignore_index=True) if tables else empty


def _inside(change: "Change", masks: Tensor) -> dict[str, np.ndarray]:
    """The columns of `residuals_inside` for a batch of faces, (B,) each."""
    from dfrepro.methods.pel.residuals import energy

    size = masks.shape[-1]
    added, before, after = (
        energy(features, size, centred=True).double() for features in (change.added, change.before, change.after)
    )
    area = masks.mean((1, 2)).double()
    total, within = added.sum((1, 2)), (added * masks).sum((1, 2))
    share = within / total
    in_mask = [(features * masks).sum((1, 2)) for features in (before, after)]
    values = {
        "area": area,
        "inside": share,
        "lift": share / area,
        "energy": (within / masks.sum((1, 2))).log(),
        "change": (in_mask[1] / in_mask[0]).log(),
        "spread": total.square() / (size**2 * added.square().sum((1, 2))),
    }
    return {name: value.numpy() for name, value in values.items()}


def residual_energy(
    detector: pel.PEL, store: FaceStore, rows: np.ndarray, side: int
) -> dict[tuple[str, str], np.ndarray]:
    """Centred energy maps (N, side, side) of the first self-enhancement and the last mutual one, by module and stream.

    Faces are seen as in testing. Modules that a variant lacks are absent. See `residuals.energy`.
    """
    from dfrepro.methods.pel.residuals import energy

    parts: dict[tuple[str, str], list[np.ndarray]] = {}
    for images in _seen(store, rows, side):
        for key, change in _changes(detector, images).items():
            parts.setdefault(key, []).append(energy(change.added, side, centred=True).numpy())
    return {key: np.concatenate(found) for key, found in parts.items()}


def _changes(detector: pel.PEL, images: Tensor) -> "Changes":
    from dfrepro.methods.pel.residuals import changes

    return changes(detector, detector.resize(images))


def _seen(store: FaceStore, rows: np.ndarray, side: int) -> Iterator[Tensor]:
    """Batches (B, 3, side, side) of faces as in testing."""
    for part in _parts(len(rows)):
        yield _images(centre(np.stack([store.faces[row] for row in rows[part]]), side))


def _parts(n: int) -> list[slice]:
    return [slice(start, start + BATCH) for start in range(0, n, BATCH)]


def _mask(store: FaceStore, row: int, side: int) -> np.ndarray:
    """(side, side) in [0, 1], of what a network sees of the face."""
    mask = store.mask(row)
    assert mask is not None
    return centre(mask[..., None], side)[..., 0] / 255


def _images(faces: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(faces)).permute(0, 3, 1, 2)  # (N, 3, S, S) uint8
