"""What FIA-USA's regularisation adds to a training step: FPN, AFFS' selection and RCR beside the plain network's step.

Both sides are the same network, batch of pairs, loss of classification and optimiser; one also has the FPN on the kept
channels, RCR's two losses and their gradients. Steps take turns in one run, on one thread; the median is compared.
"""

import statistics
import time
from functools import partial

import torch
from torch import Tensor, nn

from bench.measure import Row, one_thread
from dfrepro.evaluate.cost import seconds
from dfrepro.methods.fia_usa.affs import ChannelErrors, squared_error
from dfrepro.methods.fia_usa.detector import VARIANTS, build
from dfrepro.nets.detector import Backbone
from dfrepro.nets.losses import CrossEntropy
from dfrepro.train.steps import Loss

ASKED = 1.25
SMALL = {"depths": (3, 2, 2, 2), "dims": (24, 48, 96, 192)}
SETTINGS = (  # network, pairs a step, steps
    (Backbone("convnext_atto", 64, SMALL), 16, 15),
    (Backbone("test_resnet", 64), 16, 20),
    (Backbone("test_efficientnet", 64), 16, 20),
    (Backbone("efficientnet_b4", 256), 2, 3),
)


def pairs(n: int, size: int) -> dict[str, Tensor]:
    """n pairs of noise with a square mask, in the layout of the data set."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(2 * n, size, size, dtype=torch.uint8)
    mask[1::2, size // 4 : -size // 4, size // 4 : -size // 4] = 255
    image = torch.randint(0, 256, (2 * n, 3, size, size), generator=generator, dtype=torch.uint8)
    return {
        "image": image,
        "label": torch.tensor([0, 1] * n),
        "mask": mask,
        "draw": torch.arange(n).repeat_interleave(2),
    }


def bench() -> list[Row]:
    """One row a network: the regularised step's time over the plain one's. And AFFS' error against the direct way."""
    with one_thread():
        return [_step(*setting) for setting in SETTINGS] + [_ranking()]


def _step(spec: Backbone, n: int, steps: int) -> Row:
    full = VARIANTS["random-channels"]  # AFFS' count of channels, without a ranking
    batch = pairs(n, spec.image_size)
    arms = {
        "plain": _stepper(build(VARIANTS["no-rcr"], spec, 0), CrossEntropy()),
        "regularised": _stepper(build(full, spec, 0), full.loss()),
    }
    works = {name: partial(step, batch) for name, step in arms.items()}
    took = {name: statistics.median(s) for name, s in seconds(works, repeats=steps, clock=time.process_time).items()}
    return Row(
        f"FIA-USA's step, FPN and RCR, {spec.name} at {spec.image_size} px",
        "the plain network's step",
        took["regularised"] / took["plain"],
        ASKED,
        less=True,
        detail=f"{1e3 * took['regularised']:.0f} against {1e3 * took['plain']:.0f} ms for {n} pairs",
    )


def _stepper(model: nn.Module, loss: Loss):
    optimizer = torch.optim.SGD(model.train().parameters(), lr=1e-4)

    def step(batch: dict[str, Tensor]) -> None:
        optimizer.zero_grad()
        loss(model, batch)[0].backward()
        optimizer.step()

    return step


def _ranking(channels: int = 160, side: int = 24, size: int = 380, repeats: int = 5) -> Row:
    """Eq. 9's error on the small grid against enlarging every map to the mask: C4 of EfficientNet-B4 at 380 pixels."""
    generator = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(1, channels, side, side, generator=generator) for _ in range(2))
    masks = (torch.rand(1, size, size, generator=generator) > 0.5).float()
    maps = ChannelErrors().normalise(real, fake)

    def direct() -> Tensor:
        large = nn.functional.interpolate(maps, (size, size), mode="bilinear", align_corners=False)
        return (large - masks[:, None]).square().mean((2, 3))

    torch.testing.assert_close(squared_error(maps, masks).float(), direct(), rtol=1e-4, atol=0)
    works = {"direct": direct, "ours": lambda: squared_error(maps, masks)}
    took = {name: statistics.median(s) for name, s in seconds(works, repeats=repeats, clock=time.process_time).items()}
    return Row(
        "AFFS' error of 160 maps of 24 x 24 on a mask of 380 px",
        "every map enlarged to the mask",
        took["direct"] / took["ours"],
        detail=f"{1e3 * took['ours']:.2f} against {1e3 * took['direct']:.2f} ms a pair",
    )
