"""What FoCus' second encoder looks at: the face filtered by Sobel, DCT or SRM, or the face itself.

P4, Sec. III-C and Table V. A filter takes images in [0, 1], (B, 3, S, S), and gives images in [0, 1] of the same shape,
so that both encoders are the same network and a token of one can take the place of the other's. The paper prints no
formula; the readings are in papers/focus/DEVIATIONS.md.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfrepro.errors import WorkbookError

Modality = Literal["sobel", "rgb", "dct", "srm"]
TINY = 1e-12  # under a root, so that the slope at zero is finite
LEVEL = 1 / 255  # one step of a stored pixel: a face without any edge is not divided by less
TRUNCATION = 2.0  # of SRM residuals, in steps of a stored pixel

# SRM's second-order, square 3 × 3 and square 5 × 5 residuals (Fridrich and Kodovsky, TIFS 2012, Fig. 1)
SECOND_ORDER = ((1, -2, 1),)
SQUARE_3 = ((-1, 2, -1), (2, -4, 2), (-1, 2, -1))
SQUARE_5 = ((-1, 2, -2, 2, -1), (2, -6, 8, -6, 2), (-2, 8, -12, 8, -2), (2, -6, 8, -6, 2), (-1, 2, -2, 2, -1))


class Sobel(nn.Module):
    """Gradient magnitude over its largest value in the image: of each colour channel, or of their mean, three times.

    The border is replicated; a face without edges is black.
    """

    def __init__(self, grey: bool = False):
        super().__init__()
        self.grey = grey

    def forward(self, images: Tensor) -> Tensor:
        x = images.mean(1, keepdim=True) if self.grey else images
        x = functional.pad(x, (1, 1, 1, 1), mode="replicate")  # (B, C, S + 2, S + 2)
        down = x[:, :, :-2] + 2 * x[:, :, 1:-1] + x[:, :, 2:]  # (B, C, S, S + 2), smoothed; faster than a convolution
        right = x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]  # (B, C, S + 2, S)
        gx, gy = down[..., 2:] - down[..., :-2], right[:, :, 2:] - right[:, :, :-2]
        magnitude = (gx * gx + gy * gy).clamp_min(TINY).sqrt()  # (B, C, S, S)
        return (magnitude / magnitude.amax((1, 2, 3), keepdim=True).clamp_min(LEVEL)).expand(-1, 3, -1, -1)


class HighFrequencies(nn.Module):
    """The image without the low frequencies of its DCT, about grey, over the largest deviation in the image.

    Cosines (u, v) with u + v <= S / 2 are left out, the lowest eighth of the spectrum: what stays is the high band of
    F3-Net (Qian et al., ECCV 2020), the paper's source for DCT.
    """

    basis: Tensor
    high: Tensor

    def __init__(self, image_size: int):
        super().__init__()
        place = torch.arange(image_size, dtype=torch.float64)
        basis = torch.cos(math.pi / image_size * (place + 0.5) * place[:, None]) * math.sqrt(2 / image_size)
        basis[0] /= math.sqrt(2)  # DCT-II, orthonormal
        self.register_buffer("basis", basis.float(), persistent=False)
        self.register_buffer("high", (place + place[:, None] > image_size / 2).float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        spectrum = self.basis @ images @ self.basis.T  # (B, 3, S, S)
        residual = self.basis.T @ (spectrum * self.high) @ self.basis
        return (1 + residual / residual.abs().amax((1, 2, 3), keepdim=True).clamp_min(LEVEL)) / 2


class SRM(nn.Module):
    """Three noise residuals of the mean colour, truncated at two steps of a stored pixel, about grey."""

    kernels: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernels", srm_kernels()[:, None], persistent=False)  # (3, 1, 5, 5)

    def forward(self, images: Tensor) -> Tensor:
        steps = functional.pad(255 * images.mean(1, keepdim=True), (2, 2, 2, 2), mode="replicate")
        residual = functional.conv2d(steps, self.kernels).clamp(-TRUNCATION, TRUNCATION)  # (B, 3, S, S)
        return (1 + residual / TRUNCATION) / 2


def srm_kernels() -> Tensor:
    """The three kernels, each over the size of its centre, in the middle of (3, 5, 5)."""
    kernels = torch.zeros(3, 5, 5)
    for kernel, values in zip(kernels, (SECOND_ORDER, SQUARE_3, SQUARE_5)):
        height, width = len(values), len(values[0])
        top, left = (5 - height) // 2, (5 - width) // 2
        weights = torch.tensor(values, dtype=torch.float32)
        kernel[top : top + height, left : left + width] = weights / abs(values[height // 2][width // 2])
    return kernels


def modality_filter(modality: str, image_size: int, *, grey_sobel: bool = False) -> nn.Module:
    """The filter of a second modality; raises WorkbookError for an unknown one."""
    match modality:
        case "rgb":
            return nn.Identity()
        case "sobel":
            return Sobel(grey_sobel)
        case "dct":
            return HighFrequencies(image_size)
        case "srm":
            return SRM()
    raise WorkbookError(
        f"modality is {modality!r}", where="FoCus", remedy="Choose sobel, rgb, dct or srm (P4, Table V)"
    )
