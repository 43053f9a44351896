"""What a network costs, against counts by hand."""

from torch import nn

from dfrepro.evaluate.cost import cost, seconds


def test_parameters_and_operations_of_a_small_network_are_those_counted_by_hand():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(4 * 8 * 8, 2))
    network[2].bias.requires_grad_(False)
    found = cost(network.train(), 8)
    assert (found.parameters, found.trainable) == (3 * 4 * 9 + 256 * 2 + 2, 3 * 4 * 9 + 256 * 2)
    assert found.macs == 8 * 8 * 3 * 4 * 9 + 256 * 2
    assert network.training  # as it was


def test_each_work_is_called_once_more_than_it_is_timed_and_timed_ten_times_unless_told():
    calls, clock = [], iter(range(100))
    took = seconds({"a": lambda: calls.append("a")}, clock=lambda: float(next(clock)))
    assert (len(calls), took) == (11, {"a": [1.0] * 10})
