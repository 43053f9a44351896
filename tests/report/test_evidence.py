import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from dfrepro.errors import WorkbookError
from dfrepro.report.evidence import Evidence
from dfrepro.report.schema import Operand


def operand(run="good", test="cdfv2", metric="video_auc", **more) -> Operand:
    return Operand(run=run, test=test, metric=metric, **more)


def test_a_metric_that_is_not_among_the_results_is_computed_from_scores(planted_scores):
    scores = planted_scores({"good": 1.0})
    evidence = Evidence(None, scores)
    videos = logits(scores).groupby(["label", "video"]).score.mean().reset_index()
    assert evidence.value(operand(), 0) == pytest.approx(roc_auc_score(videos.label, videos.score))
    assert evidence.value(operand(metric="frame_auc"), 0) == pytest.approx(roc_auc_score(scores.label, scores.score))


def test_balanced_accuracy_and_error_rate_are_to_be_had(planted_scores):
    scores = planted_scores({"good": 1.0})
    evidence = Evidence(None, scores)
    expected = balanced_accuracy_score(scores.label, scores.score > 0.5)
    assert evidence.value(operand(metric="frame_balanced_accuracy"), 0) == pytest.approx(expected)
    assert 0 < evidence.value(operand(metric="eer"), 0) < 0.5


def logits(scores: pd.DataFrame) -> pd.DataFrame:
    return scores.assign(score=np.log(scores.score / (1 - scores.score)))


def without(scores: pd.DataFrame, out: np.ndarray) -> float:
    videos = logits(scores)[~out].groupby(["label", "video"]).score.mean().reset_index()
    return roc_auc_score(videos.label, videos.score)


def test_an_influence_is_what_leaving_a_person_out_does(planted_scores):
    """A fake and a real of the same name are one person's: both leave together."""
    scores = planted_scores({"good": 0.5}, videos=12)
    whole = without(scores, np.zeros(len(scores), bool))
    found = Evidence(None, scores).influences(operand(), 0)["cdfv2"]
    assert len(found) == 12
    expected = [without(scores, (scores.video == f"v{i}").to_numpy()) - whole for i in range(12)]
    assert sorted(found) == pytest.approx(sorted(expected))


def test_people_that_the_evidence_names_count_before_names_of_videos(planted_scores):
    scores = planted_scores({"good": 0.5}, videos=12)
    scores["identity"] = scores.video.str[1:].astype(int).floordiv(2).astype(str)  # two videos each
    found = Evidence(None, scores).influences(operand(), 0)["cdfv2"]
    out = scores.identity == "3"
    whole = without(scores, np.zeros(len(scores), bool))
    assert len(found) == 6
    assert np.abs(found - (without(scores, out.to_numpy()) - whole)).min() < 1e-12


def test_a_run_is_the_same_people_as_any_other(planted_scores):
    scores = planted_scores({"good": 1.0})
    evidence = Evidence(None, pd.concat([scores, scores.assign(run="twin")]))
    first, second = (evidence.influences(operand(run), 0)["cdfv2"] for run in ("good", "twin"))
    assert np.array_equal(first, second)


def test_on_the_probit_scale_each_sets_auc_is_transformed_before_the_mean(planted):
    evidence = Evidence(pd.concat([planted({"a": [0.9]}), planted({"a": [0.6]}, "wdf")]))
    expected = stats.norm.ppf([0.9, 0.6]).mean()
    assert evidence.value(operand("a", ["cdfv2", "wdf"]), 0, on_probit=True) == pytest.approx(expected)


def test_a_margin_of_50_ranks_and_gives_an_auc(planted_scores):
    """Former evidence held sigmoids: of margins beyond 37 they are all 1, and there was no AUC."""
    scores = planted_scores({"good": 1.0})
    margin = 50 + np.log(scores.score / (1 - scores.score))
    assert (1 / (1 + np.exp(-margin)) == 1).all()
    sure = Evidence(None, scores.drop(columns="score").assign(margin=margin))
    for metric in ("video_auc", "frame_auc"):
        assert 0.5 < sure.value(operand(metric=metric), 0) < 1
    plain = Evidence(None, scores.assign(margin=margin - 50))
    assert sure.value(operand(), 0) == pytest.approx(plain.value(operand(), 0))
    assert np.isfinite(sure.influences(operand(), 0)["cdfv2"]).all()


def test_a_subset_of_a_test_set_is_its_reals_and_one_manipulation(planted_scores):
    named = {name: planted_scores({"good": far}).replace({"fake": name}) for name, far in (("DF", 3.0), ("FS", 0.0))}
    evidence = Evidence(None, pd.concat([named["DF"], named["FS"].query("label == 1")]))
    for name, fakes in named.items():
        chosen = pd.concat([named["DF"].query("label == 0"), fakes.query("label == 1")])
        videos = logits(chosen).groupby(["label", "video"]).score.mean().reset_index()
        expected = roc_auc_score(videos.label, videos.score)
        assert evidence.value(operand(test=f"cdfv2/{name}"), 0) == pytest.approx(expected)


def test_tests_and_conditions_are_averaged_and_a_test_may_carry_its_metric(planted):
    results = pd.concat([
        planted({"a": [0.9]}, "cdfv2"), planted({"a": [0.5]}, "diff", "frame_auc"),
        planted({"a": [0.6]}, "cdfv2", condition="blur-1"), planted({"a": [0.8]}, "cdfv2", condition="blur-2"),
    ])  # fmt: skip
    evidence = Evidence(results)
    assert evidence.value(operand("a", ["cdfv2", "diff:frame_auc"]), 0) == pytest.approx(0.7)
    blurred = {"condition": ["blur-1", "blur-2"]}
    assert evidence.value(operand("a", **blurred), 0) == pytest.approx(0.7)
    assert evidence.value(operand("a", **blurred, change="absolute"), 0) == pytest.approx(-0.2)
    assert evidence.value(operand("a", **blurred, change="relative"), 0) == pytest.approx(-0.2 / 0.9)


def test_an_average_over_a_set_that_was_not_measured_is_missing(planted):
    evidence = Evidence(planted({"a": [0.9]}))
    assert evidence.value(operand("a", ["cdfv2", "wdf"]), 0) is None
    assert evidence.missing(operand("b"), [0]) == "b"
    assert "wdf" in evidence.missing(operand("a", "wdf"), [0])


@pytest.mark.parametrize(("change", "said"), [
    (lambda frame: frame.drop(columns="metric"), "lacks the column metric"),
    (lambda frame: pd.concat([frame, frame]), "a, 0, cdfv2, video_auc, clean is given twice"),
])  # fmt: skip
def test_odd_results_are_rejected_by_name(planted, change, said):
    with pytest.raises(WorkbookError, match=said):
        Evidence(change(planted({"a": [0.9]})))


def test_a_detector_that_says_the_same_of_everything_has_no_auc_and_keeps_its_accuracy():
    rows = [
        {"run": "a", "seed": 0, "dataset": "d", "manipulation": "m" if label else "original", "video": str(i),
         "label": label, "score": 1.0, "frame": 0}
        for i, label in enumerate([0, 0, 1, 1])
    ]  # fmt: skip
    evidence = Evidence(None, pd.DataFrame(rows))
    for metric in ("video_auc", "frame_auc"):
        assert np.isnan(evidence.value(Operand(run="a", test=("d",), metric=metric), 0))
    assert evidence.value(Operand(run="a", test=("d",), metric="accuracy"), 0) == 0.5
