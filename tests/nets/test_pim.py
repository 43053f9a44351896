"""PIM: Eq. 6 to 9 against literal transcriptions, finite differences and closed forms."""

import pytest
import timm
import torch
from torch import nn

from dfrepro.errors import WorkbookError
from dfrepro.nets import pim as method
from dfrepro.nets.pim import EPS, PIM, Site, SiteHooks, default_sites, sites_of, step_along

SMALL_SWIN = {"img_size": 56, "embed_dim": 16, "depths": (2, 2), "num_heads": (1, 2)}
NETWORKS = {
    "test_convnext": ({}, 64),
    "test_resnet": ({}, 64),
    "test_efficientnet": ({}, 64),
    "test_vit": ({"img_size": 64}, 64),
    "legacy_xception": ({}, 71),
    "swin_tiny_patch4_window7_224": (SMALL_SWIN, 56),
}


def network(name: str) -> nn.Module:
    kwargs, _ = NETWORKS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return timm.create_model(name, num_classes=2, **kwargs).eval()


def images(name: str, n: int = 2) -> torch.Tensor:
    size = NETWORKS[name][1]
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def site_at(h: torch.Tensor, channels_last: bool = False, prefix: int = 0) -> Site:
    return Site("here", nn.Identity(), channels_last, prefix)


def inject(site: Site, h: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
    mu, sigma = site.statistics(h.detach())
    return method.inject(site, h, delta, mu, sigma)


def literal(h: torch.Tensor, delta_mu: torch.Tensor, delta_sigma: torch.Tensor) -> torch.Tensor:
    """Eq. 6 and 7 as printed, for h (B, C, H, W)."""
    mu = h.mean((2, 3), keepdim=True)
    sigma = (h.var((2, 3), keepdim=True, correction=0) + EPS).sqrt()
    n = (h - mu) / sigma
    return n * (sigma + delta_sigma.view(1, -1, 1, 1)) + (mu + delta_mu.view(1, -1, 1, 1))


# --- sites ----------------------------------------------------------------------------------------------------------


def test_default_sites_are_the_blocks_of_the_first_stage():
    assert default_sites(timm.create_model("convnext_base")) == tuple(f"stages.0.blocks.{i}" for i in range(3))
    assert default_sites(timm.create_model("resnet50")) == tuple(f"layer1.{i}" for i in range(3))
    assert default_sites(timm.create_model("efficientnet_b4")) == ("blocks.0", "blocks.1")
    assert default_sites(network("legacy_xception")) == ("block1", "block2")
    assert default_sites(network("test_vit")) == ("blocks.0", "blocks.1", "blocks.2")
    assert default_sites(network("swin_tiny_patch4_window7_224")) == ("layers.0.blocks.0", "layers.0.blocks.1")


def test_default_sites_have_the_channels_of_the_specification():
    for name, channels in (("resnet50", [256] * 3), ("efficientnet_b4", [24, 32]), ("convnext_base", [128] * 3)):
        net = timm.create_model(name, num_classes=2).eval()
        seen: list[int] = []
        hooks = SiteHooks(sites_of(net), lambda i, site, h, seen=seen: seen.append(h.shape[1]))
        with torch.no_grad():
            net(torch.rand(1, 3, 64, 64))
        hooks.remove()
        assert seen == channels


def test_default_sites_are_found_below_a_wrapper():
    wrapped = nn.ModuleDict({"backbone": network("test_resnet")})
    assert default_sites(wrapped)[0] == "backbone.layer1.0"


def test_a_network_of_unknown_build_is_refused_with_a_remedy():
    with pytest.raises(WorkbookError, match="sites"):
        default_sites(nn.Sequential(nn.Conv2d(3, 4, 3)))


def test_a_site_that_is_not_there_is_named():
    with pytest.raises(WorkbookError, match=r"layer9\.0"):
        PIM(network("test_resnet"), ["layer9.0"])


def test_a_site_without_a_tensor_is_refused():
    class Two(nn.Module):
        def forward(self, x):
            return x, x

    net = nn.Sequential(Two())
    with PIM(net, ["0"]), pytest.raises(WorkbookError, match="tuple"):
        net(torch.zeros(1, 3, 4, 4))


# --- Eq. 7 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_pim_is_identity_when_delta_is_zero(name):
    net, x = network(name), images(name)
    plain = net(x)
    with PIM(net) as pim, pim.recording():
        assert torch.equal(net(x), plain)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_shift_reaches_the_output_and_removal_leaves_no_trace(name):
    net, x = network(name), images(name)
    plain, names = net(x), list(net.state_dict())
    with PIM(net) as pim:
        with pim.recording():
            net(x).square().sum().backward(inputs=pim.leaves())
        with pim.shifted(step_along(pim.gammas(), r=1.0)):
            assert not torch.equal(net(x), plain)
        assert torch.equal(net(x), plain)  # idle
        assert list(net.state_dict()) == names
    assert torch.equal(net(x), plain)
    assert not any(module._forward_hooks for module in net.modules())


def test_the_folded_form_is_equation_7():
    h, delta = normal(3, 5, 4, 6), 0.1 * normal(2, 5, seed=1)
    site = site_at(h)
    torch.testing.assert_close(inject(site, h, delta), literal(h, *delta), rtol=1e-12, atol=1e-12)


def test_the_gradient_with_respect_to_the_features_is_that_of_equation_7():
    h, delta, up = normal(2, 3, 4, 4).requires_grad_(), 0.1 * normal(2, 3, seed=1), normal(2, 3, 4, 4, seed=2)
    site = site_at(h)
    (ours,) = torch.autograd.grad(inject(site, h, delta), h, up)
    (reference,) = torch.autograd.grad(literal(h, *delta), h, up)
    torch.testing.assert_close(ours, reference, rtol=1e-10, atol=1e-12)


def test_the_gradient_where_the_deviation_is_clamped_is_that_of_a_constant():
    h, up = normal(2, 3, 4, 4).requires_grad_(), normal(2, 3, 4, 4, seed=2)
    delta = torch.tensor([[0.1, 0.2, 0.3], [-9.0, 0.1, -9.0]]).double()
    (ours,) = torch.autograd.grad(inject(site_at(h), h, delta), h, up)
    mu = h.mean((2, 3), keepdim=True)
    sigma = (h.var((2, 3), keepdim=True, correction=0) + EPS).sqrt()
    clamped = (h - mu) / sigma * (sigma + delta[1].view(1, -1, 1, 1)).clamp_min(0) + mu + delta[0].view(1, -1, 1, 1)
    (reference,) = torch.autograd.grad(clamped, h, up)
    torch.testing.assert_close(ours, reference, rtol=1e-10, atol=1e-12)


def test_a_shifted_feature_has_the_shifted_statistics():
    h = normal(3, 5, 32, 32)
    delta = torch.stack([torch.full((5,), 0.7), torch.full((5,), 0.25)]).double()
    site = site_at(h)
    shifted = inject(site, h, delta)
    torch.testing.assert_close(shifted.mean((2, 3)), h.mean((2, 3)) + 0.7)
    deviations = [x.std((2, 3), correction=0) for x in (shifted, h)]
    torch.testing.assert_close(deviations[0], deviations[1] + 0.25, rtol=1e-5, atol=1e-5)  # EPS under the root


def test_a_deviation_never_turns_negative():
    h = normal(2, 3, 8, 8)
    site = site_at(h)
    delta = torch.stack([torch.zeros(3), torch.full((3,), -100.0)]).double()
    shifted = inject(site, h, delta)
    torch.testing.assert_close(shifted, h.mean((2, 3), keepdim=True).expand_as(h))


def test_a_dead_channel_stays_finite():
    h = torch.zeros(2, 3, 8, 8, requires_grad=True)
    site = site_at(h)
    shifted = inject(site, h, torch.full((2, 3), 0.05))
    shifted.square().sum().backward()
    assert shifted.isfinite().all()
    assert h.grad.isfinite().all()


def test_channels_last_maps_and_tokens_are_shifted_like_maps():
    h, delta = normal(2, 5, 4, 6), 0.1 * normal(2, 5, seed=1)
    expected = literal(h, *delta)
    for layout, back, site in (
        (h.permute(0, 2, 3, 1), lambda x: x.permute(0, 3, 1, 2), site_at(h, channels_last=True)),
        (h.flatten(2).transpose(1, 2), lambda x: x.transpose(1, 2).unflatten(2, (4, 6)), site_at(h)),
    ):
        shifted = inject(site, layout, delta)
        torch.testing.assert_close(back(shifted), expected, rtol=1e-12, atol=1e-12)


def test_the_layout_is_read_from_the_network():
    vit, swin = sites_of(network("test_vit")), sites_of(network("swin_tiny_patch4_window7_224"))
    assert [site.prefix for site in vit] == [1, 1, 1]
    assert all(site.channels_last for site in swin)
    assert not any(site.channels_last for site in sites_of(network("test_resnet")))


def test_the_class_token_is_no_position():
    net = network("test_vit")
    seen = []
    hooks = SiteHooks(sites_of(net, ["blocks.0"]), lambda i, site, h: h + 1)
    net.blocks[0].register_forward_hook(lambda module, inputs, output: seen.append(output))
    plain = network("test_vit")
    plain.blocks[0].register_forward_hook(lambda module, inputs, output: seen.append(output))
    net(images("test_vit")), plain(images("test_vit"))
    hooks.remove()
    torch.testing.assert_close(seen[0][:, 0], seen[1][:, 0], rtol=0, atol=0)
    torch.testing.assert_close(seen[0][:, 1:], seen[1][:, 1:] + 1)


# --- γ and Δ --------------------------------------------------------------------------------------------------------


class Shallow(nn.Module):
    """Two convolutions and a head in float64; `extra` is added as Eq. 7 does after the first."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.second = nn.Conv2d(3, 4, 3).double(), nn.Conv2d(4, 5, 3).double()
            self.head = nn.Linear(5, 2).double()

    def forward(self, x, extra=None):
        h = self.first(x).tanh()
        h = self.second(h if extra is None else literal(h, *extra)).tanh()
        return self.head(h.mean((2, 3)))


class Taken(nn.Module):
    """`Shallow` with the activation as a module, so that it can be a site."""

    def __init__(self, net):
        super().__init__()
        self.net, self.site = net, nn.Tanh()

    def forward(self, x):
        return self.net.head(self.net.second(self.site(self.net.first(x))).tanh().mean((2, 3)))


def test_gamma_is_the_derivative_by_finite_differences():
    net, x, y = Shallow(), normal(6, 3, 9, 9), torch.tensor([0, 1, 0, 1, 1, 0])
    cross_entropy = nn.functional.cross_entropy
    taken = Taken(net)
    with PIM(taken, ["site"]) as pim, pim.recording():
        cross_entropy(taken(x), y).backward(inputs=pim.leaves())
        (gamma,) = pim.gammas()  # (2, 4)
    step = 1e-5
    with torch.no_grad():
        for place in range(gamma.numel()):
            extra = torch.zeros(gamma.numel(), dtype=torch.float64)
            extra[place] = step
            up, down = (cross_entropy(net(x, sign * extra.view(2, -1)), y) for sign in (1, -1))
            slope = float((up - down) / (2 * step))
            assert float(gamma.flatten()[place]) == pytest.approx(slope, rel=1e-6, abs=1e-9)


def test_gamma_has_its_closed_form():
    """γ_μ[c] = Σ ∂L/∂h′ and γ_σ[c] = Σ n ∂L/∂h′ over images and positions (PIM, Eq. 9)."""
    h, up = normal(4, 3, 5, 5), normal(4, 3, 5, 5, seed=1)
    module = nn.Identity()
    net = nn.Sequential(module)
    with PIM(net, ["0"]) as pim, pim.recording():
        (net(h) * up).sum().backward(inputs=pim.leaves())
        (gamma,) = pim.gammas()
    mu, sigma = h.mean((2, 3), keepdim=True), (h.var((2, 3), keepdim=True, correction=0) + EPS).sqrt()
    expected = torch.stack([up.sum((0, 2, 3)), ((h - mu) / sigma * up).sum((0, 2, 3))])
    torch.testing.assert_close(gamma, expected, rtol=1e-12, atol=1e-12)


def test_differentiating_by_mu_and_sigma_themselves_is_a_trap():
    """Where μ and σ also stand in the normalisation they cancel, and their gradient is rounding (nets/pim.py)."""
    net, x, y = Shallow(), normal(6, 3, 9, 9), torch.tensor([0, 1, 0, 1, 1, 0])
    h = net.first(x).tanh().detach()
    mu = h.mean((2, 3), keepdim=True).requires_grad_()
    sigma = (h.var((2, 3), keepdim=True, correction=0) + EPS).sqrt().requires_grad_()
    rebuilt = (h - mu) / sigma * sigma + mu
    loss = nn.functional.cross_entropy(net.head(net.second(rebuilt).tanh().mean((2, 3))), y)
    wrong = torch.cat([part.flatten() for part in torch.autograd.grad(loss, (mu, sigma))])
    taken = Taken(net)
    with PIM(taken, ["site"]) as pim, pim.recording():
        nn.functional.cross_entropy(taken(x), y).backward(inputs=pim.leaves())
        (gamma,) = pim.gammas()
    assert wrong.norm() < 1e-12
    assert gamma.norm() > 1e-4


def test_delta_has_the_joint_norm_r_along_gamma():
    gammas = [normal(2, 3), 5 * normal(2, 7, seed=1)]
    deltas = step_along(gammas, r=0.1)
    flat, along = (torch.cat([part.flatten() for part in parts]) for parts in (deltas, gammas))
    assert float(flat.norm()) == pytest.approx(0.1, rel=1e-12)
    assert float(flat @ along) == pytest.approx(float(0.1 * along.norm()), rel=1e-12)


def test_delta_per_site_has_norm_r_at_every_site():
    deltas = step_along([normal(2, 3), 5 * normal(2, 7, seed=1)], r=0.1, per_site=True)
    assert [float(delta.norm()) for delta in deltas] == pytest.approx([0.1, 0.1], rel=1e-12)


def test_no_gradient_means_no_perturbation():
    (delta,) = step_along([torch.zeros(2, 4)], r=0.1)
    assert not delta.any()


def test_delta_is_shared_by_the_batch():
    """γ of a batch is the sum of its images' γ, not one Δ an image."""
    net, x = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(48, 1)).double(), normal(3, 3, 4, 4)
    found = []
    for part in (x, *x.split(1)):
        with PIM(net, ["0"]) as pim, pim.recording():
            net(part).sum().backward(inputs=pim.leaves())
            found += pim.gammas()
    assert found[0].shape == (2, 3)
    torch.testing.assert_close(found[0], found[1] + found[2] + found[3])


def test_the_strength_of_delta_is_relative_to_the_mean_deviation_and_counts_the_least():
    """Two images of deviations 1 and 3, a channel of each kind: clamping begins at the least."""
    texture = torch.tensor([-1.0, 1.0], dtype=torch.float64).repeat(8).view(4, 4)
    h = torch.stack([texture * scale for scale in (1, 3, 3, 1)]).view(2, 2, 4, 4)
    net = nn.Sequential(nn.Identity())
    delta = torch.tensor([[0, 0], [0.5, -1.5]], dtype=torch.float64)
    with PIM(net, ["0"]) as pim:
        with pim.recording():
            net(h)
        found = pim.strength([delta])
    assert float(found["delta_sigma"]) == pytest.approx((0.5 / 2 + 1.5 / 2) / 2, rel=1e-4)  # EPS under the root
    assert float(found["sigma_min"]) == pytest.approx(1 - 1.5, rel=1e-3)


def test_a_site_that_is_never_reached_is_named():
    net = nn.ModuleDict({"used": nn.Identity(), "unused": nn.Identity()})
    with PIM(net, ["unused"]) as pim, pim.recording(), pytest.raises(WorkbookError, match="unused"):
        net["used"](torch.zeros(1))
        pim.leaves()
