"""Settings that params.yaml and the code share: a network, a training, a step rule. One type each.

`dfrepro.params` reads them, a specification (`Params.spec`) has them as plain data, and networks and trainings are
made by the same types. A value out of its range raises ValueError when an object is made; `dfrepro.params` names the
key and the file. Nothing here imports torch.
"""

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Unit = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
CHECKED = ConfigDict(extra="forbid", allow_inf_nan=False)
START = "start:"  # a backbone's `pretrained` that names one of the scale's starts
ROUNDING = 1e-9  # 1 − .8 − .2 is not 0 in binary


@dataclass(frozen=True, config=CHECKED)
class Backbone:
    """A timm network. `image_size`: side of its square input in pixels; `kwargs` go to `timm.create_model`.

    `name`: an architecture, or one with the tag of its weights ("resnet50.tv_in1k"), whose mean and deviation are used
    then. `pretrained`: False; True, timm's own weights (downloaded once); the path of a safetensors file of them, or of
    a checkpoint of a `Detector`; or "start:NAME", one of the scale's starts.
    """

    name: str
    image_size: Annotated[int, Field(ge=16, le=1024)]
    kwargs: dict[str, Any] = field(default_factory=dict)
    pretrained: bool | str = False

    @property
    def start(self) -> str:
        """The name under `starts` that its weights come from; "" where they do not."""
        return str(self.pretrained).removeprefix(START) if str(self.pretrained).startswith(START) else ""


@dataclass(frozen=True, config=CHECKED)
class Training:
    """What the papers call the training details.

    batch: images a step, over all ranks. frames: how many of a video training reads, spread over the video.
    betas, eps: of adam and adamw. schedule: "cosine" to 0; "constant"; or "constant_then_linear", constant for the
    first three quarters of the steps and then linearly to 0. warmup: share of all steps in which the rate rises
    linearly. validation: on about how many faces of the in-domain validation split an epoch's AUC is measured; 0: none.
    images_per_epoch: "all", as many as there are; None, as the rarer class, twice. select: the weights kept,
    "last" or "best_validation". accumulate: micro-batches that a step's batch is split into, for a device whose memory
    is short; batch-norm sees one at a time.
    """

    epochs: Count
    batch: Count
    frames: Count
    optimiser: Literal["sgd", "adam", "adamw"]
    lr: Positive
    weight_decay: NotNegative = 0.0
    momentum: Unit = 0.9
    betas: tuple[Unit, Unit] = (0.9, 0.999)
    eps: Positive = 1e-8
    schedule: Literal["cosine", "constant", "constant_then_linear"] = "cosine"
    warmup: Unit = 0.0
    images_per_epoch: Count | Literal["all"] | None = None
    label_smoothing: Unit = 0.0
    validation: Annotated[int, Field(ge=0)] = 144
    select: Literal["last", "best_validation"] = "last"
    accumulate: Count = 1
    workers: Annotated[int, Field(ge=0)] = 0
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    channels_last: bool = False
    compile: bool = False


@dataclass(frozen=True, config=CHECKED)
class Step:
    """g = (1 − α − β) g1 + α g2 + β g3 (Guan et al., TIFS 2024, Eq. 12 to 14): ERM 0, 0; PIM α = 1; SAM β = 1.

    `sites`: names of the modules after which PIM perturbs, () for every block of the first stage. `per_site`: each
    site's own norm in Eq. 9 instead of the joint one. `direction`: "random" replaces γ's direction by a random one of
    the same norm (a control of ours).
    """

    alpha: Unit = 0.0
    beta: Unit = 0.0
    r: Positive = 0.1
    r_prime: Positive = 0.05
    sites: tuple[str, ...] = ()
    per_site: bool = False
    direction: Literal["gradient", "random"] = "gradient"

    def __post_init__(self) -> None:
        if self.alpha + self.beta > 1 + ROUNDING:
            raise ValueError(f"alpha + beta is {self.alpha + self.beta:g}; must be at most 1 (PIM, Eq. 14)")
