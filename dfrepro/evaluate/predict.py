"""Scores and features of a detector on faces of a store: each face is read once and passes the network once a probe."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from torch import Tensor, nn
from torch.nn import functional
from tqdm.auto import tqdm

from dfrepro.data.dataset import centre
from dfrepro.data.manifest import FaceStore
from dfrepro.errors import WorkbookError
from dfrepro.evaluate.probe import Corrupted, Probe, under

COLUMNS = ["dataset", "manipulation", "video", "frame", "label", "split"]


class Predictions(NamedTuple):
    """`frames`: one row a face: dataset, manipulation, video, frame, label, split, row (of the manifest), identity,
    source ("" where unknown), margin (logit of "fake" minus logit of "real") and score, its sigmoid.

    `features` (N, D) float32, what the classifier read, in the same order.
    """

    frames: pd.DataFrame
    features: np.ndarray


def predict(
    detector: nn.Module,
    store: FaceStore,
    rows: np.ndarray,
    *,
    size: int,
    probe: Probe = None,
    batch: int = 256,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> Predictions:
    """`detector` on the central `size` x `size` pixels of the faces `rows`. See `predict_under`."""
    probes = {"": probe}
    return predict_under(detector, store, rows, probes, size=size, batch=batch, device=device, progress=progress)[""]


def predict_under(
    detector: nn.Module,
    store: FaceStore,
    rows: np.ndarray,
    probes: Mapping[str, Probe],
    *,
    size: int,
    batch: int = 256,
    device: torch.device | str | None = None,
    progress: bool = False,
    corrupted_at: int | None = None,
) -> dict[str, Predictions]:
    """Predictions under each of `probes` (None: as it is), by its name.

    detector: any module that returns an `Output`; it is set to evaluation mode and put back. device: default, where its
    parameters are. The size of the batch changes nothing but speed and rounding. corrupted_at: faces are brought to
    this side, the network's own, before a corruption is applied: one pixel of blur is one of what it sees.
    Raises WorkbookError when a score is not finite, naming the face.
    """
    rows = np.asarray(rows)
    where = torch.device(device) if device is not None else next(detector.parameters()).device
    found: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in probes}
    clips = store.manifest.iloc[rows].groupby(COLUMNS[:3], sort=False).ngroup().to_numpy()
    training = detector.training
    detector.to(where).eval()
    try:
        for start in tqdm(range(0, len(rows), batch), desc="scoring", unit="batch", disable=not progress):
            these = rows[start : start + batch]
            faces = np.stack([centre(store.faces[row], size) for row in these])  # (B, size, size, 3): all that is read
            for name, probe in probes.items():
                shown = faces
                if isinstance(probe, Corrupted):
                    shown = probe(_resized(faces, corrupted_at), these, clips[start : start + batch])
                images = torch.from_numpy(shown).permute(0, 3, 1, 2).to(where)  # (B, 3, size, size) uint8
                found[name].append(_seen(detector, images, probe))
    finally:
        detector.train(training)
    return {name: _table(store, rows, outputs) for name, outputs in found.items()}


def _resized(faces: np.ndarray, side: int | None) -> np.ndarray:
    """Faces (B, S, S, 3) uint8 as (B, side, side, 3), as detectors resize them, rounded to grey levels."""
    if side is None or faces.shape[1] == side:
        return faces
    images = torch.from_numpy(faces).permute(0, 3, 1, 2).float()
    resized = functional.interpolate(images, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return np.ascontiguousarray(resized.round().to(torch.uint8).permute(0, 2, 3, 1).numpy())


@torch.inference_mode()
def _seen(detector: nn.Module, images: Tensor, probe: Probe) -> tuple[Tensor, Tensor]:
    with under(probe, detector):
        output = detector(images)
    return output.margins, output.features.float().cpu()


def _table(store: FaceStore, rows: np.ndarray, outputs: list[tuple[Tensor, Tensor]]) -> Predictions:
    frames = store.manifest.iloc[rows][COLUMNS].reset_index(drop=True)
    margins = torch.cat([margin for margin, _ in outputs]).double().numpy() if outputs else np.zeros(0)
    features = torch.cat([feature for _, feature in outputs]).numpy() if outputs else np.zeros((0, 0), np.float32)
    if not np.isfinite(margins).all():
        first = frames.iloc[int(np.argmin(np.isfinite(margins)))]
        raise WorkbookError(
            f"{(~np.isfinite(margins)).sum()} of {len(margins)} scores are not finite",
            where="/".join(str(first[name]) for name in COLUMNS[:4]),
            remedy="The detector is broken: train it again",
        )
    people = [[*people[:2], "", ""][:2] for people in store.manifest.iloc[rows]["identities"]]  # target first
    identity, source = zip(*people) if people else ((), ())
    found = frames.assign(row=rows, identity=identity, source=source, margin=margins, score=expit(margins))
    return Predictions(found, features)
