"""What a network costs, against counts by hand."""

from torch import nn

from dfrepro.evaluate.cost import cost


def test_parameters_and_operations_of_a_small_network_are_those_counted_by_hand():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(4 * 8 * 8, 2))
    network[2].bias.requires_grad_(False)
    found = cost(network.train(), 8)
    assert (found.parameters, found.trainable) == (3 * 4 * 9 + 256 * 2 + 2, 3 * 4 * 9 + 256 * 2)
    assert found.macs == 8 * 8 * 3 * 4 * 9 + 256 * 2
    assert network.training  # as it was
