"""FPG's pictures (P0, Figures 2b, 3 and 4): what the refinement does to a batch, and where the detectors look."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dfrepro.data.dataset import centre
from dfrepro.evaluate.corruptions import corrupt
from dfrepro.methods.fpg.fakes import Draws, Fakes, pair_up
from dfrepro.methods.fpg.refine import Refinement, evaluating, look, mask_gradient, perceived, perturbed, signs_of
from dfrepro.methods.fpg.refine import grad_cam as cam_of
from dfrepro.nets.cam import grad_cam
from dfrepro.train.draws import training_data, window
from dfrepro.train.ingredients import Inputs

if TYPE_CHECKING:
    from dfrepro.data.manifest import FaceStore
    from dfrepro.jobs.trained import TrainedRun

Batch = dict[str, Any]


class ShapeSteps(NamedTuple):
    """Shape refinement of b fakes, step by step; pictures (b, S, S, 3) uint8, maps (b, S, S) in [0, 1]."""

    real: np.ndarray
    fake: np.ndarray
    mask: np.ndarray  # M
    cam: np.ndarray  # Grad-CAM over its maximum
    region: np.ndarray  # P
    refined_mask: np.ndarray  # M′
    refined: np.ndarray


class Perturbed(NamedTuple):
    """One fake's magnitude refinement: signs z (S, S), change of the fake (S, S, 3) in grey levels."""

    signs: np.ndarray
    change: np.ndarray


def pairs(run: "TrainedRun", store: "FaceStore", n: int) -> Batch:
    """n pairs of a real and its self-blended fake, the first that the run was trained on, with their sources."""
    return training_data(run.meta["spec"], Inputs(store), with_source=True).__getitems__(range(n))


def shape_steps(run: "TrainedRun", batch: Batch) -> ShapeSteps:
    """What S does where every fake is due: t, p(fake) and the draw are set aside for the picture."""
    fakes, draws = _fakes(batch, seed=0)
    positions = _positions(run)
    with evaluating(run.detector()) as network:
        seen = look(network, fakes.image, pixels=True, positions=positions)  # the graph is read twice
        cam = cam_of(seen)
        after = Refinement(order="S", overlap=2.0, positions=positions).shape(_sure(seen), fakes, draws)
    region = perceived(cam, fakes.mask.shape[-1]).numpy()
    shown = torch.nn.functional.interpolate(cam[:, None], fakes.mask.shape[-2:], mode="bilinear")[:, 0]
    shown = shown / shown.amax((1, 2), keepdim=True).clamp_min(1e-12)
    changed = after.refined[:, None, None]
    mask = torch.where(changed, after.mask, torch.zeros_like(after.mask))
    return ShapeSteps(
        _pictures(fakes.real), _pictures(fakes.image), fakes.mask.numpy(), shown.numpy(), region, mask.numpy(),
        _pictures(after.image),
    )  # fmt: skip


def perturbations(run: "TrainedRun", batch: Batch, index: int = 0) -> dict[str, Perturbed]:
    """Figure 4: the magnitude perturbation of one fake of the batch: a sign a pixel, and one sign for all."""
    fakes, _ = _fakes(batch, seed=0)
    with evaluating(run.detector()) as network:
        gradient = mask_gradient(look(network, fakes.image, pixels=True).slopes(), fakes)
    found = {}
    for name, unified in (("discrete", False), ("unified", True)):
        signs = signs_of(gradient, unified=unified).expand_as(fakes.mask)
        change = perturbed(fakes, signs, Refinement().eps).image - fakes.image
        inside = (fakes.mask > 0)[index]
        found[name] = Perturbed((signs[index] * inside).numpy(), change[index].permute(1, 2, 0).numpy())
    return found


def refined_with(run: "TrainedRun", batch: Batch, seed: int = 0, **options: Any) -> Batch:
    """The batch as the training's hook returns it, for `options` of the refinement."""
    refinement = Refinement(**{"positions": _positions(run), "probability": 1.0} | options)
    return refinement(run.detector(), batch, torch.Generator().manual_seed(seed))


def corrupted(store: "FaceStore", names: tuple[str, ...], side: int, level: int = 5) -> dict[str, np.ndarray]:
    """Figure 2b: one real and one fake test face, clean and under each corruption: (2, S, S, 3) by name."""
    m = store.manifest[store.manifest.split == "test"]
    rows = [m.index[m.label == label][len(m[m.label == label]) // 2] for label in (0, 1)]
    faces = np.ascontiguousarray(centre(store.faces[rows], side))
    return {"clean": faces} | {name: corrupt(faces, name, level, first=rows[0]) for name in names}


def unseen(stores: dict[str, "FaceStore"], side: int, each: int = 2) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Fakes of test sets: faces (N, S, S, 3) as the network sees them, the sets' names, true masks (N, S, S) or NaN."""
    from dfrepro.report.plots import SETS

    faces, titles, masks = [], [], []
    for store in stores.values():
        m = store.manifest[(store.manifest.split == "test") & (store.manifest.label == 1)]
        for row in m.index[np.linspace(0, len(m) - 1, 2 * each + 1).astype(int)[1::2]]:
            faces.append(centre(store.faces[row], side))
            titles.append(SETS.get(m.dataset.iloc[0], m.dataset.iloc[0]))
            mask = store.mask(row)
            masks.append(np.full((side, side), np.nan) if mask is None else centre(mask[..., None], side)[..., 0] / 255)
    return np.stack(faces), titles, np.stack(masks)


def cams(run: "TrainedRun", faces: np.ndarray) -> np.ndarray:
    """Grad-CAM for "fake" of faces (N, S, S, 3), at the layer that the run's refinement reads: (N, S, S)."""
    images = torch.from_numpy(np.ascontiguousarray(faces)).permute(0, 3, 1, 2)
    return grad_cam(run.detector(), images, positions=_positions(run)).numpy()


def view(run: "TrainedRun", store: "FaceStore") -> int:
    """Side in stored pixels of what the run's network sees of a face."""
    return window(run.meta["spec"], store.meta)


def _positions(run: "TrainedRun") -> int:
    from dfrepro.methods.fpg.run import variant_of

    return variant_of(run.meta["spec"]).positions


def _fakes(batch: Batch, seed: int) -> tuple[Fakes, Draws]:
    fakes = Fakes.of(batch, pair_up(batch))
    return fakes, Draws.of(torch.Generator().manual_seed(seed), len(fakes.image), 1.0)


def _sure(seen: Any) -> Any:
    """The same forward pass with p(fake) = 1, so that every fake is due."""
    shift = torch.tensor([-1e3, 1e3])
    return seen._replace(logits=seen.logits + shift)


def _pictures(images: Tensor) -> np.ndarray:
    return images.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
