"""What protocols make of the same scores, by hand and by DeepfakeBench's definition; what is said of them."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from dfrepro.errors import WorkbookError
from dfrepro.protocol.declared import Protocol, chosen, load
from dfrepro.protocol.measure import COLUMNS, Measured, items, levels, measure, moves, nearest, shown, spread

RUN, SET = "erm-ffpp", "ffpp-c23"

SEED = 0


def scored(seed: int = SEED, frames: int = 4) -> pd.DataFrame:
    """Twenty reals and the same people's fakes by two methods, called alike in both, with frames that scatter."""
    rng = np.random.default_rng(seed)
    rows = [
        (method, f"{i:03d}" if not label else f"{i:03d}_{i + 1:03d}", frame, label, f"p{i}", "", rng.normal(label, 1.5))
        for i in range(20) for method, label in (("original", 0), ("Deepfakes", 1), ("FaceSwap", 1))
        for frame in range(frames)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.mark.parametrize(("choices", "reduce"), [
    ({}, np.mean), ({"aggregate": "median"}, np.median), ({"aggregate": "max"}, np.max),
    ({"average": "probability"}, lambda margins: expit(margins).mean()),
])  # fmt: skip
def test_frames_are_aggregated_as_the_protocol_says(choices, reduce):
    faces = scored()
    found = items(faces, Protocol(**choices))
    by = faces.groupby(["manipulation", "video"])["margin"].apply(lambda part: reduce(part.to_numpy()))
    expected = roc_auc_score(faces.groupby(["manipulation", "video"])["label"].first(), by)
    assert roc_auc_score(found["label"], found["margin"]) == pytest.approx(expected)
    assert len(found) == 60


def test_probabilities_that_are_averaged_stay_probabilities():
    faces = scored()
    found = items(faces, Protocol(average="probability")).set_index(["manipulation", "video"])["margin"]
    by = faces.assign(p=expit(faces["margin"])).groupby(["manipulation", "video"])["p"].mean()
    np.testing.assert_allclose(expit(found), by, atol=1e-9)


def deepfakebench(faces: pd.DataFrame) -> float:
    """Its video AUC, as training/metrics/utils.py defines it: means by the folder's name, labels rounded down."""
    videos = {}
    for row in faces.itertuples():
        videos.setdefault(row.video.rpartition("/")[2], []).append((expit(row.margin), row.label))
    means = [np.mean(each, axis=0) for each in videos.values()]
    return roc_auc_score([int(label) for _, label in means], [chance for chance, _ in means])


def test_keyed_by_folder_is_deepfakebenchs_video_auc():
    faces = scored()
    faces.loc[faces["manipulation"] == "FaceSwap", "video"] = "part/" + faces["video"]
    found = items(faces, Protocol(key="folder", average="probability"))
    assert len(found) == 40  # the fakes of two methods are one
    assert roc_auc_score(found["label"], found["margin"]) == pytest.approx(deepfakebench(faces))
    assert deepfakebench(faces) != pytest.approx(
        roc_auc_score(*items(faces, Protocol(average="probability"))[["label", "margin"]].to_numpy(float).T)
    )


@pytest.fixture(scope="module")
def found() -> Measured:
    """Two seeds of scores under four protocols, without a network."""
    protocols = chosen(load(), ["ours", "highest frame", "frames, not videos", "one frame"])
    parts = []
    for seed in (0, 1):
        for name, protocol in protocols.items():
            faces = scored(seed)
            faces = faces[faces["frame"] < protocol.frames]
            parts.append(items(faces, protocol).assign(run=name, seed=seed, dataset="ffpp-c23"))
    return Measured(pd.concat(parts, ignore_index=True), protocols, 0)


def test_levels_have_intervals_and_moves_are_their_differences(found):
    table = levels(found).set_index("protocol")
    assert (table["low"] < table["value"]).all()
    assert (table["value"] < table["high"]).all()
    ours = np.mean([roc_auc_score(part["label"], part["margin"]) for _, part in items_of(found, "ours")])
    assert table.loc["ours", "value"] == pytest.approx(ours)
    moved = moves(found).query("dataset == 'all'").set_index("protocol")
    for name in moved.index:
        assert moved.loc[name, "value"] == pytest.approx(table.loc[name, "value"] - ours)
    # differences on the same people are known better than the numbers themselves
    width = (moved["high"] - moved["low"])["highest frame"]
    assert width < (table["high"] - table["low"])["ours"]


def items_of(found, name):
    return found.items[found.items["run"] == name].groupby("seed")


def test_the_spread_is_from_the_lowest_to_the_highest(found):
    table = levels(found)
    row = spread(table).loc["ffpp-c23"]
    assert row["spread"] == pytest.approx(table["value"].max() - table["value"].min())
    assert row["under"] == table.loc[table["value"].idxmin(), "protocol"]


def test_the_nearest_to_a_printed_value_are_listed_nearest_first(found):
    table = levels(found)
    target = table.loc[table["protocol"] == "one frame", "value"].item()
    near = nearest(table, target + 1e-4, "ffpp-c23", n=3)
    assert near["protocol"].iloc[0] == "one frame"
    assert near["off"].abs().is_monotonic_increasing
    assert near["inside"].iloc[0]
    far = nearest(table, 0.01, "ffpp-c23").set_index("protocol")["inside"]
    assert far.to_dict() == (table.set_index("protocol")["low"] <= 0.01).to_dict()
    assert not far.all()
    with pytest.raises(WorkbookError, match="nothing was measured on 'cdfv2'"):
        nearest(table, 0.5, "cdfv2")


def test_tables_for_readers_have_a_row_a_protocol(found):
    table = shown(levels(found))
    assert list(table.index) == list(found.protocols)
    assert "[" in table.loc["ours", "ffpp-c23"]
    assert shown(moves(found), signed=True).loc["one frame", "all"][0] in "+-"


def test_frames_are_chosen_equally_spaced_or_first(book):
    measured = measure(book, RUN, {"first": Protocol(frames=2, spread="first", aggregate="frame")}, [SET], seeds=[0])
    assert set(measured.items["frame"]) == {0, 1}
    measured = measure(book, RUN, {"equal": Protocol(frames=2, aggregate="frame")}, [SET], seeds=[0])
    assert set(measured.items["frame"]) == {0, 3}


def test_the_checkpoint_that_the_test_chooses_is_the_best_seeds_for_all(book):
    protocols = {"ours": Protocol(), "test": Protocol(checkpoint="test")}
    measured = measure(book, RUN, protocols, [SET])
    by_seed = {
        name: [roc_auc_score(part["label"], part["margin"]) for _, part in items_of(measured, name)]
        for name in protocols
    }
    assert len(by_seed["ours"]) == 2
    assert by_seed["test"] == [max(by_seed["ours"])] * 2
    bought = moves(measured).query("dataset == 'all'")["value"].item()
    assert bought == pytest.approx(max(by_seed["ours"]) - np.mean(by_seed["ours"]))
    with pytest.raises(WorkbookError, match="there are no scores of validation"):
        measure(book, RUN, {"validation": Protocol(checkpoint="validation")}, [SET])


def test_a_run_that_is_not_trained_says_so(book):
    with pytest.raises(WorkbookError, match="pim-ffpp is not trained at scale smoke"):
        measure(book, "pim-ffpp", {"ours": Protocol()}, [SET])
