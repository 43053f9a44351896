"""PEL's fine-grained frequency input (AAAI 2022, Sec. 3.1, Eq. 1): an image as 192 channels, one a frequency.

RGB -> YCbCr (JPEG, full range) -> 8 × 8 windows at every second pixel -> orthonormal DCT-II of each -> one channel for
each frequency of each colour, at half resolution -> standardised by the training set -> learned 1 × 1 convolution to 64

All of it is linear up to a constant, so it is computed as one: the learned 192 → 64 mixture is multiplied into the
fixed filters, and the result is one 8 × 8 convolution 3 → 64 at stride 2. The 192 maps exist only in `coefficients`,
which tests and statistics read. This convolution is float32 whatever the autocast, and on a GPU without TF32, whose
ten bits cuDNN takes by default: a frequency is a small difference of large numbers.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from scipy.fft import dct
from torch import Tensor, nn
from torch.nn import functional

from dfrepro.errors import WorkbookError

SIDE, STRIDE, MARGIN = 8, 2, 3  # window, step, reflected border in pixels: (H + 2·3 − 8) / 2 + 1 = H / 2
COEFFICIENTS = 3 * SIDE * SIDE
CHANNELS = 64
# ITU-R BT.601 as JFIF has it, for values in [0, 1]; chroma around 0, luma − .5
YCBCR = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
LUMA_OFFSET = -0.5
LEAST_DEVIATION = 1e-4  # a tenth of what rounding to 8 bits leaves: a grey training set has no chroma to divide by
BANDS = 4  # of the coarse control: the octaves max(u, v) = 0, 1, 2-3, 4-7

Bank = Literal["fine", "coarse"]
Size = Literal["half", "double", "unpadded"]


class Statistics(NamedTuple):
    """Mean and standard deviation of each of the 192 channels over a training set, each (192,)."""

    mean: Tensor
    deviation: Tensor


def dct_matrix() -> Tensor:
    """(64, 64): row 8 u + v holds the orthonormal 2-D DCT-II's basis of vertical frequency u and horizontal v."""
    basis = torch.from_numpy(dct(np.eye(SIDE), axis=0, norm="ortho"))  # (8, 8): frequency, position
    return torch.kron(basis, basis)


def coarse_matrix() -> Tensor:
    """(64, 64): the control of P2-C7, as many channels and weights as `dct_matrix`, and only four bands.

    Each band's coefficients are transformed back, as F3-Net's frequency-aware decomposition does, and read at the four
    pixels amid the window; windows at stride 2 tile the image with these. Row 4 (4 q + b) + p: band b, pixel p, and
    q = 0..3 repeats the same 16 rows, so that the learned mixture has the same shape. The bands sum to the image.
    """
    basis = dct_matrix()
    u, v = np.divmod(np.arange(SIDE * SIDE), SIDE)
    octave = np.ceil(np.log2(np.maximum(u, v) + 1)).astype(int)  # 0, 1, 2 2, 3 3 3 3 by max(u, v)
    middle = [SIDE * y + x for y in (3, 4) for x in (3, 4)]
    rows = torch.cat([(basis[octave == b].T @ basis[octave == b])[middle] for b in range(BANDS)])  # (16, 64)
    return rows.repeat(4, 1)


def filter_bank(bank: Bank) -> tuple[Tensor, Tensor]:
    """Filters (192, 3, 8, 8) on RGB in [0, 1], channel 64 c + k for colour c of YCbCr, and offsets (192,); float64."""
    if bank not in ("fine", "coarse"):
        raise WorkbookError(f"bank is {bank!r}; must be fine or coarse", where="frequency input")
    per_colour = dct_matrix() if bank == "fine" else coarse_matrix()  # (64, 64)
    colours = torch.tensor(YCBCR, dtype=torch.float64)
    filters = torch.einsum("cr,kp->ckrp", colours, per_colour)  # (3, 64, 3, 64): colour, channel, R G B, pixel
    offset = torch.zeros(3, SIDE * SIDE, dtype=torch.float64)
    offset[0] = LUMA_OFFSET * per_colour.sum(1)
    return filters.reshape(COEFFICIENTS, 3, SIDE, SIDE), offset.flatten()


class FrequencyInput(nn.Module):
    """Images in [0, 255] (B, 3, S, S), S even -> (B, 64, S/2, S/2), or (B, 64, S, S) where `size` is "double".

    `bank`: single frequencies, or the coarse control. `size`: how the half resolution meets the paper's "64 × H × W"
    (Sec. 3 leaves it open): "half", reflected borders, S/2; "double", the same enlarged to S; "unpadded",
    no border, resized to S/2.
    """

    filters: Tensor
    offset: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, bank: Bank = "fine", size: Size = "half"):
        super().__init__()
        if size not in ("half", "double", "unpadded"):
            raise WorkbookError(f"size is {size!r}; must be half, double or unpadded", where="frequency input")
        filters, offset = filter_bank(bank)
        self.size: Size = size
        self.margin = 0 if size == "unpadded" else MARGIN
        self.register_buffer("filters", filters.float(), persistent=False)
        self.register_buffer("offset", offset.float(), persistent=False)
        self.register_buffer("mean", torch.zeros(COEFFICIENTS))
        self.register_buffer("deviation", torch.zeros(COEFFICIENTS))  # 0: not measured yet
        self.mix = nn.Conv2d(COEFFICIENTS, CHANNELS, 1)
        self._measured = False
        self.register_load_state_dict_post_hook(_mark_measured)

    def shape(self, image_size: int) -> tuple[int, int, int]:
        """(C, h, w) of what it gives for images of that size."""
        side = image_size if self.size == "double" else image_size // STRIDE
        return CHANNELS, side, side

    def standardise(self, statistics: Statistics) -> None:
        """Use these statistics of the training set. They travel with the weights."""
        if statistics.mean.shape != self.mean.shape or not bool((statistics.deviation > 0).all()):
            raise WorkbookError(
                "needs the mean and the positive deviation of 192 channels",
                where="frequency input",
                remedy="Measure them with `measure` on images of the training set",
            )
        self.mean.copy_(statistics.mean)
        self.deviation.copy_(statistics.deviation)
        self._measured = True

    def coefficients(self, images: Tensor) -> Tensor:
        """Eq. 1, not standardised: (B, 192, h, w), h = S/2, or S/2 − 3 without borders. For images in [0, 1] the
        luma's DC lies in [−4, 4]."""
        x = self._bordered(images) / 255
        with _exact(images.device.type):
            return functional.conv2d(x, self.filters, self.offset, stride=STRIDE)

    def forward(self, images: Tensor) -> Tensor:
        with _exact(images.device.type):
            kernel, bias = self.folded()
            x = functional.conv2d(self._bordered(images), kernel, bias, stride=STRIDE)
            return self._resized(x, images.shape[-2:])

    def folded(self) -> tuple[Tensor, Tensor]:
        """Standardisation and mixture multiplied into the filters: (64, 3, 8, 8) on images in [0, 255], and (64,)."""
        if not self._measured:
            raise WorkbookError(
                "the training set's statistics are not set",
                where="frequency input",
                remedy="Give `build` the result of `measure`, or load a checkpoint",
            )
        weight = self.mix.weight.flatten(1) / self.deviation  # (64, 192)
        kernel = (weight @ self.filters.flatten(1) / 255).view(CHANNELS, 3, SIDE, SIDE)
        assert self.mix.bias is not None
        return kernel, self.mix.bias + weight @ (self.offset - self.mean)

    def _bordered(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        if height % STRIDE or width % STRIDE:
            raise WorkbookError(f"images of {height} x {width}", where="frequency input", remedy="Use even sides")
        x = images.to(self.filters.dtype)
        return functional.pad(x, (self.margin,) * 4, mode="reflect") if self.margin else x

    def _resized(self, x: Tensor, image: torch.Size) -> Tensor:
        wanted = image if self.size == "double" else torch.Size(side // STRIDE for side in image)
        return x if x.shape[-2:] == wanted else functional.interpolate(x, wanted, mode="bilinear", align_corners=False)


def measure(batches: Iterable[Tensor], bank: Bank = "fine", size: Size = "half") -> Statistics:
    """Statistics of the channels over images of the training set, (B, 3, S, S) uint8 or float in [0, 255].

    The images must have the size at which the network reads them. Sums are float64: the order of the batches matters
    to the last digits alone.
    """
    entry = FrequencyInput(bank, size)
    count, total, square = 0, torch.zeros(()), torch.zeros(())
    with torch.no_grad():
        for images in batches:
            x = entry.coefficients(images).double()  # (B, 192, h, w)
            count += x.numel() // COEFFICIENTS
            total, square = total + x.sum((0, 2, 3)), square + x.square().sum((0, 2, 3))
    if not count:
        raise WorkbookError("no images to measure", where="frequency input", remedy="Give batches of the training set")
    mean = total / count
    deviation = (square / count - mean.square()).clamp_min(LEAST_DEVIATION**2).sqrt()
    return Statistics(mean.float(), deviation.float())


@contextmanager
def _exact(device: str) -> Iterator[None]:
    """float32 proper inside: no autocast, and no TF32 in cuDNN's convolutions or in matrix products."""
    libraries: tuple[Any, ...] = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [library.allow_tf32 for library in libraries]
    for library in libraries:
        library.allow_tf32 = False
    try:
        with torch.autocast(device, enabled=False):
            yield
    finally:
        for library, allowed in zip(libraries, before):
            library.allow_tf32 = allowed


def _mark_measured(module: nn.Module, _: object) -> None:
    assert isinstance(module, FrequencyInput)
    module._measured = bool((module.deviation > 0).all())
