"""PEL's runs (P2): one stream or two, with or without each module, on labels alone; and where its residuals lie."""

from collections.abc import Mapping
from dataclasses import replace

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

MEASURED = 2000  # faces: 192 means and deviations over a million windows do not move with more
WATCHED = 480  # fakes, and as many reals, whose residuals are measured
BATCH = 64
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
    """Every second face mirrored: P2's only augmentation (SPEC; the paper is silent). Landmarks stay: none are read."""
    return replace(sample, image=sample.image[:, ::-1]) if rng.random() < 0.5 else sample


def measure(detector: pel.PEL, spec: Spec, stores: Mapping[str, FaceStore], inputs: Inputs) -> list[Measurement]:
    """How much of the residuals' energy lies in the true masks of the run's own test set: `residuals_inside`.

    The mean lift over faces, by module, stream and class: "self_rgb_lift_fake", "mutual_freq_lift_real", ...
    """
    store = stores.get(spec["data"]["dataset"])
    if store is None or store.masks is None:
        return []
    pairs = masked_pairs(store)
    pairs = pairs.iloc[np.linspace(0, len(pairs) - 1, min(len(pairs), WATCHED)).astype(int)]
    if not len(pairs):
        return []
    found = residuals_inside(detector, store, pairs, window(spec, store.meta))
    means = found.groupby(["module", "stream", "side"], sort=False)["lift"].mean()
    dataset = store.manifest["dataset"].iloc[0]
    return [Measurement(dataset, f"{m}_{s}_lift_{side}", float(v)) for (m, s, side), v in means.items()]


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
    """The share of each residual's energy that lies in the mask, for fakes and for the same place of their reals.

    One row a face, module ("self", "mutual") and stream: `side` ("fake", "real"), `inside`, the share of the energy,
    `area`, the mask's share of the picture, and `lift`, their ratio: 1 where the residual knows nothing of the mask.
    A face without residual or with an empty mask has none.
    """
    masks = np.stack([_mask(store, row, side) for row in pairs["fake"]])
    tables = []
    for kind in ("fake", "real"):
        for (module, stream), energies in residual_energy(detector, store, pairs[kind].to_numpy(), side).items():
            total, area = energies.sum((1, 2)), masks.mean((1, 2))
            known = (total > 0) & (area > 0)
            inside = (energies * masks).sum((1, 2))[known] / total[known]
            tables.append(
                pairs[known].assign(
                    side=kind, module=module, stream=stream, inside=inside, area=area[known], lift=inside / area[known]
                )
            )
    return (
        pd.concat(tables, ignore_index=True)
        if tables
        else pairs.head(0).assign(side="", module="", stream="", lift=0.0)
    )


def residual_energy(
    detector: pel.PEL, store: FaceStore, rows: np.ndarray, side: int
) -> dict[tuple[str, str], np.ndarray]:
    """Centred energy maps (N, side, side) of the first self-enhancement and the last mutual one, by module and stream.

    Faces are seen as in testing. Modules that a variant lacks are absent. See `pel_figures.energy`.
    """
    from dfrepro.methods.pel.residuals import energy, residuals

    parts: dict[tuple[str, str], list[np.ndarray]] = {}
    images = _images(centre(np.stack([store.faces[row] for row in rows]), side))
    for batch in images.split(BATCH):
        added = residuals(detector, detector.resize(batch))
        for module, by_stream in (("self", added.self_enhancement), ("mutual", added.mutual)):
            for stream, residual in by_stream.items():
                parts.setdefault((module, stream), []).append(energy(residual, side, centred=True).numpy())
    return {key: np.concatenate(found) for key, found in parts.items()}


def _mask(store: FaceStore, row: int, side: int) -> np.ndarray:
    """(side, side) in [0, 1], of what a network sees of the face."""
    mask = store.mask(row)
    assert mask is not None
    return centre(mask[..., None], side)[..., 0] / 255


def _images(faces: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(faces)).permute(0, 3, 1, 2)  # (N, 3, S, S) uint8
