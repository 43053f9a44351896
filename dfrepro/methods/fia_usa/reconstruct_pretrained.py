"""The paper's own reconstructors, from local files: a latent-diffusion KL autoencoder and a GFPGAN-class restorer.

FIA-USA, Sec. 3.1 (MMR), references [57] and [71]. The packages are the optional extra `paper`; which
variant the paper used is not said. Both are what `reconstruct.reconstruct` takes: faces (B, 3, S, S) in [0, 1] in and
out. Nothing is downloaded and nothing is unpickled.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional

from dfrepro.errors import WorkbookError
from dfrepro.methods.fia_usa.reconstruct import padded

GFPGAN_SIZE = 512  # px; its decoder has no other


class KlAutoencoder(nn.Module):
    """A latent-diffusion autoencoder of diffusers, on the code's mean: the same face gives the same reconstruction."""

    def __init__(self, network: Any):
        super().__init__()
        self.network = network
        self.multiple = 2 ** (len(network.config.block_out_channels) - 1)

    def forward(self, faces: Tensor) -> Tensor:
        return padded(self._through, faces, self.multiple)

    def _through(self, x: Tensor) -> Tensor:
        code = self.network.encode(2 * x - 1).latent_dist.mode()
        return self.network.decode(code).sample / 2 + 0.5


class Restorer(nn.Module):
    """A super-resolution or face-restoration network of spandrel.

    One that enlarges by s gets the face reduced by s; GFPGAN, which restores, gets it at 512 px. GFPGAN works in
    [-1, 1], which spandrel 0.4 does not tell it, and draws noise unless asked not to: it is called directly.
    """

    def __init__(self, descriptor: Any):
        super().__init__()
        self.network = descriptor.model
        self.descriptor = descriptor
        self.is_gfpgan = descriptor.architecture.id == "GFPGAN"

    def forward(self, faces: Tensor) -> Tensor:
        return _resized(self._restore(faces) if self.is_gfpgan else self._enlarge(faces), faces.shape[-2:])

    def _restore(self, faces: Tensor) -> Tensor:
        x = 2 * _resized(faces, (GFPGAN_SIZE, GFPGAN_SIZE)) - 1
        return self.network(x, return_rgb=False, randomize_noise=False)[0] / 2 + 0.5

    def _enlarge(self, faces: Tensor) -> Tensor:
        x = _resized(faces, [max(1, side // self.descriptor.scale) for side in faces.shape[-2:]])
        return torch.cat([self.descriptor(one[None]) for one in x])  # spandrel takes one at a time


def kl_autoencoder(folder: Path | str) -> KlAutoencoder:
    """The KL autoencoder in `folder`: config.json and safetensors, as diffusers saves it.

    Raises WorkbookError when the package or the files are not there.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise WorkbookError(
            "the autoencoder's files are not there",
            where=folder,
            remedy="Save an AutoencoderKL there as diffusers does: config.json and *.safetensors",
        )
    diffusers = _package("diffusers")
    try:
        network = diffusers.AutoencoderKL.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, SafetensorError) as error:
        raise WorkbookError(f"not an AutoencoderKL ({error})", where=folder, remedy="Save one there again") from error
    return KlAutoencoder(network).eval()


def restorer(path: Path | str) -> Restorer:
    """The network whose weights are the safetensors file `path`. Raises WorkbookError as `kl_autoencoder` does.

    GFPGAN is published as a pickle, which can run code: the workbook does not open it. Convert it once, by hand.
    """
    path = Path(path)
    if path.suffix != ".safetensors" or not path.is_file():
        raise WorkbookError(
            "no safetensors file of a face restorer",
            where=path,
            remedy="Convert published weights once: save_file(torch.load(file, weights_only=True)['params_ema'], path)",
        )
    spandrel = _package("spandrel")
    try:
        descriptor = spandrel.ModelLoader(device="cpu").load_from_file(path)
    except (OSError, RuntimeError, ValueError, SafetensorError, spandrel.UnsupportedModelError) as error:
        raise WorkbookError(f"spandrel cannot use these weights ({error})", where=path) from error
    if not isinstance(descriptor, spandrel.ImageModelDescriptor):
        raise WorkbookError("no network from picture to picture", where=path, remedy="Give a face restorer's weights")
    return Restorer(descriptor).eval()


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise WorkbookError(
            f"the package {name} is not installed ({error})",
            where="reconstructions at paper scale",
            remedy="Install the optional extra `paper`, or use the small reconstructors",
        ) from error


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return functional.interpolate(x, tuple(size), mode="bicubic", antialias=True, align_corners=False)
