"""What FIA-USA's notebook looks at beside scores: masks on their way, pseudo-fakes, AFFS' ranking, RCR's regions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dfrepro.forge.blend import Pair, draw_affine, transform_points
from dfrepro.forge.masks import MASK_KINDS, face_of
from dfrepro.methods.fia_usa.pseudo_fakes import FiaUsa

if TYPE_CHECKING:
    from dfrepro.data.manifest import FaceStore
    from dfrepro.params import Params

KINDS = tuple(MASK_KINDS)
MADE = ("ae", "sr", "none")


@dataclass(frozen=True)
class RealFace:
    """A stored face with what a forge needs of it: `image` (S, S, 3) uint8, `landmarks` (81, 2), `made` by kind."""

    image: np.ndarray
    landmarks: np.ndarray
    made: dict[str, np.ndarray]


def real_faces(p: "Params", store: "FaceStore", n: int, dataset: str = "ffpp-c23") -> list[RealFace]:
    """`n` training reals of different videos with their reconstructions, which are made now if they are not there."""
    from dfrepro import places
    from dfrepro.jobs import pipeline
    from dfrepro.methods.fia_usa.reconstruct import Reconstructions

    folder = places.reconstructions_folder(p, dataset)
    if not folder.exists():
        pipeline.reconstruct(p, dataset)
    made = Reconstructions.open(folder, store)
    table = store.manifest.iloc[made.rows]
    first = table.groupby(["manipulation", "video"], sort=True).head(1).index.to_numpy()
    chosen = first[np.linspace(0, len(first) - 1, min(n, len(first))).astype(int)]
    landmarks = (np.asarray(store.manifest["landmarks"].iat[row], np.float32).reshape(-1, 2) for row in chosen)
    return [RealFace(np.asarray(store.faces[row]), points, made.of(row)) for row, points in zip(chosen, landmarks)]


class Chosen(FiaUsa):
    """FIA-USA with the reconstruction and the kind of mask told, not drawn; no CutOut, no noise."""

    def __init__(self, size: int, kind: str, made: str):
        super().__init__(size, margin=None, kinds=kind, augment=False)
        self.made = None if made == "none" else made

    def draw_reconstruction(self, rng: np.random.Generator) -> str | None:
        return self.made


def forge(face: RealFace, kind: str, made: str, seed: int) -> Pair:
    """One pseudo-fake of a face's whole crop, under the mask `kind`, of the reconstruction `made`."""
    rng = np.random.default_rng(seed)
    return Chosen(len(face.image), kind, made)(face.image, face.landmarks, rng, reconstructions=face.made)


class MaskFlow(NamedTuple):
    """A mask on its way (Figure 8): hulls of the landmarks; the same moved; `soft`, several draws (n, S, S)."""

    hulls: list[np.ndarray]
    moved: list[np.ndarray]
    soft: np.ndarray


def mask_flow(face: RealFace, kind: str, draws: int, seed: int) -> MaskFlow:
    """Eq. 2 step by step for one kind of mask; every draw erodes or dilates a macro mask by its own two blurs."""
    rng = np.random.default_rng(seed)
    forge, frame = Chosen(len(face.image), kind, "none"), face_of(face.landmarks)
    hulls = forge.regions(face.landmarks, kind)
    moved = [transform_points(affine, part) for affine in [draw_affine(frame, rng)] for part in hulls]
    shape = face.image.shape
    soft = [forge.draw_mask(kind, moved, frame, shape, rng).full(shape) for _ in range(draws)]
    return MaskFlow(hulls, moved, np.stack(soft))


# --- AFFS ---------------------------------------------------------------------------------------------------------


class Ranking(NamedTuple):
    """Eq. 3 of one run: L_ik (C_i,) a stage, the m_i kept, and C2's normalised answers (C, h, w) to one pair."""

    errors: list[np.ndarray]
    kept: list[np.ndarray]
    answers: np.ndarray
    pair: Pair


def ranking(p: "Params", run: str, seed: int, face: RealFace, draws: int | None = None) -> Ranking:
    """The ranking that the run began with, made again from its seed, and how C2 answers to a forgery of `face`.

    `draws`: the seed of other pseudo-fakes, for the same network to be ranked on.
    """
    from dfrepro.jobs import pipeline
    from dfrepro.jobs.train import started
    from dfrepro.methods.fia_usa import run as method
    from dfrepro.methods.fia_usa.affs import unit_range
    from dfrepro.train.draws import training_data

    inputs = pipeline.inputs(p, run, seed)
    spec = started(p.spec(run, seed), inputs)
    detector = method.build(spec)
    drawn = spec if draws is None else spec | {"seed": draws}
    ranked, errors = method.ranking(detector, training_data(drawn, inputs), spec)
    assert detector.selection is not None
    detector.selection.keep_least(errors)
    pair = forge(face, "hull", "ae", seed=3)
    with torch.inference_mode():
        _, stages = ranked.eval().stages(ranked.preprocess(_images(pair).to(ranked.mean.device)))
    answers = unit_range((stages[0][:1] - stages[0][1:]).abs())[0]  # (C, h, w)
    kept = [index.numpy().copy() for index in detector.selection.indices]
    return Ranking([error.cpu().numpy() for error in errors], kept, answers.cpu().numpy(), pair)


def channels(p: "Params", runs: Sequence[str]) -> dict[str, tuple[str, list[int], list[int]]]:
    """What stands for Table 7's networks at this scale: run -> (network, C2 to C5, m_2 to m_5)."""
    from dfrepro.methods.fia_usa import run as method

    found = {}
    for run in runs:
        spec = p.spec(run, 0)
        detector = method.build(spec | {"backbone": spec["backbone"] | {"pretrained": False}})
        found[run] = (spec["backbone"]["name"], list(detector.channels), list(detector.kept))
    return found


# --- RCR ----------------------------------------------------------------------------------------------------------


def cells(masks: np.ndarray, side: int) -> np.ndarray:
    """What RCR makes of masks (N, S, S) on a grid of `side`: (N, side, side), 1 inside, 0 outside, .5 dropped."""
    from dfrepro.methods.fia_usa.detector import regions as split

    inside, outside = split(torch.from_numpy(masks), (side, side)).unbind(1)  # (N, side²) each
    return (0.5 + 0.5 * inside - 0.5 * outside).reshape(len(masks), side, side).numpy()


def finest_side(p: "Params", run: str) -> int:
    """Cells a side of the level that RCR reads."""
    return -(-p.spec(run, 0)["backbone"]["image_size"] // 4)


def _images(pair: Pair) -> Tensor:
    return torch.from_numpy(np.stack([pair.real, pair.fake])).permute(0, 3, 1, 2)  # (2, 3, S, S)
