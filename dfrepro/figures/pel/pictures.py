"""What the PEL notebook looks at beside scores: its frequencies, where its streams look, what its modules add."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dfrepro.data.dataset import centre
from dfrepro.figures import faces as study
from dfrepro.methods.pel.detector import PEL
from dfrepro.methods.pel.frequency import SIDE, FrequencyInput
from dfrepro.methods.pel.residuals import StreamView
from dfrepro.methods.pel.run import masked_pairs, residual_energy, residuals_inside
from dfrepro.nets import cam

if TYPE_CHECKING:
    from dfrepro.data.manifest import FaceStore
    from dfrepro.jobs.trained import TrainedRun

Maps = dict[str, np.ndarray]  # (N, S, S) each
STREAMS = {"rgb": "RGB stream", "freq": "frequency stream"}


def pairs(store: "FaceStore", each: int) -> pd.DataFrame:
    """At most `each` test fakes of every manipulation with their reals, spread over the videos (`masked_pairs`).

    Other people in each manipulation, as far as there are others.
    """
    groups = [group for _, group in masked_pairs(store).groupby("manipulation", sort=True)]
    spread = []
    for number, group in enumerate(groups):
        taken = min(each, len(group))
        places = (np.arange(taken) + (number + 0.5) / len(groups)) * len(group) / taken
        spread.append(group.iloc[places.astype(int)])
    return pd.concat(spread, ignore_index=True)


def gallery(
    store: "FaceStore", chosen: pd.DataFrame, side: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Fake and real in turn: their rows (2N,), faces (2N, side, side, 3), the fakes' masks twice, titles."""
    from dfrepro.report.plots import LABELS

    rows = chosen[["fake", "real"]].to_numpy().ravel()
    faces = centre(np.stack([store.faces[row] for row in rows]), side)
    masks = np.stack([store.masks[store.manifest["mask"].iat[row]] for row in chosen["fake"]])  # type: ignore[index]
    titles = [title for name in chosen["manipulation"] for title in (LABELS.get(name, name), "its real")]
    return rows, faces, centre(masks[..., None], side)[..., 0].repeat(2, axis=0), titles


def frequencies(store: "FaceStore", chosen: pd.DataFrame, side: int) -> tuple[Tensor, dict[str, np.ndarray]]:
    """Luma coefficients of one face (64, h, w), and log2 of fake's over real's energy a frequency, by manipulation.

    Rows of the (8, 8) tables are vertical frequencies. Energy is the mean square over the windows of all the pairs.
    """
    entry, ratios = FrequencyInput(), {}
    for name, group in chosen.groupby("manipulation"):
        luma = [_luma(entry, store, group[kind].to_numpy(), side) for kind in ("fake", "real")]
        fake, real = (x.double().square().mean((0, 2, 3)).numpy().reshape(SIDE, SIDE) for x in luma)
        ratios[str(name)] = np.log2(fake / real)
    return luma[0][0], ratios


def windows_energy(store: "FaceStore", row: int, side: int) -> Tensor:
    """Energy of the luma in every 8 × 8 window of a face, from its pixels: (h, w), what Parseval's theorem predicts."""
    from torch.nn import functional

    entry = FrequencyInput()
    images = study.to_tensor(centre(store.faces[[row]], side))
    luma = (images.float() / 255 * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True) - 0.5
    squares = functional.pad(luma, (entry.margin,) * 4, mode="reflect").square()
    return SIDE**2 * functional.avg_pool2d(squares, SIDE, stride=2)[0, 0]


def stream_cams(run: "TrainedRun", faces: np.ndarray) -> Maps:
    """Grad-CAM for 'fake' of faces as the network sees them (N, S, S, 3), one map a stream (Figure 2)."""
    detector = _detector(run)
    images = study.to_tensor(faces)
    return {
        STREAMS[name]: cam.grad_cam(StreamView(detector, name), images, positions=7).numpy()  # type: ignore[arg-type]
        for name in detector.streams
    }


def residual_maps(run: "TrainedRun", store: "FaceStore", rows: np.ndarray, module: str) -> Maps:
    """Energy of what a module ("self", "mutual") adds, one map a stream (Figures 3 and 4); empty without the module."""
    found = residual_energy(_detector(run), store, rows, run.window)
    return {STREAMS[stream]: maps for (kind, stream), maps in found.items() if kind == module}


def lifts(run: "TrainedRun", store: "FaceStore", each: int = 120) -> pd.DataFrame:
    """`residuals_inside` of `each` pairs a manipulation."""
    return residuals_inside(_detector(run), store, pairs(store, each), run.window)


def _detector(run: "TrainedRun") -> PEL:
    detector = run.detector()
    assert isinstance(detector, PEL)
    return detector


def _luma(entry: FrequencyInput, store: "FaceStore", rows: np.ndarray, side: int) -> Tensor:
    images = study.to_tensor(centre(np.stack([store.faces[row] for row in rows]), side))
    return entry.coefficients(images)[:, : SIDE * SIDE]  # (N, 64, h, w)
