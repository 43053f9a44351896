"""The small reconstructors against plain resampling, and the cache against what the networks give face by face."""

import hashlib
import importlib.util
import pickle
import types

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from dfrepro.data.manifest import Face, FaceStore
from dfrepro.errors import WorkbookError
from dfrepro.methods.fia_usa import reconstruct_pretrained
from dfrepro.methods.fia_usa.pseudo_fakes import FiaUsa
from dfrepro.methods.fia_usa.reconstruct import (
    Reconstructions,
    _digest,
    _rate,
    beside,
    load_reconstructors,
    reconstruct,
    small_reconstructors,
    train_reconstructors,
)
from dfrepro.methods.fia_usa.reconstruct_pretrained import KlAutoencoder, Restorer, kl_autoencoder, restorer

pytestmark = pytest.mark.usefixtures("one_thread")
SIDE, REALS = 40, 12


def store_of(folder, image: np.ndarray, landmarks: np.ndarray, side: int = SIDE, seed: int = 0) -> FaceStore:
    """Twelve views of a photograph, then two that are called fakes."""
    rng = np.random.default_rng(seed)
    faces = []
    for i in range(REALS + 2):
        x, y = rng.integers(0, 40, 2)
        view = cv2.resize(image[y : y + 120, x : x + 120], (side, side), interpolation=cv2.INTER_AREA)
        light = np.clip(view * rng.uniform(0.7, 1.2, 3), 0, 255).astype(np.uint8)
        label = int(i >= REALS)
        kind = "Deepfakes" if label else "original"
        faces.append(Face(light, "ffpp", kind, f"{i:03d}", 0, label, "train", landmarks * side / 160))
    return FaceStore.write(folder, faces, side)


@pytest.fixture
def store(tmp_path, image, landmarks) -> FaceStore:
    return store_of(tmp_path / "faces", image, landmarks)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, _portrait):
    """The folder of both networks after a short training, its store and the reported PSNR."""
    folder = tmp_path_factory.mktemp("trained")
    store = store_of(folder / "faces", _portrait, np.tile(np.linspace(20, 140, 81)[:, None], 2))
    quality = train_reconstructors(store, np.arange(REALS), folder / "networks", steps=120, progress=False)
    return folder / "networks", store, quality


def tensor(faces: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(faces)).permute(0, 3, 1, 2).float() / 255


def psnr(found: Tensor, expected: Tensor) -> float:
    return -10 * torch.log10((found - expected).square().mean()).item()


def reduced(faces: Tensor, by: int) -> Tensor:
    """Reduced and enlarged without anything learned."""
    return functional.interpolate(functional.avg_pool2d(faces, by), scale_factor=by, mode="bilinear")


# --- the small networks -------------------------------------------------------------------------------------------


def test_training_beats_resampling_through_as_few_pixels(trained):
    folder, store, quality = trained
    faces, networks = tensor(store.faces[:REALS]), load_reconstructors(folder)
    with torch.no_grad():
        found = {kind: psnr(network(faces).clamp(0, 1), faces) for kind, network in networks.items()}
    assert found == pytest.approx(quality, abs=0.01)  # what was trained is what was written
    assert found["ae"] > psnr(reduced(faces, 4), faces) + 1
    assert found["sr"] > psnr(reduced(faces, 2), faces)


def test_the_autoencoders_error_repeats_with_the_steps_of_its_up_sampling(trained):
    """The decoder enlarges by 2 twice: the error depends on a pixel's place in 4 x 4, not on that in 3 x 3 or 5 x 5."""
    folder, store, _ = trained
    faces = tensor(store.faces[:REALS])
    with torch.no_grad():
        error = (load_reconstructors(folder)["ae"](faces) - faces).abs()

    def periodicity(p: int) -> float:
        """Variance of the mean error over the p x p places, in units of what independent pixels would have."""
        n = SIDE // p
        cut = error[..., : n * p, : n * p]
        places = cut.reshape(*cut.shape[:2], n, p, n, p).mean((0, 1, 2, 4))  # (p, p)
        return (places.var() * n**2 / cut.var()).item()

    assert periodicity(4) > 3 * max(periodicity(3), periodicity(5))


@pytest.mark.parametrize("side", [16, 37, 42])
def test_reconstructors_keep_the_size_of_any_face(side):
    faces = torch.rand(2, 3, side, side + 3, generator=torch.Generator().manual_seed(0))
    for network in small_reconstructors().values():
        assert network(faces).shape == faces.shape


def test_a_super_resolver_sees_half_the_pixels():
    """Two faces that agree after halving have the same reconstruction."""
    network = small_reconstructors()["sr"]
    face = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    other = face.clone()
    other[..., 0::2, 0::2], other[..., 1::2, 0::2] = face[..., 1::2, 0::2], face[..., 0::2, 0::2]
    torch.testing.assert_close(network(other), network(face))


def test_training_is_a_function_of_its_seed(store, tmp_path):
    before = torch.get_rng_state()
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train_reconstructors(store, np.arange(REALS), tmp_path / name, steps=3, batch=2, seed=seed, progress=False)
    assert torch.equal(torch.get_rng_state(), before)
    for kind in ("ae", "sr"):
        a, b, c = ((tmp_path / name / f"{kind}.safetensors").read_bytes() for name in "abc")
        assert a == b
        assert a != c


def test_the_learning_rate_rises_for_a_tenth_of_the_steps_and_falls_as_a_cosine():
    done = np.linspace(0, 1, 201)
    share = np.array([_rate(x) for x in done]) / ((1 + np.cos(np.pi * done)) / 2).clip(1e-9)
    rising = done < 0.0985
    np.testing.assert_allclose(np.diff(share[rising]), 0.05, rtol=1e-6)  # straight, to the whole at a tenth
    assert 0 < share[0] < 0.05
    assert share[rising].max() < 0.99
    np.testing.assert_allclose(share[(done > 0.0995) & (done < 1)], 1)
    assert _rate(1) == 0


def test_reconstructors_learn_from_reals_only(store, tmp_path):
    with pytest.raises(WorkbookError, match="1 of the 13 faces are fakes"):
        train_reconstructors(store, np.arange(REALS + 1), tmp_path / "out", steps=1, progress=False)
    with pytest.raises(WorkbookError, match="no face"):
        train_reconstructors(store, [], tmp_path / "out", steps=1, progress=False)
    assert not (tmp_path / "out").exists()


def test_untrained_or_foreign_weights_are_a_clear_error(tmp_path):
    with pytest.raises(WorkbookError, match="Run the stage that trains"):
        load_reconstructors(tmp_path)
    for kind in ("ae", "sr"):
        save_file({"weight": torch.zeros(1)}, tmp_path / f"{kind}.safetensors")
    with pytest.raises(WorkbookError, match="not the weights"):
        load_reconstructors(tmp_path)


# --- the cache ----------------------------------------------------------------------------------------------------


class Darker(nn.Module):
    """Counts its faces, and fails at the first batch after `until` of them."""

    def __init__(self, until: int = 10**9):
        super().__init__()
        self.seen, self.until = 0, until

    def forward(self, faces: Tensor) -> Tensor:
        if self.seen >= self.until:
            raise KeyboardInterrupt
        self.seen += len(faces)
        return faces / 2 - 0.01


def test_the_cache_holds_what_the_networks_give_rounded_and_clipped(store, tmp_path):
    networks = {"ae": Darker(), "sr": small_reconstructors()["sr"]}
    rows = [9, 2, 5]
    made = reconstruct(store, rows, networks, tmp_path / "out", batch=2, progress=False)
    assert isinstance(made.pixels, np.memmap)
    for row in rows:
        face = store.faces[row]
        expected = np.clip(np.rint(face / 2.0 - 2.55), 0, 255)
        found = made.of(row)
        assert set(found) == {"ae", "sr"}
        assert found["ae"].dtype == np.uint8
        assert np.abs(found["ae"] - expected).max() <= 1  # float32 against float64 at a half
        assert (found["ae"] == expected).mean() > 0.95
        with torch.no_grad():
            alone = (255 * networks["sr"](tensor(face[None]))).round().clamp(0, 255)[0].permute(1, 2, 0)
        assert np.abs(found["sr"] - alone.numpy()).max() <= 1


def test_the_cache_lies_beside_the_store_and_is_opened_again(store):
    made = reconstruct(store, [1, 3], small_reconstructors(), progress=False)
    assert made.path == beside(store)
    assert made.path.parent == store.path.parent
    opened = Reconstructions.open(beside(store), store)
    np.testing.assert_array_equal(opened.pixels, made.pixels)
    assert sorted(path.name for path in made.path.parent.iterdir()) == ["faces", "faces-reconstructions"]


def test_a_worker_is_sent_the_path_and_not_the_pixels(store):
    made = reconstruct(store, range(10), small_reconstructors(), progress=False)
    sent = pickle.dumps(made)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent).of(7)["sr"], made.of(7)["sr"])  # noqa: S301


@pytest.mark.parametrize(("save_every", "left"), [(1, 2), (3, 4)])
def test_killed_and_started_again_it_goes_on_and_ends_the_same(store, tmp_path, save_every, left):
    whole = reconstruct(store, range(10), {"ae": Darker()}, tmp_path / "whole", batch=2, progress=False)
    out, killed, again = tmp_path / "out", Darker(until=7), Darker()
    with pytest.raises(KeyboardInterrupt):
        reconstruct(store, range(10), {"ae": killed}, out, batch=2, save_every=save_every, progress=False)
    assert not out.exists()
    made = reconstruct(store, range(10), {"ae": again}, out, batch=2, progress=False)
    np.testing.assert_array_equal(made.pixels, whole.pixels)
    assert (killed.seen, again.seen) == (8, left)
    assert not list(tmp_path.glob(".*"))


def test_contents_are_named_by_the_first_64_bits_of_their_hash():
    assert _digest(b"") == hashlib.sha256().hexdigest()[:16] == "e3b0c44298fc1c14"


def test_a_state_of_other_faces_or_networks_is_not_continued(store, tmp_path):
    def kill(rows, network):
        with pytest.raises(KeyboardInterrupt):
            reconstruct(store, rows, {"ae": network}, tmp_path / "out", batch=2, save_every=1, progress=False)

    kill(range(10), Darker(until=4))
    other = Darker()
    other.register_buffer("weight", torch.ones(1))
    reconstruct(store, range(10), {"ae": other}, tmp_path / "out", batch=2, progress=False)
    assert other.seen == 10
    kill(range(10), Darker(until=4))
    fresh = Darker()
    reconstruct(store, range(2, 12), {"ae": fresh}, tmp_path / "out", batch=2, progress=False)
    assert fresh.seen == 10


def test_reconstructions_of_other_faces_are_refused(store, tmp_path, image, landmarks):
    reconstruct(store, [0, 1], {"ae": Darker()}, tmp_path / "out", progress=False)
    changed = store_of(tmp_path / "changed", image, landmarks * 1.01)
    with pytest.raises(WorkbookError, match="other faces"):
        Reconstructions.open(tmp_path / "out", changed)
    with pytest.raises(WorkbookError, match="no reconstructions"):
        Reconstructions.open(tmp_path / "nowhere")
    with pytest.raises(WorkbookError, match="face 5 was not reconstructed"):
        Reconstructions.open(tmp_path / "out", store).of(5)


def test_pseudo_fakes_are_made_from_the_cache(store, tmp_path):
    made = reconstruct(store, range(3), {"ae": Darker(), "sr": Darker()}, tmp_path / "out", progress=False)
    landmarks = store.landmarks()
    pair = FiaUsa(32, None)(store.faces[2], landmarks[2], np.random.default_rng(0), reconstructions=made.of(2))
    assert pair.fake.shape == (32, 32, 3)


# --- the paper's own ----------------------------------------------------------------------------------------------


def test_absent_files_are_a_clear_error(tmp_path):
    with pytest.raises(WorkbookError, match=r"config\.json"):
        kl_autoencoder(tmp_path)
    with pytest.raises(WorkbookError, match="Convert"):
        restorer(tmp_path / "GFPGANv1.4.safetensors")
    (tmp_path / "GFPGANv1.4.pth").write_bytes(b"a pickle")
    with pytest.raises(WorkbookError, match="Convert"):
        restorer(tmp_path / "GFPGANv1.4.pth")


@pytest.mark.parametrize("package", ["diffusers", "spandrel"])
def test_an_absent_package_is_a_clear_error(package, tmp_path, monkeypatch):
    def absent(name: str) -> types.ModuleType:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(reconstruct_pretrained.importlib, "import_module", absent)
    (tmp_path / "config.json").write_text("{}")
    save_file({"weight": torch.zeros(1)}, tmp_path / "weights.safetensors")
    load = kl_autoencoder if package == "diffusers" else restorer
    with pytest.raises(WorkbookError, match=f"{package} is not installed.*extra `paper`"):
        load(tmp_path if package == "diffusers" else tmp_path / "weights.safetensors")


class Identity(nn.Module):
    """Stands for a network of either package that returns what it gets, and notes its range and size."""

    def forward(self, x: Tensor, **options) -> tuple[Tensor]:
        self.options, self.range, self.size = options, (x.min().item(), x.max().item()), x.shape[-2:]
        return (x,)


def test_gfpgan_gets_512_pixels_in_minus_one_to_one_and_no_noise():
    network = Identity()
    descriptor = types.SimpleNamespace(model=network, architecture=types.SimpleNamespace(id="GFPGAN"))
    faces = torch.linspace(0, 1, 16).view(1, 1, 1, 16).expand(2, 3, 16, 16)
    restored = Restorer(descriptor)(faces)
    assert network.range == pytest.approx((-1, 1), abs=0.05)  # bicubic overshoots at the ends
    assert network.size == (512, 512)
    assert network.options == {"return_rgb": False, "randomize_noise": False}
    torch.testing.assert_close(restored, faces, atol=0.02, rtol=0)


def test_a_kl_autoencoder_gets_faces_in_minus_one_to_one_at_a_multiple_of_its_reduction():
    network = Identity()
    network.config = types.SimpleNamespace(block_out_channels=(8, 8, 8))  # halves twice
    network.encode = lambda x: types.SimpleNamespace(latent_dist=types.SimpleNamespace(mode=lambda: network(x)[0]))
    network.decode = lambda code: types.SimpleNamespace(sample=code)
    faces = torch.linspace(0, 1, 17).view(1, 1, 1, 17).expand(2, 3, 15, 17)
    torch.testing.assert_close(KlAutoencoder(network)(faces), faces)
    assert network.range == (-1, 1)
    assert network.size == (16, 20)


needs = {
    name: pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is an optional extra")
    for name in ("diffusers", "spandrel")
}


@needs["diffusers"]
def test_a_kl_autoencoder_is_read_and_repeatable(tmp_path):
    from diffusers import AutoencoderKL

    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    AutoencoderKL(**blocks, block_out_channels=(8, 8), norm_num_groups=4).save_pretrained(tmp_path)
    network, faces = kl_autoencoder(tmp_path), torch.rand(2, 3, 17, 17)
    with torch.no_grad():
        assert network(faces).shape == faces.shape
        assert torch.equal(network(faces), network(faces))
        expected = network.network(2 * faces[..., :16, :16] - 1).sample / 2 + 0.5
        torch.testing.assert_close(network(faces[..., :16, :16]), expected)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"damaged")
    with pytest.raises(WorkbookError, match="not an AutoencoderKL"):
        kl_autoencoder(tmp_path)


@needs["spandrel"]
def test_a_super_resolver_of_spandrel_gets_the_face_reduced_and_returns_it_in_its_size(tmp_path):
    from spandrel.architectures.Compact import Compact

    network = Compact(num_in_ch=3, num_out_ch=3, num_feat=8, num_conv=2, upscale=2)
    save_file(network.state_dict(), tmp_path / "x2.safetensors")
    faces = torch.rand(2, 3, 20, 20)
    with torch.no_grad():
        found = restorer(tmp_path / "x2.safetensors")(faces)
        half = functional.interpolate(faces, (10, 10), mode="bicubic", antialias=True, align_corners=False)
        torch.testing.assert_close(found, network(half).clamp(0, 1))
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WorkbookError, match="cannot use"):
        restorer(tmp_path / "other.safetensors")
