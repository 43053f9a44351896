"""How soon a training reaches the AUC that a baseline ends with."""

import pandas as pd
import pytest

from dfrepro.report.curves import share_to


def looks(**aucs: float) -> pd.Series:
    """looks(_20=.5): the AUC after 20 steps."""
    return pd.Series({int(step[1:]): auc for step, auc in aucs.items()})


BASELINE = looks(_10=0.5, _30=0.6, _50=0.8, _60=0.7)  # ends with .70 after 60 steps


@pytest.mark.parametrize(("arm", "share"), [
    (looks(_10=0.7, _20=0.6, _60=0.6), 10 / 60),  # not below is reached; what comes after does not matter
    (looks(_20=0.5, _40=0.9), 40 / 60),
    (looks(_45=0.5, _90=0.75), 90 / 60),  # its own steps count
    (BASELINE, 50 / 60),  # the baseline's own way to its end
])  # fmt: skip
def test_the_steps_of_the_first_look_that_reaches_what_the_baseline_ends_with(arm, share):
    assert share_to(arm, BASELINE) == pytest.approx(share)


@pytest.mark.parametrize(("arm", "share"), [
    (looks(_10=0.6), 1.0),  # stopped early: at least as many steps as the baseline took
    (looks(_30=0.6, _60=0.65), 1.0), (looks(_90=0.6), 1.5),
])  # fmt: skip
def test_where_it_is_never_reached_the_longer_training_counts_so_that_stopping_early_wins_nothing(arm, share):
    assert share_to(arm, BASELINE) == pytest.approx(share)
