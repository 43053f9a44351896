"""A detector: any timm network by name, two logits, its own preprocessing.

Images come as they are stored, uint8 or float in [0, 255]; the network's own configuration in timm says mean and
deviation, and images of another size are resized on the device. Nothing of this is in the checkpoint.

Another detector (PEL, FoCus, ...) is any module whose `forward(images)` returns an `Output`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data import resolve_data_config
from torch import Tensor, nn
from torch.nn import functional

from dfrepro.errors import WorkbookError
from dfrepro.nets.layout import layout_of
from dfrepro.settings import Backbone


class Output(NamedTuple):
    """What a detector says of B faces."""

    logits: Tensor  # (B, 2): real, fake
    features: Tensor  # (B, D), what the classifier reads
    maps: Tensor  # (B, C, h, w), or (B, N, C) tokens: the last features before pooling

    @property
    def margins(self) -> Tensor:
        """logit(fake) − logit(real), (B,) float32, on the CPU: positive for a fake; sigmoid(margin) is P(fake)."""
        real, fake = self.logits.detach().cpu().float().unbind(1)
        return fake - real


class Detector(nn.Module):
    """A timm network with two logits. `forward(images (B, 3, S, S))` takes uint8, or float in [0, 255]."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, spec: Backbone):
        super().__init__()
        self.spec = spec
        self.backbone: Any = _network(spec)  # timm's networks have methods that nn.Module does not know
        config = resolve_data_config(model=self.backbone)
        for name, values in (("mean", config["mean"]), ("deviation", config["std"])):  # timm's are for [0, 1]
            self.register_buffer(name, 255 * torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        probe(self)

    def preprocess(self, images: Tensor) -> Tensor:
        """Images in [0, 255] of any size -> the network's normalised input (B, 3, image_size, image_size)."""
        x = images.to(self.mean.dtype)
        size = (self.spec.image_size, self.spec.image_size)
        if x.shape[-2:] != size:
            x = functional.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
        return (x - self.mean) / self.deviation

    def forward(self, images: Tensor) -> Output:
        return self.read(self.preprocess(images))

    def read(self, x: Tensor) -> Output:
        """The network on an input that is preprocessed already."""
        maps = self.backbone.forward_features(x)
        features = self.backbone.forward_head(maps, pre_logits=True)  # (B, D)
        return Output(self.backbone.get_classifier()(features), features, maps)


@torch.no_grad()
def probe(detector: Detector) -> None:
    """One image through a plain timm network in `Detector`: is it one network with one head, at this size?

    Raises WorkbookError where its parts (features, pooling, classifier) do not make its logits: two heads (LeViT,
    DeiT distilled, VOLO), a list of maps (CrossViT, CoaT), another fixed size, a classifier that is no linear layer.
    Draws nothing at random, and leaves statistics and mode as they were.
    """
    spec, network = detector.spec, detector.backbone
    where, remedy = f"backbone {spec.name}", "Name a network with one head, and its input's side in kwargs (img_size)"
    x = torch.linspace(-1, 1, 3 * spec.image_size**2).view(1, 3, spec.image_size, spec.image_size)
    training = network.training
    network.eval()
    try:
        whole = network(x)
        output = Detector.read(detector, x)
        layout_of(detector).axes(output.maps)
    except Exception as error:
        raise WorkbookError(
            f"it cannot be a detector at {spec.image_size} px ({type(error).__name__}: {str(error)[:160]})",
            where=where, remedy=remedy,
        ) from error  # fmt: skip
    finally:
        network.train(training)
    if output.logits.shape != (1, 2) or not (x.is_meta or torch.allclose(output.logits, whole, rtol=1e-3, atol=1e-4)):
        raise WorkbookError("its logits are not those of its classifier alone", where=where, remedy=remedy)


@contextmanager
def evaluating(detector: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every module's own mode after it."""
    training = [module for module in detector.modules() if module.training]
    detector.eval()
    try:
        with torch.no_grad():  # not inference_mode: what a module caches must be fit for the next step
            yield
    finally:
        for module in training:
            module.training = True


def build_detector(spec: Backbone, seed: int) -> Detector:
    """A detector whose initial weights depend on `seed` alone; the global generator is left where it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Detector(spec)


def _network(spec: Backbone) -> Any:
    where = f"backbone {spec.name}"
    if not timm.is_model(spec.name):
        close = ", ".join(timm.list_models(f"*{spec.name.split('_')[0]}*")[:8])
        raise WorkbookError("timm has no such network", where=where, remedy=f"Close names: {close or 'none'}")
    try:
        network = timm.create_model(spec.name, pretrained=spec.pretrained is True, num_classes=2, **spec.kwargs)
    except (TypeError, AssertionError) as error:
        raise WorkbookError(f"timm refuses kwargs {dict(spec.kwargs)}: {error}", where=where) from error
    except Exception as error:
        if spec.pretrained is not True:
            raise
        raise WorkbookError(
            f"its pretrained weights cannot be had ({type(error).__name__}: {error})",
            where=where,
            remedy="Go online once, or set `pretrained` to the path of a safetensors file, or to false",
        ) from error
    if isinstance(spec.pretrained, str):
        _load_pretrained(network, Path(spec.pretrained), where)
    return network


def _load_pretrained(network: Any, path: Path, where: str) -> None:
    """Load all weights but the classifier's, whose classes are others."""
    try:
        weights = {name.removeprefix("backbone."): value for name, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise WorkbookError(f"{path} is no safetensors file ({error})", where=where) from error
    own = network.state_dict()
    head = {name for name in own if network.get_submodule(name.rpartition(".")[0]) is network.get_classifier()}
    fits = {name: value for name, value in weights.items() if name in own and name not in head}
    missing = sorted(own.keys() - head - fits.keys())
    other = [name for name, value in fits.items() if value.shape != own[name].shape]
    if missing or other:
        raise WorkbookError(
            f"{path} lacks {missing[:3]} and has other shapes for {other[:3]}",
            where=where,
            remedy="Give the weights of this very network",
        )
    network.load_state_dict(fits, strict=False)
