"""Maps of where a face was forged, of every kind that P4 compares, as supervision; and how good they are.

P4, Sec. IV-A, Tables II and VI. Two kinds need nothing but a network trained on labels: FoCus' own maps
(`detector`) and those of a plain ViT (its attention, Grad-CAM, Score-CAM). Three need the real face behind
the fake, cropped at the same place: |real − fake|, the same above .1, and SSIM's dissimilarity.

All become targets in one way (`as_targets`): nothing negative, [0, 1] within each face, bilinear to the wanted size,
zero for reals. The detector they supervise is `dfrepro.methods.focus.evaluation`.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional

from dfrepro.errors import WorkbookError
from dfrepro.methods.focus.detector import FAKE, Focus
from dfrepro.methods.focus.encoder import TokenDetector
from dfrepro.nets.cam import grad_cam
from dfrepro.nets.detector import Detector
from dfrepro.nets.layout import layout_of

THRESHOLD = 0.1  # of "pixel-wise difference@0.1"
SSIM_SIGMA, SSIM_RADIUS = 1.5, 5  # the 11 × 11 Gaussian window of Wang et al., TIP 2004
SSIM_C = (0.01**2, 0.03**2)


# --- maps as targets ------------------------------------------------------------------------------------------------


def as_targets(maps: Tensor, labels: Tensor, size: int, *, rescale: bool = True) -> Tensor:
    """Maps (B, h, w) of any range -> targets (B, size, size) in [0, 1], detached; zero where `labels` (B,) say real.

    ReLU, then min–max within each face (`rescale` False: clipped at 1 instead), then bilinear; shrinking averages.
    The min–max of a real's map would blow up noise: the label takes it away. A constant map becomes zero.
    """
    x = maps.detach().float().clamp_min(0)
    x = _min_max(x) if rescale else x.clamp_max(1)
    if x.shape[-2:] != (size, size):
        x = functional.interpolate(x[:, None], (size, size), mode="bilinear", antialias=True, align_corners=False)[:, 0]
    return x.clamp(0, 1) * (labels == FAKE).to(x)[:, None, None]


def _min_max(x: Tensor) -> Tensor:
    """Each (..., h, w) over its range in [0, 1]; zero where it has none."""
    low, high = x.amin((-2, -1), keepdim=True), x.amax((-2, -1), keepdim=True)
    return torch.where(high > low, (x - low) / (high - low).clamp_min(torch.finfo(x.dtype).tiny), 0)


def shuffled(maps: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
    """The control: every fake gets the map of another fake, reals keep theirs (zeros). (B, h, w) -> (B, h, w).

    One cycle through all fakes (Sattolo), so that none keeps its own.
    """
    fakes = np.flatnonzero(labels.cpu().numpy() == FAKE)
    if len(fakes) < 2:
        raise WorkbookError(f"{len(fakes)} fakes cannot exchange maps", where="shuffled maps")
    order = rng.permutation(fakes)
    out = maps.clone()
    out[torch.from_numpy(order)] = maps[torch.from_numpy(np.roll(order, 1))]
    return out


# --- maps from pairs ------------------------------------------------------------------------------------------------


def pixel_difference(fakes: Tensor, reals: Tensor, threshold: float | None = None) -> Tensor:
    """|real − fake|, the mean over colours, in [0, 1]; with a `threshold`, 1 above it and 0 elsewhere.

    Both (B, 3, S, S) in [0, 255], the same crop of the same frame; -> (B, S, S).
    """
    difference = (fakes.float() - reals.float()).abs().mean(1) / 255
    return difference if threshold is None else (difference > threshold).float()


def ssim_dissimilarity(fakes: Tensor, reals: Tensor) -> Tensor:
    """1 − SSIM at every pixel, the mean over colours: 0 where nothing was changed, at most 2. Shapes as above.

    Wang et al., TIP 2004: Gaussian window of σ = 1.5 on 11 × 11 pixels, population variances, mirrored borders.
    """
    x, y = fakes.float() / 255, reals.float() / 255
    mu_x, mu_y = _window(x), _window(y)
    var_x, var_y = _window(x * x) - mu_x**2, _window(y * y) - mu_y**2
    cov = _window(x * y) - mu_x * mu_y
    c1, c2 = SSIM_C
    ssim = (2 * mu_x * mu_y + c1) * (2 * cov + c2) / ((mu_x**2 + mu_y**2 + c1) * (var_x + var_y + c2))
    return 1 - ssim.mean(1)


def _window(x: Tensor) -> Tensor:
    """SSIM's Gaussian mean around every pixel of (B, C, S, S)."""
    r = SSIM_RADIUS
    weights = torch.exp(-0.5 * (torch.arange(-r, r + 1, device=x.device) / SSIM_SIGMA) ** 2).to(x.dtype)
    weights = weights / weights.sum()
    flat = x.flatten(0, 1)[:, None]  # (B C, 1, S, S)
    flat = torch.cat([flat[..., :r].flip(-1), flat, flat[..., -r:].flip(-1)], dim=-1)  # torch has no such padding
    flat = torch.cat([flat[..., :r, :].flip(-2), flat, flat[..., -r:, :].flip(-2)], dim=-2)
    blurred = functional.conv2d(functional.conv2d(flat, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1))
    return blurred.view_as(x)


# --- maps of a network ----------------------------------------------------------------------------------------------


@torch.no_grad()
def score_cam(detector: Detector, images: Tensor, *, target: int = FAKE, batch: int = 64) -> Tensor:
    """Score-CAM (Wang et al., CVPR Workshops 2020) for faces (B, 3, S, S) as stored: (B, S, S), not negative.

    The channels of the last features are weighed by the softmax of the logit that each of them, stretched to [0, 1],
    leaves when it masks the (normalised) input. One pass a channel and face, `batch` at a time.
    """
    training = detector.training
    detector.eval()
    try:
        x = detector.preprocess(images)  # (B, 3, S', S')
        features = layout_of(detector).as_map(detector.read(x).maps)  # (B, C, h, w)
        cams = [_score_cam(detector, image, maps, target, batch) for image, maps in zip(x, features)]
    finally:
        detector.train(training)
    stacked = torch.stack(cams)[:, None]
    return functional.interpolate(stacked, images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


def _score_cam(detector: Detector, image: Tensor, features: Tensor, target: int, batch: int) -> Tensor:
    """One image (3, S, S), its features (C, h, w) -> (S, S)."""
    size = image.shape[-2:]
    large = functional.interpolate(features[:, None], size, mode="bilinear", align_corners=False)  # (C, 1, S, S)
    logits = [detector.read(image * mask).logits[:, target] for mask in _min_max(large).split(batch)]
    weights = torch.cat(logits).softmax(0)  # (C,)
    return (weights[:, None, None] * large[:, 0]).sum(0).clamp_min(0)


@torch.no_grad()
def attention_maps(detector: TokenDetector, images: Tensor) -> Tensor:
    """The class token's attention, (B, h, w), in evaluation mode."""
    training = detector.training
    detector.eval()
    try:
        return detector.attention(images)
    finally:
        detector.train(training)


# --- by name --------------------------------------------------------------------------------------------------------

PAIRED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "pixel": pixel_difference,
    "pixel01": lambda fakes, reals: pixel_difference(fakes, reals, THRESHOLD),
    "ssim": ssim_dissimilarity,
}
PLAIN: dict[str, Callable[[TokenDetector, Tensor], Tensor]] = {
    "attention": attention_maps,
    "gradcam": grad_cam,
    "scorecam": score_cam,
}
KINDS = ("focus", "true", *PAIRED, *PLAIN)


def raw_maps(
    kind: str,
    images: Tensor,
    *,
    network: Focus | TokenDetector | None = None,
    reals: Tensor | None = None,
    labels: Tensor | None = None,
    masks: Tensor | None = None,
) -> Tensor:
    """Maps (B, h, w) of a kind in `KINDS` for faces (B, 3, S, S) as stored, before `as_targets`.

    "focus" wants a `Focus`, the kinds in `PLAIN` a `TokenDetector`, those in `PAIRED` the `reals` behind the images
    (a real stands for itself), "true" the set's own `masks` (B, S, S) uint8.
    `labels`, where known, go to FoCus. Raises WorkbookError when the wanted is missing.
    """
    if kind == "true" and masks is not None:
        return masks.float() / 255
    if kind == "focus" and isinstance(network, Focus):
        return network.car_maps(images, labels).fused
    if kind in PLAIN and isinstance(network, TokenDetector):
        return PLAIN[kind](network, images)
    if kind in PAIRED and reals is not None:
        if reals.shape != images.shape:
            raise WorkbookError(f"reals {tuple(reals.shape)} for fakes {tuple(images.shape)}", where=f"{kind} maps")
        return PAIRED[kind](images, reals)
    if kind not in KINDS:
        raise WorkbookError(f"no kind of map {kind!r}", where="maps", remedy=f"Known: {', '.join(KINDS)}")
    wants = dict.fromkeys(PAIRED, "`reals`, the real face behind each fake") | {"focus": "a FoCus", "true": "`masks`"}
    wanted = wants.get(kind, "a ViT")
    raise WorkbookError(f"{kind} maps cannot be made", where="maps", remedy=f"Give {wanted}")


# --- maps against true masks ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MapScores:
    """How maps of fakes agree with their true masks. All in [0, 1]; `chance_iou` is the IoU of a map that is all ones.

    map_auc: of all pixels of all fakes at once; map_auc_face: the mean of the fakes' own. map_auc_seam: of pixels of a
    band along the mask's edge against those deeper inside; .5 does not tell them apart, and a map of "the entire
    inner face" stays below (Sec. IV-C). map_iou: at the best single threshold for all fakes.
    """

    map_auc: float
    map_auc_face: float
    map_auc_seam: float
    map_iou: float
    iou_threshold: float
    chance_iou: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def score_maps(maps: Tensor, masks: Tensor) -> MapScores:
    """Score maps (B, h, w) of fakes against their true masks (B, S, S), forged where above half of their range.

    The maps are stretched bilinearly to the masks. A fake whose mask is empty or full has no AUC of its own.
    """
    truth = (masks > (127 if masks.dtype == torch.uint8 else 0.5)).cpu().numpy()
    if not 0 < truth.mean() < 1:
        raise WorkbookError("every mask is empty, or every one is full", where="map scores", remedy="Score fakes alone")
    x = functional.interpolate(maps[:, None].float(), truth.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    values = x.cpu().numpy()
    both = [i for i, mask in enumerate(truth) if 0 < mask.mean() < 1]
    faces = [roc_auc_score(truth[i].ravel(), values[i].ravel()) for i in both]
    iou, threshold = best_iou(values.ravel(), truth.ravel())
    pixels = float(roc_auc_score(truth.ravel(), values.ravel()))
    seam = seam_auc(values, truth)
    return MapScores(pixels, float(np.mean(faces)) if faces else np.nan, seam, iou, threshold, float(truth.mean()))


def seam_auc(values: np.ndarray, truth: np.ndarray, width: float = 1 / 16) -> float:
    """AUC of the pixels within `width` (of the side) of the mask's edge, on both sides, against those deeper inside.

    values, truth (B, S, S). NaN where no mask is deep enough to have an inside.
    """
    from scipy.ndimage import distance_transform_edt

    reach = width * truth.shape[-1]
    edged = truth.any((1, 2)) & ~truth.all((1, 2))
    values, truth = values[edged], truth[edged]
    away = [distance_transform_edt(mask) + distance_transform_edt(~mask) for mask in truth]  # from the other side
    near = np.stack(away) <= reach if len(truth) else truth
    seam, deep = near, truth & ~near
    if not seam.any() or not deep.any():
        return float("nan")
    return float(roc_auc_score(np.r_[np.ones(seam.sum()), np.zeros(deep.sum())], np.r_[values[seam], values[deep]]))


def best_iou(values: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """The largest intersection over union of `values >= threshold` with `truth` (both (P,)), and that threshold."""
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    hits = np.cumsum(truth[order])
    chosen = np.arange(1, len(values) + 1)
    iou = hits / (chosen + truth.sum() - hits)
    iou[:-1][ranked[:-1] == ranked[1:]] = 0  # a threshold cannot part equal values
    best = int(iou.argmax())
    return float(iou[best]), float(ranked[best])


def map_mass(maps: Tensor, labels: Tensor) -> dict[str, float]:
    """Mean of the positive part of maps (B, h, w), of reals and of fakes, and of reals over that of fakes.

    P4-C8 takes the class-1 form, Eq. 9."""
    mass = maps.float().clamp_min(0).mean((1, 2))  # (B,)
    of = {"map_mass_real": mass[labels != FAKE], "map_mass_fake": mass[labels == FAKE]}
    found = {name: float(values.mean()) if len(values) else float("nan") for name, values in of.items()}
    fake = found["map_mass_fake"]
    return found | {"map_mass_ratio": found["map_mass_real"] / fake if fake > 0 else float("nan")}


def agreement(a: Tensor, b: Tensor) -> float:
    """The mean over faces of Pearson's r of two maps (B, h, w); a face on which either is constant does not count."""
    x, y = (m.double().flatten(1) - m.double().mean((1, 2))[:, None] for m in (a, b))
    norms = (x.square().sum(1) * y.square().sum(1)).sqrt()
    known = norms > 1e-12
    return float(((x * y).sum(1)[known] / norms[known]).mean()) if known.any() else float("nan")
