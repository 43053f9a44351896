"""The step rule against textbook steps written here, finite differences and what Eq. 14 promises."""

from collections import Counter

import pytest
import timm
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.nn.functional import cross_entropy

from dfrepro.nets.detector import Output
from dfrepro.nets.pim import PIM, step_along
from dfrepro.train.steps import Step, StepRule, norm_of

RULES = {
    "erm": StepRule(),
    "pim": StepRule(alpha=1.0),
    "sam": StepRule(beta=1.0),
    "half": StepRule(alpha=0.5),
    "dual": StepRule(alpha=0.5, beta=0.5),
    "mix": StepRule(alpha=0.4, beta=0.3),
}


class Net(nn.Module):
    """A timm network in the detectors' interface."""

    def __init__(self, name="test_resnet", **kwargs):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = timm.create_model(name, num_classes=2, **kwargs)

    def forward(self, x):
        logits = self.net(x)
        return Output(logits, logits, logits)


def convnext() -> Net:
    return Net("test_convnext").double()  # layer norm: nothing in it depends on how a batch is split


def loss_fn(model, batch):
    return cross_entropy(model(batch["image"]).logits, batch["label"]), {}


def batch_of(n=8, size=32, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {"image": torch.rand(n, 3, size, size, generator=generator).to(dtype), "label": torch.arange(n) % 2}


def gradient(net, rule, batches, loss=loss_fn, index=0, **fabric):
    """g by name, and the values of the step."""
    runner = Fabric(accelerator="cpu", devices=1, **fabric)
    with Step(rule, runner, runner.setup_module(net)) as step:
        stats = step(loss, batches, index)
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}, stats


def train(net, rule, steps=3, **fabric):
    """Weights after `steps` steps of SGD with momentum."""
    runner = Fabric(accelerator="cpu", devices=1, **fabric)
    model, optimizer = runner.setup(net, torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9))
    with Step(rule, runner, model) as step:
        for index in range(steps):
            step(loss_fn, [batch_of(seed=index)], index)
            optimizer.step()
    return net.state_dict()


def assert_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


# --- special cases, to the last bit ---------------------------------------------------------------------------------


def test_weights_of_zero_are_plain_sgd_to_the_last_bit():
    plain = Net()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9)
    for index in range(3):
        optimizer.zero_grad()
        loss_fn(plain, batch_of(seed=index))[0].backward()
        optimizer.step()
    assert_equal(train(Net(), StepRule(0.0, 0.0)), plain.state_dict())


def test_beta_one_is_a_textbook_sam_step_to_the_last_bit():
    """Foret et al., Alg. 1, without dropout; batch-norm's statistics are not compared (see the test on them)."""
    net, rho = Net(), 0.05
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for index in range(3):
        batch = batch_of(seed=index)
        optimizer.zero_grad()
        loss_fn(net, batch)[0].backward()
        with torch.no_grad():
            old = [p.clone() for p in net.parameters()]
            norm = torch.stack([p.grad.norm() for p in net.parameters()]).norm()
            for p in net.parameters():
                p.add_(p.grad * (rho / (norm + 1e-12)))
        optimizer.zero_grad()
        loss_fn(net, batch)[0].backward()
        with torch.no_grad():
            for p, was in zip(net.parameters(), old):
                p.copy_(was)
        optimizer.step()
    ours = train(Net(), StepRule(beta=1.0, r_prime=rho))
    assert all(torch.equal(ours[name], p) for name, p in net.named_parameters())


def test_alpha_one_is_algorithm_1_of_the_paper():
    net, batch, r = convnext(), batch_of(dtype=torch.float64), 0.1
    with PIM(net) as pim:
        with pim.recording():
            loss_fn(net, batch)[0].backward()
        deltas = step_along(pim.gammas(), r)
        net.zero_grad()
        with pim.shifted(deltas):
            loss_fn(net, batch)[0].backward()
    reference = {name: p.grad for name, p in net.named_parameters()}
    assert_equal(gradient(convnext(), StepRule(alpha=1.0, r=r), [batch])[0], reference)


def test_weights_are_what_they_were_after_every_rule():
    for rule in RULES.values():
        net = Net()
        before = {name: p.clone() for name, p in net.named_parameters()}
        gradient(net, rule, [batch_of()])
        assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())


# --- Eq. 10 to 14 ---------------------------------------------------------------------------------------------------


def test_the_loss_rises_by_r_times_the_norm_of_gamma_as_r_vanishes():
    """Eq. 10-11: (L2 − L1) / r → ‖γ‖, with an error of first order in r."""
    net, batch = convnext(), batch_of(dtype=torch.float64)
    errors = []
    with PIM(net) as pim, torch.enable_grad():
        with pim.recording():
            first = loss_fn(net, batch)[0]
            first.backward(inputs=pim.leaves())
        gammas = pim.gammas()
        norm = float(norm_of(gammas))
        for r in (1e-2, 1e-3, 1e-4):
            with pim.shifted(step_along(gammas, r)):
                second = loss_fn(net, batch)[0]
            errors.append(abs((second - first).item() / r - norm) / norm)
    assert errors[-1] < 1e-3
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.3)
    assert errors[1] / errors[2] == pytest.approx(10, rel=0.3)


def test_the_gradient_is_linear_in_alpha_and_beta():
    batch = batch_of(dtype=torch.float64)
    g1, g2, g3 = (gradient(convnext(), RULES[name], [batch])[0] for name in ("erm", "pim", "sam"))
    for alpha, beta in ((0.4, 0.3), (0.8, 0.2), (0.25, 0.0), (0.0, 0.6)):
        g = gradient(convnext(), StepRule(alpha, beta), [batch])[0]
        for name in g:
            expected = (1 - alpha - beta) * g1[name] + alpha * g2[name] + beta * g3[name]
            torch.testing.assert_close(g[name], expected, rtol=1e-9, atol=1e-13)


def test_the_terms_differ_so_that_linearity_means_something():
    batch = batch_of(dtype=torch.float64)
    g1, g2, g3 = (gradient(convnext(), RULES[name], [batch])[0] for name in ("erm", "pim", "sam"))
    for a, b in ((g1, g2), (g1, g3), (g2, g3)):
        assert norm_of([a[name] - b[name] for name in a]) > 1e-3 * norm_of(list(a.values()))


def test_sam_climbs_by_r_prime_along_the_gradient():
    net, batch = convnext(), batch_of(dtype=torch.float64)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    places = []

    def watching(model, batch):
        places.append({name: p.detach().clone() for name, p in net.named_parameters()})
        return loss_fn(model, batch)

    g1 = gradient(convnext(), StepRule(), [batch])[0]
    gradient(net, StepRule(beta=1.0, r_prime=0.05), [batch], watching)
    moved = {name: places[1][name] - before[name] for name in before}
    assert float(norm_of(list(moved.values()))) == pytest.approx(0.05, rel=1e-9)
    norm = norm_of(list(g1.values()))
    for name in g1:
        torch.testing.assert_close(moved[name], 0.05 * g1[name] / norm, rtol=1e-6, atol=1e-12)


def test_the_values_of_a_step_are_the_loss_at_theta_and_gammas_norm():
    net, batch = convnext(), batch_of(dtype=torch.float64)
    with PIM(net) as pim, pim.recording():
        loss = loss_fn(net, batch)[0]
        loss.backward(inputs=pim.leaves())
        norm = norm_of(pim.gammas())
    stats = gradient(convnext(), RULES["mix"], [batch])[1]
    assert float(stats["loss"]) == pytest.approx(loss.item(), rel=1e-12)
    assert float(stats["gamma"]) == pytest.approx(float(norm), rel=1e-12)
    assert 0 < float(stats["delta_sigma"]) < 1
    assert float(stats["sigma_min"]) > 0
    assert all(value.ndim == 0 and not value.requires_grad for value in stats.values())


@pytest.mark.parametrize(("alpha", "beta"), [(-0.1, 0), (0, 1.1), (0.7, 0.4), (float("nan"), 0)])
def test_weights_outside_the_simplex_are_refused(alpha, beta):
    with pytest.raises(ValueError, match="StepRule"):
        StepRule(alpha, beta)


def test_weights_that_sum_to_one_in_decimal_leave_nothing_for_g1():
    assert StepRule(0.8, 0.2).plain == 0
    assert StepRule(0.7, 0.3).plain == 0
    assert StepRule(0.5, 0.2).plain == pytest.approx(0.3)


# --- what is computed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "forwards", "backwards"),
    [("erm", 1, 1), ("pim", 2, 1), ("sam", 2, 2), ("half", 2, 2), ("dual", 3, 3), ("mix", 3, 3)],
)
def test_a_term_of_weight_zero_is_not_computed(name, forwards, backwards):
    """`backwards`: how often a weight's gradient is computed; PIM's first pass computes none."""
    net, counts = Net(), Counter()
    net.register_forward_hook(lambda *_: counts.update(["forward"]))
    net.net.conv1[0].weight.register_hook(lambda _: counts.update(["backward"]))
    gradient(net, RULES[name], [batch_of()])
    assert counts == {"forward": forwards, "backward": backwards}


@pytest.mark.parametrize("name", RULES)
def test_batch_norm_moves_once_a_step_and_by_clean_features(name):
    reference, net = Net(), Net()
    loss_fn(reference, batch_of())
    gradient(net, RULES[name], [batch_of()])
    buffers = dict(reference.named_buffers())
    assert int(buffers["net.bn1.num_batches_tracked"]) == 1
    assert_equal(dict(net.named_buffers()), buffers)
    assert all(m.track_running_stats for m in net.modules() if isinstance(m, nn.BatchNorm2d))


def test_frozen_batch_norm_stays_frozen():
    net = Net()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    gradient(net, RULES["mix"], [batch_of()])
    assert_equal(dict(net.named_buffers()), before)


def dropping() -> Net:
    return Net("test_convnext", drop_rate=0.5, drop_path_rate=0.5).train()


NOTHING = 1e-30  # a radius above zero that moves no 32-bit number


@pytest.mark.parametrize(
    "rule",
    [StepRule(alpha=1.0, r=NOTHING), StepRule(beta=1.0, r_prime=NOTHING), StepRule(0.4, 0.3, NOTHING, NOTHING)],
)
def test_dropout_and_drop_path_are_the_same_in_all_evaluations(rule):
    """With radii of nothing the evaluations differ in nothing but their draws: g is g1."""
    torch.manual_seed(5)
    g1 = gradient(dropping(), StepRule(), [batch_of()])[0]
    after = torch.rand(4)
    torch.manual_seed(5)
    g = gradient(dropping(), rule, [batch_of()])[0]
    assert torch.equal(torch.rand(4), after)  # and a step uses up as many draws as a plain one
    for name in g1:
        torch.testing.assert_close(g[name], g1[name], rtol=1e-5, atol=1e-7)
    torch.manual_seed(6)
    other = gradient(dropping(), StepRule(), [batch_of()])[0]
    assert any(not torch.allclose(other[name], g1[name], rtol=1e-2) for name in g1)


@pytest.mark.parametrize("name", RULES)
def test_micro_batches_give_the_gradient_of_the_joint_batch(name):
    batch = batch_of(dtype=torch.float64)
    halves = [{key: value[part] for key, value in batch.items()} for part in (slice(0, 4), slice(4, 8))]
    whole, stats = gradient(convnext(), RULES[name], [batch])
    split, split_stats = gradient(convnext(), RULES[name], halves)
    for key in whole:
        torch.testing.assert_close(split[key], whole[key], rtol=1e-8, atol=1e-13)
    for key in stats.keys() - {"delta_sigma", "sigma_min"}:  # those two are the last micro-batch's
        torch.testing.assert_close(split_stats[key], stats[key], rtol=1e-9, atol=0)


def test_micro_batches_keep_their_own_draws():
    halves = [batch_of(4, seed=1), batch_of(4, seed=2)]
    torch.manual_seed(5)
    g1 = gradient(dropping(), StepRule(), halves)[0]
    torch.manual_seed(5)
    g = gradient(dropping(), StepRule(0.4, 0.3, NOTHING, NOTHING), halves)[0]
    for name in g1:
        torch.testing.assert_close(g[name], g1[name], rtol=1e-4, atol=1e-6)


def test_parameters_that_do_not_train_are_left_alone():
    net = Net()
    for parameter in net.net.conv1.parameters():
        parameter.requires_grad_(False)
    g = gradient(net, RULES["mix"], [batch_of()])[0]
    assert g
    assert not any(name.startswith("net.conv1") for name in g)


# --- directions -----------------------------------------------------------------------------------------------------


def test_the_random_control_has_the_same_norm_and_another_direction():
    gammas = [torch.randn(2, 8, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    rule = StepRule(alpha=1.0, r=0.1, direction="random", seed=3)
    first, again, later = rule.deltas(gammas, 0), rule.deltas(gammas, 0), rule.deltas(gammas, 1)
    other = StepRule(alpha=1.0, direction="random", seed=4).deltas(gammas, 0)
    along = StepRule(alpha=1.0, r=0.1).deltas(gammas, 0)
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not torch.equal(first[0], later[0])
    assert not torch.equal(first[0], other[0])
    assert float(norm_of(first)) == pytest.approx(0.1, rel=1e-5)
    cosine = sum(float((a * b).sum()) for a, b in zip(first, along)) / 0.01
    assert abs(cosine) < 0.7


# --- precision ------------------------------------------------------------------------------------------------------


def test_mixed_precision_keeps_gamma_and_delta_in_float32():
    seen = []

    class Watching(StepRule):
        def deltas(self, gammas, index):
            deltas = super().deltas(gammas, index)
            seen.extend([*gammas, *deltas])
            return deltas

    batch = batch_of()
    exact, stats = gradient(Net("test_convnext"), RULES["mix"], [batch])
    rough, rough_stats = gradient(Net("test_convnext"), Watching(0.4, 0.3), [batch], precision="bf16-mixed")
    assert {tensor.dtype for tensor in seen} == {torch.float32}
    assert float(norm_of(seen[len(seen) // 2 :])) == pytest.approx(0.1, rel=1e-5)
    assert float(rough_stats["gamma"]) == pytest.approx(float(stats["gamma"]), rel=0.1)
    difference = norm_of([rough[name] - exact[name] for name in exact])
    assert 0 < difference < 0.1 * norm_of(list(exact.values()))
