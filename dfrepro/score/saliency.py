"""Where a trained detector of any kind sees the forgery: one map a face, or one a stream."""

from torch import Tensor, nn
from torch.nn import functional

from dfrepro.methods.focus.detector import Focus
from dfrepro.methods.focus.evaluation import MapDetector
from dfrepro.methods.imported.python import PythonDetector
from dfrepro.methods.pel.detector import PEL
from dfrepro.methods.pel.residuals import StreamView
from dfrepro.nets.cam import grad_cam

POSITIONS = 7  # a side, at least: what a 224-pixel network's last stage has; a small one ends in 2 x 2
STREAMS = {"rgb": "Grad-CAM, RGB stream", "freq": "Grad-CAM, frequency stream"}


def saliency(detector: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Maps for "fake" of faces as the network sees them (B, 3, S, S): (B, S, S) each by title, not negative, own scale.

    Grad-CAM at the deepest stage with `POSITIONS` a side; PEL has one map a stream. FoCus makes maps itself, of which
    the class-1 map (FoCus, Eq. 9) speaks of forgery. FoCus' evaluation model is read at its detector. A Python
    file has no map.
    """
    if isinstance(detector, PythonDetector):
        return {}  # what is inside of it is in another process
    if isinstance(detector, Focus):
        maps = detector.car_maps(images, class_1=True).fused.clamp_min(0)[:, None]  # (B, 1, h, w)
        size = images.shape[-2:]
        return {"FoCus' own map": functional.interpolate(maps, size, mode="bilinear", align_corners=False)[:, 0]}
    if isinstance(detector, PEL):
        return {STREAMS[name]: _cam(StreamView(detector, name), images) for name in detector.streams}
    if isinstance(detector, MapDetector):
        detector = detector.detector
    return {"Grad-CAM": _cam(detector, images)}


def _cam(detector: nn.Module, images: Tensor) -> Tensor:
    return grad_cam(detector, images, positions=POSITIONS)  # type: ignore[arg-type]
