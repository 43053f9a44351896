"""The sets of the stand-in: who films them, with what camera, and who forges them how.

FF++'s four pipelines differ in the trace they leave, as the real ones do; those of the other sets share kinds of
traces with them but no parameter. The numbers were set with a plain baseline and then frozen (docs/standin.md).
"""

from dataclasses import dataclass, field

from dfrepro.data.standin.camera import CameraModel
from dfrepro.data.standin.decoder import Decoder
from dfrepro.data.standin.forgery import Recipe
from dfrepro.data.standin.scene import LightModel

FFPP_METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")


@dataclass(frozen=True)
class Domain:
    """How one dataset is made.

    `zoom` scales the frame; `crf` is that of the file, `upload` that of an encode before it, or None.
    """

    recipes: tuple[Recipe, ...]
    camera: CameraModel = field(default_factory=CameraModel)
    light: LightModel = field(default_factory=LightModel)
    zoom: float = 1.0
    upload: int | None = None
    crf: int = 23


FFPP = Domain(
    recipes=(
        Recipe(
            "Deepfakes",
            "swap",
            "inner",
            9,
            Decoder(22, uneven=0.09, skip=0.6),
            trace=(0.3, 1.2),
            mismatch=0.03,
            shake=0.3,
        ),
        Recipe("Face2Face", "reenact", "hull", 3, grid=0.68, trace=(0.1, 1.1), polish=1.2, grain=0.1, mismatch=0.02),
        Recipe("FaceSwap", "paste", "hull", 1, sharpen=4, trace=(0.5, 1.3), match=0.8, mismatch=0.06, shake=0.5),
        Recipe("NeuralTextures", "mouth", "inner", 3, Decoder(15, uneven=0.1, skip=0.3, tilt=True), trace=(0.2, 1.0)),
    ),
)
DFD = Domain(
    recipes=(
        Recipe("DeepFakeDetection", "swap", "hull", 7, Decoder(28, uneven=0.02, skip=0.8), mismatch=0.015),
        Recipe("DeepFakeDetection", "swap", "inner", 6, Decoder(24, "linear", skip=0.8), mismatch=0.025),
    ),
    camera=CameraModel(blur=(0.4, 0.9), noise=(0.002, 0.008)),
    light=LightModel(sky=(0.3, 0.55)),
    zoom=1.07,
)
CDF = Domain(
    recipes=(
        Recipe("Celeb-synthesis", "swap", "hull", 11, Decoder(24, uneven=0.05, skip=0.75), mismatch=0.015),
        Recipe("Celeb-synthesis", "swap", "inner", 8, Decoder(24, "lanczos", skip=0.75), mismatch=0.02, polish=0.7),
    ),
    camera=CameraModel(blur=(0.3, 0.7), noise=(0.004, 0.012), warmth=0.08),
    light=LightModel(azimuth=(-0.6, 0.6), key=(0.6, 1.0)),
)
DFDCP = Domain(
    recipes=(
        Recipe("method_A", "swap", "face", 8, Decoder(24, "nearest", skip=0.6), mismatch=0.025),
        Recipe("method_B", "paste", "inner", 3, Decoder(30, "linear", skip=0.8), match=0.9, mismatch=0.035, shake=0.4),
    ),
    camera=CameraModel(blur=(0.4, 1.0), noise=(0.006, 0.018)),
    light=LightModel(key=(0.4, 0.8), sky=(0.12, 0.35)),
    zoom=0.96,
)
DFDC = Domain(
    recipes=(
        Recipe("fake", "swap", "hull", 6, Decoder(26, "linear", skip=0.45), mismatch=0.04),
        Recipe("fake", "paste", "hull", 5, match=0.9, mismatch=0.03, shake=0.6),
        Recipe("fake", "mouth", "mouth", 6, Decoder(22, "nearest", skip=0.6)),
        Recipe("fake", "reenact", "inner", 6, Decoder(28, "transposed", uneven=0.03, skip=0.6), polish=1.0),
    ),
    camera=CameraModel(blur=(0.4, 1.1), noise=(0.006, 0.022), gamma=(0.8, 1.35), warmth=0.09),
    light=LightModel(azimuth=(-1.3, 1.3), key=(0.35, 0.9), sky=(0.1, 0.4)),
    upload=24,
)
WDF = Domain(
    recipes=(
        Recipe("fake", "swap", "inner", 8, Decoder(24, "transposed", uneven=0.04, skip=0.5), mismatch=0.03),
        Recipe("fake", "swap", "box", 10, Decoder(22, "linear", skip=0.4), mismatch=0.03),
        Recipe("fake", "reenact", "face", 6, Decoder(30, "lanczos", skip=1.4), polish=1.2),
    ),
    camera=CameraModel(blur=(0.3, 1.0), noise=(0.003, 0.016), warmth=0.08, gamma=(0.8, 1.3)),
    upload=26,
)
DIFF = Domain(
    recipes=(
        Recipe("FS/DiFace", "whole", "frame", 0, Decoder(26, "transposed", uneven=0.03, skip=0.75)),
        Recipe("FE/CoDiff", "whole", "frame", 0, Decoder(30, "linear", skip=0.7)),
        Recipe("T2I/SDXL", "whole", "frame", 0, Decoder(28, "transposed", uneven=0.03, skip=0.75, tilt=True)),
        Recipe("I2I/LoRA", "whole", "frame", 0, Decoder(24, "lanczos", skip=0.75)),
    ),
    camera=CameraModel(blur=(0.3, 0.7), noise=(0.003, 0.010)),
    crf=18,
)
