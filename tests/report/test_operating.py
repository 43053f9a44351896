"""Thresholds from validation, what is found at them, and the calibration curve: against scikit-learn and by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_curve

from dfrepro.evaluate.metrics import BINS, value
from dfrepro.report.operating import places_of, points, reliability, threshold


def scores(n: int = 200, seed: int = 0, shift: float = 1.5, methods=("A", "B")) -> pd.DataFrame:
    """`n` reals and `n` fakes of each method, a frame and a person each."""
    rng = np.random.default_rng(seed)
    rows = [
        ("cdfv2", method, f"{method}{i}", 0, int(method != "real"), rng.normal(shift * (method != "real"), 1),
         f"p{i}")
        for method in ("real", *methods) for i in range(n)
    ]  # fmt: skip
    columns = ["dataset", "manipulation", "video", "frame", "label", "margin", "identity"]
    table = pd.DataFrame(rows, columns=columns).round({"margin": 6})  # as means of videos are rounded
    return table.assign(source="", condition="clean", run="r", seed=seed)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
def test_a_threshold_lets_the_share_of_validation_reals_pass_and_a_lower_one_more(share):
    validation = scores(100)
    found = threshold(validation, share)
    reals = validation[validation.label == 0].margin
    assert (reals > found.margin).sum() == found.passed == round(100 * share)
    assert (reals >= found.margin).sum() > 100 * share
    assert found.reals == 100
    assert "lets 1% of validation reals" in str(threshold(validation, 0.01))
    assert threshold(validation, 0.01).interval[0] <= 0.01 <= threshold(validation, 0.01).interval[1]


def test_with_few_reals_none_may_pass_and_without_any_there_is_no_threshold():
    few = scores(10)
    assert threshold(few, 0.05).passed == 0
    assert threshold(few, 0.05).margin == few[few.label == 0].margin.max()
    assert threshold(few[few.label == 1], 0.05) is None


def test_what_is_found_and_what_passes_are_shares_at_the_validations_threshold():
    test, validation = scores(seed=0), scores(seed=1)
    at = threshold(validation, 0.05).margin
    table = points(test, {0: validation}, places_of(test))
    assert list(table.index) == ["cdfv2", "cdfv2/A", "cdfv2/B"]
    fakes, reals = test[test.label == 1], test[test.label == 0]
    assert table.loc["cdfv2", "found 5 %"].value == pytest.approx((fakes.margin > at).mean())
    assert table.loc["cdfv2/B", "found 5 %"].value == pytest.approx(
        (fakes[fakes.manipulation == "B"].margin > at).mean()
    )
    assert table.loc["cdfv2/A", "false alarms 5 %"].value == pytest.approx((reals.margin > at).mean())
    false_positive, true_positive, _ = roc_curve(test.label, test.margin, drop_intermediate=False)
    assert table.loc["cdfv2", "TPR at 5 %"].value == pytest.approx(true_positive[false_positive <= 0.05].max())
    for column in table:
        assert table.loc["cdfv2", column].low < table.loc["cdfv2", column].high


def test_intervals_over_people_are_as_wide_as_other_people_scatter():
    validation = scores(seed=99)
    found = [points(scores(seed=s), {s: validation}, ["cdfv2"])["found 5 %"].iloc[0] for s in range(6)]
    scatter = np.std([share.value for share in found], ddof=1)
    errors = np.mean([share.high - share.low for share in found]) / (2 * 1.96)
    assert 0.5 < errors / scatter < 2


def test_a_share_of_none_or_all_keeps_an_interval_and_within_its_range():
    found = points(scores(shift=9.0), {0: scores(seed=1)}, ["cdfv2"]).loc["cdfv2"]
    every = found["found 1 %"]
    assert every.value == every.high == 1
    assert every.low == pytest.approx(200 / (200 + 1.96**2), abs=1e-4)  # Wilson's, of 200 people all of whom are found
    assert str(every) == "1.00 [0.98, 1.00]"
    assert 0 <= found["false alarms 1 %"].low <= found["false alarms 1 %"].high < 0.1


def test_without_validation_there_are_no_thresholds_and_the_rest_is_known():
    found = points(scores(), {}, ["cdfv2"]).loc["cdfv2"]
    assert str(found["found 1 %"]) == str(found["false alarms 5 %"]) == "undefined"
    assert 0 < found["TPR at 5 %"].value < 1


def test_the_calibration_curve_is_scikit_learns_and_its_error_the_metrics():
    test = scores()
    curve = reliability(test)
    share, mean = calibration_curve(test.label, expit(test.margin), n_bins=BINS, strategy="quantile")
    np.testing.assert_allclose(curve["share"], share)
    np.testing.assert_allclose(curve["chance"], mean)
    assert (curve["low"] <= curve["share"]).all()
    assert (curve["share"] <= curve["high"]).all()
    share, mean = calibration_curve(test.label, expit(test.margin), n_bins=BINS)
    videos, _ = np.histogram(expit(test.margin), BINS, (0, 1))
    error = (np.abs(share - mean) * videos[videos > 0]).sum() / len(test)
    assert error == pytest.approx(value("calibration_error", test.label, test.margin))


def test_a_small_set_has_few_bins_of_ten_videos_or_more():
    curve = reliability(scores().groupby("label").head(17))
    assert list(curve["videos"]) == [12, 11, 11]
