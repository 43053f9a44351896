"""The median of a sliding window of feature maps, without sorting windows: a min/max network on whole planes.

The network sorts the k rows of a window once for all windows that share a column (Huang, Yang, Tang 1979 share a
histogram in the same way), sorts across the sorted columns, drops what can no longer be the median and selects among
the rest with Batcher's odd-even merge (1968). Every comparison is a minimum or a maximum of two planes; those on which
the median does not depend are left out. 3 × 3 takes 20 operations a pixel, all of them vectorised.

The median is the value of one element of its window. Its gradient goes to that element; where several elements are
equal to it (ties), to all of them in equal parts: the parts sum to one and do not depend on the order of the pixels.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from dfrepro.errors import WorkbookError

IN_CACHE = 1 << 17  # values a thread works on at a time: few enough for the caches, enough to outweigh the calls


class Comparator(NamedTuple):
    """Puts the lesser of two wires on `i` and the greater on `j`; `low`, `high`: which of the two anyone reads."""

    i: int
    j: int
    low: bool = True
    high: bool = True


class Network(NamedTuple):
    """The comparators of a k × k median. Wire r of `columns` is row r, wire r k + s of `window` rank r of column s."""

    columns: tuple[Comparator, ...]
    window: tuple[Comparator, ...]
    output: int


def median(x: Tensor, k: int) -> Tensor:
    """The k × k median of maps x (B, C, H, W), borders reflected (without repeating the edge); k odd, same shape.

    First derivatives only; the gradient at ties is shared equally. Raises WorkbookError where a map is not larger than
    the k // 2 pixels that are reflected.
    """
    if k % 2 == 0 or k < 3:
        raise WorkbookError(f"a median of {k} x {k}", remedy="Its side must be odd and at least 3")
    return _Median.apply(x, k)  # type: ignore[no-untyped-call]


def reflect(x: Tensor, margin: int) -> Tensor:
    """(B, C, H, W) -> (B, C, H + 2 margin, W + 2 margin)."""
    if min(x.shape[-2:]) <= margin:
        raise WorkbookError(
            f"maps of {x.shape[-2]} x {x.shape[-1]} cannot be reflected by {margin} px",
            where="noise block",
            remedy="Use larger images or a smaller kernel",
        )
    return functional.pad(x, (margin,) * 4, mode="reflect")


# --- the network --------------------------------------------------------------------------------------------------


@lru_cache
def network(k: int) -> Network:
    """The pruned network of a k × k median."""
    rows = [Comparator(r * k + i, r * k + j) for r in range(k) for i, j in batcher(k)]
    candidates, below = _candidates(k)
    choice = [Comparator(candidates[i], candidates[j]) for i, j in batcher(len(candidates))]
    output = candidates[k * k // 2 - below]
    window = prune([*rows, *choice], {output})
    read = {wire // k for comparator in window for wire in comparator[:2]}
    return Network(prune([Comparator(i, j) for i, j in batcher(k)], read), window, output)


def batcher(n: int) -> Iterator[tuple[int, int]]:
    """The comparators (i, j), i < j, of Batcher's odd-even merge sort of n wires (Knuth, TAOCP 3, 5.2.2 M)."""
    p = 1
    while p < n:
        d = p
        while d:
            for start in range(d % p, n - d, 2 * d):
                for i in range(start, min(start + d, n - d)):
                    if i // (2 * p) == (i + d) // (2 * p):
                        yield i, i + d
            d //= 2
        p *= 2


def prune(comparators: Sequence[Comparator], read: set[int]) -> tuple[Comparator, ...]:
    """The comparators on which the wires `read` depend, each with the outputs that are used."""
    read, kept = set(read), []
    for i, j, _, _ in reversed(comparators):
        if i in read or j in read:
            kept.append(Comparator(i, j, i in read, j in read))
            read |= {i, j}
    return tuple(reversed(kept))


def _candidates(k: int) -> tuple[list[int], int]:
    """Wires of a k × k window, sorted down and then across, that may be the median; and how many lie surely below it.

    Entry (r, s) is at least as great as (r + 1)(s + 1) entries and at most as great as (k − r)(k − s), itself among
    them: more than half of the window on either side, and it is not the median.
    """
    half = k * k // 2 + 1
    wires = [(r, s) for r in range(k) for s in range(k)]
    below = sum((k - r) * (k - s) > half for r, s in wires)
    return [r * k + s for r, s in wires if (r + 1) * (s + 1) <= half and (k - r) * (k - s) <= half], below


# --- the operation ------------------------------------------------------------------------------------------------
#
# A stack of planes is worked on as one long row: the element r rows below and s columns to the right is r width + s
# further on. All operations then run on contiguous memory; at a plane's right and lower margin they compute medians of
# windows that wrap around, which are never read.


def _middles(padded: Tensor, k: int) -> Tensor:
    """The median of every window that starts at an element of planes (N, H, W): (N H W − reach,)."""
    row, width = padded.flatten(), padded.shape[-1]
    length = len(row) - (k - 1) * width
    columns, window, output = network(k)
    ranks: list[Any] = [row[r * width : r * width + length] for r in range(k)]
    _run(columns, ranks)
    wires = [rank[s : s + length - k + 1] for rank in ranks for s in range(k)]
    _run(window, wires)
    return wires[output]


def _shared(padded: Tensor, middles: Tensor, grad: Tensor, k: int) -> Tensor:
    """The gradient of planes (N, H, W) from that of their `middles`: in equal parts to all elements that equal them."""
    row, width = padded.flatten(), padded.shape[-1]
    starts = [r * width + s for r in range(k) for s in range(k)]
    # 0 or 1 in the planes' own type, and computed twice: mixing in bool, or leaving the cache, would take longer
    ties = torch.eq(row[: len(middles)], middles, out=torch.empty_like(middles))
    equal, out = torch.empty_like(middles), torch.zeros_like(row)
    for start in starts[1:]:
        ties += torch.eq(row[start : start + len(middles)], middles, out=equal)
    share = torch.div(grad, ties, out=ties)
    for start in starts:
        torch.eq(row[start : start + len(middles)], middles, out=equal)
        out[start : start + len(middles)].addcmul_(equal, share)
    return out.view(padded.shape)


def _run(comparators: Sequence[Comparator], wires: list[Any]) -> None:
    """Run the network on planes, in place of the list's entries; a plane that nobody reads any more is freed."""
    for i, j, low, high in comparators:
        a, b = wires[i], wires[j]
        wires[i] = torch.minimum(a, b) if low else None
        wires[j] = torch.maximum(a, b) if high else None


def _inner(row: Tensor, padded: torch.Size, k: int) -> Tensor:
    """A row of values at the windows' starts -> planes (N, H, W) without the margins."""
    planes = functional.pad(row, (0, padded.numel() - len(row))).view(padded)
    return planes[:, : padded[1] - k + 1, : padded[2] - k + 1]


def _outer(planes: Tensor, length: int, k: int) -> Tensor:
    """The way back: planes (N, H, W) -> a row, zero at the margins."""
    return functional.pad(planes, (0, k - 1, 0, k - 1)).flatten()[:length]


def _unreflect(grad: Tensor, margin: int) -> Tensor:
    """The gradient of planes (N, H, W), from that of the same with reflected borders, which is overwritten."""
    for axis in (1, 2):
        size = grad.shape[axis] - 2 * margin
        inner = grad.narrow(axis, margin, size)
        inner.narrow(axis, 1, margin).add_(grad.narrow(axis, 0, margin).flip(axis))
        inner.narrow(axis, size - 1 - margin, margin).add_(grad.narrow(axis, margin + size, margin).flip(axis))
        grad = inner
    return grad


def _chunk(planes: Tensor) -> int:
    """How many planes to work on at a time."""
    if planes.device.type != "cpu":
        return max(len(planes), 1)
    return max(1, IN_CACHE * torch.get_num_threads() // (planes.shape[-2] * planes.shape[-1]))


class _Median(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, k: int) -> Tensor:
        planes = x.reshape(-1, *x.shape[-2:])  # (B C, H, W)
        out = torch.empty_like(planes)
        chunk = _chunk(planes)
        middles = []
        for part, into in zip(planes.split(chunk), out.split(chunk)):
            padded = reflect(part, k // 2)
            middles.append(_middles(padded, k))
            into.copy_(_inner(middles[-1], padded.shape, k))
        ctx.k, ctx.chunk = k, chunk
        ctx.save_for_backward(planes, *middles)
        return out.view(x.shape)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        planes, *middles = ctx.saved_tensors
        k, out = ctx.k, torch.empty_like(planes)
        parts = (tensor.split(ctx.chunk) for tensor in (planes, grad.reshape(planes.shape), out))
        for part, above, into, middle in zip(*parts, middles):
            shared = _shared(reflect(part, k // 2), middle, _outer(above, len(middle), k), k)
            into.copy_(_unreflect(shared, k // 2))
        return out.view(grad.shape), None
