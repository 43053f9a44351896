"""What the bench measures a step against does the same work."""

import torch

from bench import steps
from dfrepro.nets.detector import Backbone, build_detector

SMALL = Backbone("test_convnext", 32)  # without batch norm, whose statistics the published step moves twice


def test_the_published_step_of_sam_takes_the_weights_where_ours_does():
    begun, ours, theirs = (build_detector(SMALL, seed=0) for _ in range(3))
    take = steps.stepper(SMALL, batch=4, rule=steps.RULES["sam"], network=ours)
    published = steps.published_sam(SMALL, batch=4, network=theirs)
    for _ in range(3):
        take()
        published()
    moved = 0.0
    for start, one, other in zip(begun.parameters(), ours.parameters(), theirs.parameters()):
        torch.testing.assert_close(one.cpu(), other.cpu(), rtol=1e-4, atol=1e-6)
        moved += float((one.cpu() - start).detach().abs().sum())
    assert moved > 0.01
