"""The kinds of checkpoints that an import takes, each with what its authors' code declares: network, input, crop.

Facts are read from the public code that is named; none of it is copied. What a checkpoint's authors do differently
(face detector, alignment, interpolation, frames of a video) is a matter of the protocol: `unlike` names it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dfrepro.methods.imported import layouts
from dfrepro.methods.imported.layouts import Layout

Triple = tuple[float, float, float]
HALF: Triple = (0.5, 0.5, 0.5)
OF_CLIP: tuple[Triple, Triple] = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
OF_IMAGENET: tuple[Triple, Triple] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Kind:
    """backbone: timm's name, "" where the user has to say. image_size: px. crop: margin a side, of the face.

    normalise: mean and deviation of pictures in [0, 1]; None: timm's own. options: of `ImportedDetector`.
    """

    what: str
    backbone: str = ""
    image_size: int = 224
    crop: float = 0.125
    layout: Layout | None = None  # None: timm's own names
    normalise: tuple[Triple, Triple] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    unlike: str = ""


ALIGNED = "the authors align faces by five landmarks (scale 1.3); here they are cut upright"
BENCH: dict[str, Any] = {"crop": 0.15, "normalise": (HALF, HALF), "unlike": ALIGNED}

KINDS = {
    "timm": Kind("any timm network with a linear classifier; --backbone names it"),
    "sbi": Kind(
        "SBI (mapooon/SelfBlendedImages): EfficientNet-B4 of efficientnet-pytorch",
        "tf_efficientnet_b4", 380, 0.125, layouts.EFFICIENTNET, ((0, 0, 0), (1, 1, 1)), {"padded_at": 380},
        "the authors cut RetinaFace's box, not square, resize without antialiasing, and take the highest of the faces",
    ),
    "deepfakebench-xception": Kind(
        "DeepfakeBench's Xception", "legacy_xception", 256, layout=layouts.XCEPTION, **BENCH
    ),
    "deepfakebench-efficientnetb4": Kind(
        "DeepfakeBench's EfficientNet-B4, whose first convolution has no padding", "tf_efficientnet_b4", 256,
        layout=layouts.EFFICIENTNET, options={"padded_at": 380, "stem": False}, **BENCH,
    ),
    "deepfakebench-resnet34": Kind(
        "DeepfakeBench's ResNet-34", "resnet34", 256, layout=layouts.SEQUENTIAL_RESNET, **BENCH
    ),
    "deepfakebench-clip": Kind(
        "DeepfakeBench's CLIP ViT-B/16", "vit_base_patch16_clip_quickgelu_224", 224, layout=layouts.CLIP, **BENCH
    ),
    "gend-clip": Kind(
        "GenD (yermandy/GenD) on CLIP: layer norms tuned, features of length one",
        "vit_large_patch14_clip_quickgelu_224", 224, 0.15, layouts.CLIP, OF_CLIP, {"unit": True}, ALIGNED,
    ),
    "gend-dino": Kind(
        "the same on DINOv2 of transformers; --backbone names timm's counterpart", "vit_base_patch14_reg4_dinov2",
        224, 0.15, layouts.DINOV2, OF_IMAGENET, {"unit": True}, ALIGNED,
    ),
    "python": Kind("a Python file with predict(crops: (B, H, W, 3) uint8) -> (B,) P(fake)", "none", 256),
}  # fmt: skip
