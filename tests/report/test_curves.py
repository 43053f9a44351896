"""How soon a training reaches the AUC that a baseline ends with, from planted histories."""

import numpy as np
import pandas as pd
import pytest

from dfrepro.report.curves import share_to


def history(*validation: float | None, steps: int = 10) -> pd.DataFrame:
    """One row an epoch of that many steps; None: no look after it."""
    epochs = np.arange(1, len(validation) + 1)
    return pd.DataFrame({"epoch": epochs, "step": steps * epochs, "validation": np.array(validation, float)})


BASELINE = history(0.5, None, 0.6, None, 0.8, 0.7)  # ends with .70 after 60 steps


@pytest.mark.parametrize(("arm", "share"), [
    (history(0.7, 0.6, 0.6), 10 / 60),  # not below is reached; what comes after does not matter
    (history(None, 0.5, None, 0.9), 40 / 60),
    (history(0.5, 0.75, steps=45), 90 / 60),  # its own steps count, not its epochs
    (BASELINE, 50 / 60),  # the baseline's own way to its end
])  # fmt: skip
def test_the_steps_of_the_first_look_that_reaches_what_the_baseline_ends_with(arm, share):
    assert share_to(arm, BASELINE) == pytest.approx(share)


@pytest.mark.parametrize(("arm", "share"), [
    (history(0.6), 1.0),  # stopped early: at least as many steps as the baseline took
    (history(*[0.6] * 6), 1.0), (history(*[0.6] * 9), 1.5),
])  # fmt: skip
def test_where_it_is_never_reached_the_longer_training_counts_so_that_stopping_early_wins_nothing(arm, share):
    assert share_to(arm, BASELINE) == pytest.approx(share)


def test_without_a_look_at_validation_there_is_no_number():
    for blind in (BASELINE.drop(columns="validation"), history(None, None)):
        assert share_to(blind, BASELINE) is None
        assert share_to(BASELINE, blind) is None
