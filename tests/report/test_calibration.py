"""The stand-in's calibration: what the papers print of baselines, the bands, and how a cell is measured."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from dfrepro import params
from dfrepro.errors import WorkbookError
from dfrepro.report import calibration
from dfrepro.report.calibration import Printed

ROOT = Path(__file__).parents[2]
METHODS = (
    "pim",
    "dual",
    "pel-full",
    "pel-self",
    "pel-mutual",
    "fiausa",
    "focus-map",
    "fpg",
)  # what is never calibrated


def test_every_cell_is_printed_in_one_place_and_its_band_is_a_range() -> None:
    table = calibration.cells()
    assert len(table) >= 20
    assert table.cell.is_unique
    assert table.value.between(-1, 1).all()
    assert (table.low < table.high).all()


def test_only_baselines_are_calibrated() -> None:
    runs = set(calibration.cells().run)
    assert not [run for run in runs if run.startswith(METHODS)]
    declared = params.load(scale="study")
    for run in runs:
        step, detector = declared.run(run).step, declared.run(run).detector
        assert (step.alpha, step.beta) == (0, 0), run
        assert not detector.maps, run
        assert detector.variant in ("", "rgb", "freq"), run


def test_every_cell_reads_a_declared_set() -> None:
    layouts = {dataset.layout for dataset in params.load(scale="study").datasets.values()}
    assert set(calibration.cells().test) <= layouts


@pytest.mark.parametrize("paper", ["pim", "pel", "fia_usa", "focus"])
def test_every_paper_with_a_printed_baseline_has_cells(paper: str) -> None:
    assert calibration.cells().printed.str.startswith(f"{paper}/").any()


def test_a_printed_number_is_found_by_its_row_and_column() -> None:
    table = pd.read_csv(ROOT / "papers" / "pim" / "tables" / "T1.csv")
    expected = table[table.train == "DF"].FS.item()
    assert Printed.parse("pim/T1 train=DF FS").value() == expected
    assert Printed.parse("pim/T5 method=SBI cdf").value() == pytest.approx(0.9389)  # percent


def test_a_row_that_is_not_there_is_an_error() -> None:
    with pytest.raises(WorkbookError, match="0 rows"):
        Printed.parse("pim/T1 train=XX FS").value()


def scores() -> pd.DataFrame:
    rows = []
    for condition, shift in (("clean", 0.0), ("noise-3", 0.45)):
        for manipulation, values in (("original", (0.1, 0.3, 0.6)), ("A", (0.9, 0.8, 0.7)), ("B", (0.2, 0.4, 0.1))):
            for video, score in enumerate(values):
                label = int(manipulation != "original")
                rows.append(
                    ("ffpp", manipulation, str(video), 0, label, condition, min(score + shift * (1 - label), 1))
                )
    return pd.DataFrame(rows, columns=["dataset", "manipulation", "video", "frame", "label", "condition", "score"])


def cell(**fields: str) -> pd.Series:
    plain = {"test": "ffpp", "manipulation": "", "condition": "clean", "metric": "auc", "minus": ""}
    return pd.Series(plain | fields)


def pairs_won(fakes: list[float], reals: list[float]) -> float:
    return float(np.mean([f > r or (f == r) / 2 for f in fakes for r in reals]))


def test_a_cell_is_the_video_auc_against_the_reals_of_its_set() -> None:
    assert calibration.value(scores(), cell(manipulation="A")) == 1.0
    b = calibration.value(scores(), cell(manipulation="B"))
    assert b == pytest.approx((1 + 0 + 0 + 1 + 1 + 0 + 0.5 + 0 + 0) / 9)  # fakes .2 .4 .1 against reals .1 .3 .6
    both = calibration.value(scores(), cell())
    assert both == pytest.approx((1.0 + b) / 2)


def test_a_loss_is_the_difference_of_two_conditions() -> None:
    lost = calibration.value(scores(), cell(manipulation="A", condition="noise-3", minus="clean"))
    noisy = [0.55, 0.75, 1.0]
    assert lost == pytest.approx(pairs_won([0.9, 0.8, 0.7], noisy) - 1.0)


def test_accuracy_counts_frames_on_the_right_side() -> None:
    assert calibration.value(scores(), cell(manipulation="A", metric="accuracy")) == pytest.approx(5 / 6)


def test_the_report_says_which_cells_are_in_their_bands_and_which_were_not_measured(tmp_path: Path) -> None:
    table = calibration.cells()
    first, second = table.cell[:2]
    inside, outside = table.high[0], table.high[1] + 0.1
    measured = pd.DataFrame({"run": "x", "cell": [first, first, second], "value": [inside, table.low[0], outside]})
    report = calibration.report(measured).set_index("cell")
    assert report.loc[first, ["from", "in band"]].tolist() == [2, "yes"]
    assert report.loc[second, "in band"] == "no"
    assert report["in band"].iloc[2] == ""


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    """Artifacts in which PEL's two streams are scored with seed 3: rgb on its own set, freq on another."""
    for run, dataset in (("pel-rgb", "ffpp"), ("pel-freq", "dfd")):
        folder = tmp_path / "scores" / run / "3"
        folder.mkdir(parents=True)
        table = scores().assign(dataset=dataset).replace({"condition": {"noise-3": "gaussian-noise-3"}})
        table.to_parquet(folder / "scores.parquet")
    return tmp_path


def test_what_is_scored_is_measured_and_nothing_else(scored: Path) -> None:
    p = params.load(scale="study", grid="full", seeds=[2, 3])
    found = calibration.measured(p, scored)
    assert set(zip(found.run, found.seed)) == {("pel-rgb", 3)}
    values = found.set_index("cell").value
    assert list(values.index) == ["PEL's rgb stream, c40", "RGB on c40, lost to noise"]
    assert values.iloc[0] == calibration.value(scores(), cell())
    assert values.iloc[1] == calibration.value(scores(), cell(condition="noise-3", minus="clean"))


def test_a_run_and_seed_that_is_measured_again_is_replaced_and_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "calibration.csv"
    for rows in ([("r", 1, "a", 0.1), ("r", 2, "a", 0.2)], [("r", 2, "a", 0.3), ("s", 1, "b", 0.4)]):
        calibration.add(pd.DataFrame(rows, columns=calibration.COLUMNS), path)
    found = [tuple(row) for row in calibration.kept(path).itertuples(index=False)]
    assert found == [("r", 1, "a", 0.1), ("r", 2, "a", 0.3), ("s", 1, "b", 0.4)]


def test_the_documented_table_is_what_the_study_measured() -> None:
    shown = pd.read_csv(ROOT / "docs" / "tables" / "calibration.csv", dtype=str, keep_default_na=False)
    expected = calibration.report(calibration.kept()).astype(str)
    pd.testing.assert_frame_equal(shown, expected, check_dtype=False)


def test_the_scale_study_has_five_times_the_laptops_test_sets() -> None:
    study, laptop = (
        yaml.safe_load((ROOT / "scales" / f"{s}.yaml").read_text())["standin"] for s in ("study", "laptop")
    )
    assert all(study[name] == 5 * laptop[name] for name in ("test", "cross", "images"))
    assert all(study[name] == laptop[name] for name in ("train", "val"))
