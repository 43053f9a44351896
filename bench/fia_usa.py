"""What FIA-USA's regularisation adds to a training step: FPN, AFFS' selection and RCR beside the plain network's step.

Both sides are the same network, batch of pairs, loss of classification and optimiser; one also has the FPN on the kept
channels, RCR's two losses and their gradients. Steps take turns in one run, on one thread; the median is compared.
"""

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dfrepro.methods.fia_usa import VARIANTS, build
from dfrepro.methods.fia_usa_affs import ChannelErrors, squared_error
from dfrepro.train.losses import CrossEntropy
from dfrepro.train.models import Backbone
from dfrepro.train.steps import Loss

TARGET = 1.25
SMALL = {"depths": (3, 2, 2, 2), "dims": (24, 48, 96, 192)}
SETTINGS = (  # network, pairs a step, steps
    (Backbone("convnext_atto", 64, SMALL), 16, 30),
    (Backbone("test_resnet", 64), 16, 30),
    (Backbone("test_efficientnet", 64), 16, 30),
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


def seconds(arms: list[tuple[nn.Module, Loss]], batch: dict[str, Tensor], steps: int) -> list[float]:
    """Median processor seconds of every arm's training step; the arms take turns, so a busy machine slows all alike."""
    optimizers = [torch.optim.SGD(model.train().parameters(), lr=1e-4) for model, _ in arms]
    spent = np.zeros((steps + 1, len(arms)))
    for i in range(steps + 1):
        for j, ((model, loss), optimizer) in enumerate(zip(arms, optimizers)):
            start = time.process_time()
            value, _ = loss(model, batch)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            spent[i, j] = time.process_time() - start
    return [float(median) for median in np.median(spent[1:], axis=0)]  # the first step warms up


def bench() -> list[dict[str, Any]]:
    """One row a network: the regularised step's time over the plain one's. And AFFS' error against the direct way."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [_step(*setting) for setting in SETTINGS] + [_ranking()]
    finally:
        torch.set_num_threads(threads)


def _step(spec: Backbone, n: int, steps: int) -> dict[str, Any]:
    full = VARIANTS["random-channels"]  # AFFS' count of channels, without a ranking
    arms: list[tuple[nn.Module, Loss]] = [
        (build(VARIANTS["no-rcr"], spec, 0), CrossEntropy()),
        (build(full, spec, 0), full.loss()),
    ]
    plain, regularised = seconds(arms, pairs(n, spec.image_size), steps)
    return {
        "name": f"FPN and RCR, {spec.name} at {spec.image_size} pixels (less is better)",
        "ratio": regularised / plain,
        "target": TARGET,
        "floor": "the plain network's step, same run, one thread",
        "detail": f"{1e3 * regularised:.0f} ms against {1e3 * plain:.0f} ms for {n} pairs",
    }


def _ranking(channels: int = 160, side: int = 24, size: int = 380, repeats: int = 5) -> dict[str, Any]:
    """Eq. 9's error on the small grid against enlarging every map to the mask: C4 of EfficientNet-B4 at 380 pixels."""
    generator = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(1, channels, side, side, generator=generator) for _ in range(2))
    masks = (torch.rand(1, size, size, generator=generator) > 0.5).float()
    maps = ChannelErrors().normalise(real, fake)

    def direct() -> Tensor:
        large = nn.functional.interpolate(maps, (size, size), mode="bilinear", align_corners=False)
        return (large - masks[:, None]).square().mean((2, 3))

    torch.testing.assert_close(squared_error(maps, masks).float(), direct(), rtol=1e-4, atol=0)
    took = []
    for compute in (direct, lambda: squared_error(maps, masks)):
        spent = []
        for _ in range(repeats):
            start = time.process_time()
            compute()
            spent.append(time.process_time() - start)
        took.append(float(np.median(spent)))
    return {
        "name": "AFFS' error, 160 maps of 24 to a mask of 380 pixels, times as fast",
        "ratio": took[0] / took[1],
        "target": None,
        "floor": "enlarging every map to the mask's size, same run, one thread",
        "detail": f"{1e3 * took[1]:.2f} ms against {1e3 * took[0]:.2f} ms a pair",
    }


if __name__ == "__main__":
    for row in bench():
        print(f"{row['name']}: {row['ratio']:.3f} (target {row['target']}), {row['detail']}")
