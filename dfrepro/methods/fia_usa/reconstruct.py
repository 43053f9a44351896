"""Reconstructed faces, which bring a decoder's up-sampling artefacts into FIA-USA's pseudo-fakes (MMR, Sec. 3.1).

A reconstructor maps faces in [0, 1] to faces of the same size, through fewer pixels and a learned way back:

- "ae", an autoencoder: two convolutions down by 4 in all, then nearest-neighbour and transposed-convolution
  up-sampling, both kinds of trace;
- "sr", a super-resolver: half the size, and back by a sub-pixel convolution.

The papers' own networks, at paper scale, are in `reconstruct_pretrained`. The small ones here learn from real faces
alone (`train_reconstructors`), in seconds. Reconstruction happens once per face and is cached beside the store
(`reconstruct`), so that training pays a read of memory.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from tqdm.auto import tqdm

from dfrepro.data.manifest import FaceStore
from dfrepro.errors import WorkbookError
from dfrepro.files import atomic_folder, mapped_array, read_json, write_json

KINDS = ("ae", "sr")
PIXELS, ROWS, META = "pixels.npy", "rows.npy", "meta.json"


# --- the small ones -----------------------------------------------------------------------------------------------


class Autoencoder(nn.Module):
    """Faces (B, 3, S, S) in [0, 1] -> code (B, `code`, S/4, S/4) -> faces. S is padded to a multiple of 4 inside.

    A linear path beside the layers on either side of the code: with it 600 steps reach what thousands do without.
    """

    def __init__(self, width: int = 24, code: int = 8):
        super().__init__()
        self.encode = nn.Sequential(
            *_conv(3, width, stride=2), *_conv(width, 2 * width, stride=2), nn.Conv2d(2 * width, code, 1)
        )
        self.encode_linear = nn.Conv2d(3, code, 4, stride=4)
        self.decode = nn.Sequential(
            *_conv(code, 2 * width),
            nn.Upsample(scale_factor=2, mode="nearest"),
            *_conv(2 * width, width),
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 3, 3, padding=1),
        )
        self.decode_linear = nn.ConvTranspose2d(code, 3, 4, stride=4)

    def forward(self, faces: Tensor) -> Tensor:
        return padded(self._through, faces, 4)

    def _through(self, faces: Tensor) -> Tensor:
        x = 2 * faces - 1
        code = self.encode(x) + self.encode_linear(x)  # (B, code, S/4, S/4)
        return (self.decode(code) + self.decode_linear(code)) / 2 + 0.5


class SuperResolver(nn.Module):
    """Faces (B, 3, S, S) in [0, 1], halved by area and brought back: bilinear plus a learned sub-pixel residual."""

    def __init__(self, width: int = 24):
        super().__init__()
        self.residual = nn.Sequential(
            *_conv(3, width), *_conv(width, width), nn.Conv2d(width, 12, 3, padding=1), nn.PixelShuffle(2)
        )

    def forward(self, faces: Tensor) -> Tensor:
        return padded(self._resolve, faces, 2)

    def _resolve(self, x: Tensor) -> Tensor:
        half = functional.avg_pool2d(x, 2)  # (B, 3, S/2, S/2)
        return functional.interpolate(half, scale_factor=2, mode="bilinear") + self.residual(2 * half - 1)


def small_reconstructors(seed: int = 0) -> dict[str, nn.Module]:
    """Both small networks, their weights drawn from `seed`; the global generator is left where it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {"ae": Autoencoder(), "sr": SuperResolver()}


def _conv(c_in: int, c_out: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1), nn.SiLU()]


def padded(network: Callable[[Tensor], Tensor], x: Tensor, multiple: int) -> Tensor:
    """`network` on x (B, 3, H, W), its edges replicated to a multiple of a number of pixels, and cut back."""
    height, width = x.shape[-2:]
    pad = (0, -width % multiple, 0, -height % multiple)
    out = network(functional.pad(x, pad, mode="replicate") if any(pad) else x)
    return out[..., :height, :width]


def train_reconstructors(
    store: FaceStore,
    rows: Sequence[int] | np.ndarray,
    out: Path | str,
    *,
    steps: int = 600,
    batch: int = 8,
    crop: int = 40,
    lr: float = 8e-3,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: bool = True,
) -> dict[str, float]:
    """Train both small networks on random crops of the real faces `rows` of `store`, by L1; write them to folder `out`.

    Writes ae.safetensors, sr.safetensors and meta.json, whole or not at all. Returns `ae` and `sr`, their PSNR in dB on
    whole training faces. Raises WorkbookError when a row is no real face: what is learned of fakes is in no real one.
    """
    rows = _real_rows(store, rows)
    networks = small_reconstructors(seed)
    rng = np.random.default_rng([seed, 1])
    for network in networks.values():
        network.to(device).train()
    optimizers = [torch.optim.Adam(network.parameters(), lr=lr) for network in networks.values()]
    for step in tqdm(range(steps), desc="reconstructors", unit="step", disable=not progress):
        faces = _crops(store, rows, batch, min(crop, store.size), rng).to(device)  # (B, 3, crop, crop)
        for network, optimizer in zip(networks.values(), optimizers):
            optimizer.param_groups[0]["lr"] = lr * _rate(step / steps)
            loss = functional.l1_loss(network(faces), faces)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    chosen = rows[np.linspace(0, len(rows) - 1, min(len(rows), 64)).astype(int)]
    quality = {kind: _psnr(network.eval(), store, chosen, device) for kind, network in networks.items()}
    with atomic_folder(out) as folder:
        for kind, network in networks.items():
            save_file(
                {name: value.cpu().contiguous() for name, value in network.state_dict().items()},
                folder / f"{kind}.safetensors",
            )
        write_json(folder / META, {"psnr": quality, "steps": steps, "seed": seed, "faces": len(rows)})
    return quality


def _rate(done: float) -> float:
    """Share of the learning rate: a tenth of the steps rising, then a cosine to 0."""
    return min(10 * done + 0.01, 1.0) * (1 + math.cos(math.pi * done)) / 2


def load_reconstructors(folder: Path | str) -> dict[str, nn.Module]:
    """The small networks that `train_reconstructors` wrote, in evaluation mode."""
    networks = small_reconstructors()
    for kind, network in networks.items():
        path = Path(folder) / f"{kind}.safetensors"
        try:
            network.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise WorkbookError(
                f"not the weights of a small reconstructor ({error})",
                where=path,
                remedy="Run the stage that trains the reconstructors",
            ) from error
        network.eval()
    return networks


def _real_rows(store: FaceStore, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    chosen = np.unique(np.asarray(rows, np.int64))
    fakes = int((store.manifest["label"].to_numpy()[chosen] != 0).sum())
    if fakes or not len(chosen):
        what = f"{fakes} of the {len(chosen)} faces are fakes" if fakes else "no face is given"
        raise WorkbookError(what, where=store.path, remedy="Give rows of real faces")
    return chosen


def _crops(store: FaceStore, rows: np.ndarray, n: int, size: int, rng: np.random.Generator) -> Tensor:
    """(n, 3, size, size) float32 in [0, 1]."""
    chosen = rng.choice(rows, n)
    corners = rng.integers(0, store.size - size + 1, (n, 2))
    return _faces(np.stack([store.faces[row, y : y + size, x : x + size] for row, (y, x) in zip(chosen, corners)]))


def _faces(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def _psnr(network: nn.Module, store: FaceStore, rows: np.ndarray, device: str | torch.device) -> float:
    faces = _faces(store.faces[rows]).to(device)
    error = (network(faces).clamp(0, 1) - faces).square().mean()
    return float(-10 * torch.log10(error.clamp_min(1e-10)))


# --- the cache ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reconstructions:
    """Reconstructed faces, memory-mapped. `rows` (n,) of the store's manifest; `pixels` (n, kinds, S, S, 3) uint8."""

    path: Path
    kinds: tuple[str, ...]
    rows: np.ndarray
    pixels: np.ndarray

    @classmethod
    def open(cls, path: Path | str, store: FaceStore | None = None) -> "Reconstructions":
        """Open the folder `path`; with `store`, refuse those that were made of other faces."""
        path = Path(path)
        try:
            meta = read_json(path / META)
            rows = np.load(path / ROWS, allow_pickle=False)
            pixels = np.load(path / PIXELS, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise _stale(path, f"no reconstructions ({error})") from error
        if store is not None and meta["faces"] != _fingerprint(store):
            raise _stale(path, f"made of other faces than {store.path} holds")
        if pixels.shape[:2] != (len(rows), len(meta["kinds"])):
            raise _stale(path, f"{pixels.shape} pixels for {len(rows)} faces and kinds {meta['kinds']}")
        return cls(path, tuple(meta["kinds"]), rows, pixels)

    def of(self, row: int) -> dict[str, np.ndarray]:
        """The reconstructions of face `row`: {"ae": (S, S, 3) uint8, "sr": ...}, views of the memory map."""
        place = int(np.searchsorted(self.rows, row))
        if place == len(self.rows) or self.rows[place] != row:
            raise _stale(self.path, f"face {row} was not reconstructed")
        return dict(zip(self.kinds, self.pixels[place]))

    def __reduce__(self):  # a worker maps the file again instead of being sent its content
        return (Reconstructions.open, (self.path,))


def beside(store: FaceStore) -> Path:
    """The folder, next to the store's, for its reconstructions."""
    return store.path.with_name(f"{store.path.name}-reconstructions")


@torch.no_grad()
def reconstruct(
    store: FaceStore,
    rows: Sequence[int] | np.ndarray,
    reconstructors: Mapping[str, nn.Module],
    out: Path | str | None = None,
    *,
    batch: int = 32,
    device: str | torch.device = "cpu",
    resume: Path | None = None,
    save_every: int = 64,
    progress: bool = True,
) -> Reconstructions:
    """Reconstruct the faces `rows` of `store` by each of `reconstructors` into the folder `out` (default: `beside`).

    Written whole or not at all; killed and called again, it goes on where it was (its state is in the folder `resume`,
    by default beside `out`, written every `save_every` batches). Networks run in evaluation mode; rounded to uint8.
    """
    out = Path(out) if out is not None else beside(store)
    work = resume if resume is not None else out.parent / f".{out.name}-resume"
    rows = np.unique(np.asarray(rows, np.int64))
    networks = {kind: network.to(device).eval() for kind, network in reconstructors.items()}
    meta = {"kinds": list(networks), "faces": _fingerprint(store)}
    key = {**meta, "rows": _digest(rows.tobytes()), "weights": [_digest_of(network) for network in networks.values()]}
    pixels, start = _continued(work, key, (len(rows), len(networks), store.size, store.size, 3))
    for i in tqdm(range(start, len(rows), batch), desc="reconstructions", unit="batch", disable=not progress):
        faces = _faces(store.faces[rows[i : i + batch]]).to(device)  # (B, 3, S, S)
        made = torch.stack([network(faces) for network in networks.values()], dim=1)  # (B, kinds, 3, S, S)
        made = (255 * made).round().clamp(0, 255).to(torch.uint8).permute(0, 1, 3, 4, 2)
        pixels[i : i + batch] = made.cpu().numpy()
        if (i // batch + 1) % save_every == 0:
            pixels.flush()
            write_json(work / "progress.json", {"key": key, "done": i + len(faces)})
    pixels.flush()
    with atomic_folder(out) as folder:
        (work / PIXELS).rename(folder / PIXELS)
        np.save(folder / ROWS, rows, allow_pickle=False)
        write_json(folder / META, meta)
    rmtree(work, ignore_errors=True)
    return Reconstructions.open(out, store)


def _continued(work: Path, key: dict[str, Any], shape: tuple[int, ...]) -> tuple[np.memmap, int]:
    """The array under way in `work`, and how many of its faces are done: none unless it was begun with this `key`."""
    try:
        state = read_json(work / "progress.json")
        if state["key"] == key:
            return np.lib.format.open_memmap(work / PIXELS, mode="r+"), int(state["done"])
    except (OSError, ValueError):
        pass
    rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    return mapped_array(work / PIXELS, shape), 0


def _fingerprint(store: FaceStore) -> str:
    """What says which faces a store holds: its table, crop boxes included, and its size."""
    return _digest((store.path / "manifest.parquet").read_bytes() + str(store.faces.shape).encode())


def _digest_of(network: nn.Module) -> str:
    state = network.state_dict()
    return _digest(b"".join(state[name].cpu().contiguous().numpy().tobytes() for name in sorted(state)))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _stale(path: Path, what: str) -> WorkbookError:
    return WorkbookError(what, where=path, remedy="Run the stage that reconstructs the faces of this store again")
