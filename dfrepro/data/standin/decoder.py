"""What a generator network leaves behind, without the network: a bottleneck and an up-sampling kernel.

A decoder of strided transposed convolutions whose kernel does not divide evenly by its stride weighs the positions of
a cell unequally and prints a lattice on flat areas (Odena et al., Distill 2016); nearest and linear up-sampling leave
steps or blur instead. `Decoder` does the same arithmetic with fixed kernels.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from dfrepro.data.standin.noise import Array

BOX = 1.3  # side of the network's square crop over the landmark box


@dataclass(frozen=True)
class Decoder:
    """A bottleneck of `cells` x `cells` over the face, decoded again.

    `uneven` is the unevenness of the transposed kernel (0: none); `skip` the share of the lost detail that comes back
    (above 1: over-sharpened); `kernel` the up-sampling: "transposed", "nearest", "linear" or "lanczos".
    """

    cells: int
    kernel: str = "transposed"
    uneven: float = 0.0
    skip: float = 0.3
    tilt: bool = False  # lattice along the diagonals

    def of(self, trace: float) -> "Decoder":
        """The decoder with its traces `trace` times as strong."""
        return replace(self, uneven=trace * self.uneven, skip=1 - trace * (1 - self.skip))

    def __call__(self, frame: Array, box: tuple[float, float, float], strength: Array) -> Array:
        """Decode the square `box` (cx, cy, side in pixels) of `frame`; `strength` (3,) scales the
        lattice by channel."""
        cx, cy, side = box
        zoom = 4 * self.cells / side
        middle = 2 * self.cells - 0.5
        matrix = np.array([[zoom, 0, middle - zoom * cx], [0, zoom, middle - zoom * cy]], np.float32)
        crop = cv2.warpAffine(
            frame, matrix, (4 * self.cells,) * 2, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        low = cv2.resize(crop, (self.cells,) * 2, interpolation=cv2.INTER_AREA)
        decoded = self._up(low, strength)
        size = (frame.shape[1], frame.shape[0])
        smooth, picture = (_back(small, matrix, size) for small in (_linear(low, 4), decoded))
        return picture + self.skip * (frame - smooth)

    def _up(self, low: Array, strength: Array) -> Array:
        if self.kernel == "transposed":
            return _linear(self._transposed(low, strength), 2)
        modes = {"nearest": cv2.INTER_NEAREST, "linear": cv2.INTER_LINEAR, "lanczos": cv2.INTER_LANCZOS4}
        return cv2.resize(low, None, fx=4, fy=4, interpolation=modes[self.kernel])

    def _transposed(self, low: Array, strength: Array) -> Array:
        """Stride 2, kernel 3 x 3: the centre of a cell gets one tap, edges two, corners four."""
        wide = np.zeros((2 * low.shape[0], 2 * low.shape[1], 3), np.float32)
        wide[::2, ::2] = low
        result = np.empty_like(wide)
        for channel in range(3):
            e = self.uneven * float(strength[channel])
            centre, edge, corner = (1 + e, 0.5 * (1 - e), 0.25 * (1 + e)) if self.tilt else (1 + e, 0.5, 0.25 * (1 - e))
            kernel = np.array([[corner, edge, corner], [edge, centre, edge], [corner, edge, corner]], np.float32)
            result[..., channel] = cv2.filter2D(wide[..., channel], -1, kernel, borderType=cv2.BORDER_REFLECT_101)
        return result


def _linear(picture: Array, factor: int) -> Array:
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)


def _back(crop: Array, matrix: Array, size: tuple[int, int]) -> Array:
    """The network's crop laid back over the frame, (width, height) = `size`."""
    inverse = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(crop, matrix, size, flags=inverse, borderMode=cv2.BORDER_REPLICATE)


def face_box(points: Array) -> tuple[float, float, float]:
    """Centre and side of the network's square around the 68 landmarks, (N >= 68, 2) in pixels."""
    low, high = points[:68].min(0), points[:68].max(0)
    cx, cy = (low + high) / 2
    return float(cx), float(cy), float(BOX * (high - low).max())
