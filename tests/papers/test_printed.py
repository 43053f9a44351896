"""The printed values: against the papers' texts, against each other, and against what anomalies.yaml says of them."""

import os
import re
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import yaml

from dfrepro.files import ROOT
from dfrepro.report import ledger
from dfrepro.report.ledger import ORDER, PAPERS, anomalies
from dfrepro.report.schema import load_claims

TEXTS = Path(os.environ.get("DFREPRO_PAPERS", ROOT.parent / "shared" / "papers" / "text"))
TEXT_OF = {"fpg": "fpg-supplement", "pim": "pim-dualflat", "pel": "pel", "fia_usa": "fia-usa", "focus": "focus"}
TABLES = [
    (p, t) for p in ORDER for t in yaml.safe_load((PAPERS / p / "tables.yaml").read_text(encoding="utf-8"))["tables"]
]
ALTERNATING = {("pel", "T2"), ("fia_usa", "T9a")}  # several rows to a printed line


@lru_cache
def specs(paper: str) -> dict:
    return yaml.safe_load((PAPERS / paper / "tables.yaml").read_text(encoding="utf-8"))["tables"]


def spec(paper: str, name: str) -> dict:
    return specs(paper)[name]


table = lru_cache(ledger.table)


def cells(paper: str, name: str) -> list[list[str]]:
    """The values of each row as they stand in the file, so that trailing zeros are compared too."""
    raw = pd.read_csv(PAPERS / paper / "tables" / f"{name}.csv", dtype=str, keep_default_na=False)
    return raw[list(spec(paper, name)["columns"])].to_numpy().tolist()


@pytest.mark.parametrize("paper", ORDER)
def test_every_printed_value_is_in_the_papers_text(paper):
    path = TEXTS / f"{TEXT_OF[paper]}.txt"
    if not path.exists():
        pytest.skip("the papers' texts are not part of the repository")
    numbers = set(re.findall(r"\d+\.?\d*", path.read_text(encoding="utf-8").replace("−", "-")))
    for _, name in [key for key in TABLES if key[0] == paper]:
        for row in cells(paper, name):
            absent = [value for value in row if value and value.lstrip("-") not in numbers]
            assert not absent, (name, row, absent)


@pytest.mark.parametrize(
    ("paper", "name"), [key for key in TABLES if key not in ALTERNATING | {("pel", "T1"), ("fia_usa", "T7")}]
)
def test_the_values_of_a_row_stand_in_the_text_in_this_order(paper, name):
    path = TEXTS / f"{TEXT_OF[paper]}.txt"
    if not path.exists():
        pytest.skip("the papers' texts are not part of the repository")
    text = re.sub(r"<[^>]*>|[^\d.\s]", " ", path.read_text(encoding="utf-8").replace("†", " "))
    if name in ("T2", "T3") and paper == "pim":  # changes stand in brackets
        text = re.sub(r"[^\d.\s]", " ", path.read_text(encoding="utf-8"))
    for row in cells(paper, name):
        values = [re.escape(v.lstrip("-")) for v in row if v]
        interleaved = (
            [values[0], values[2], values[1], values[3]]
            if (paper, name) in {("pim", "T2"), ("pim", "T3")} and len(values) == 4
            else values
        )
        assert re.search(r"(?<![\d.])" + r"[\s.]+".join(interleaved) + r"(?![\d])", text), row


def test_averages_come_out_except_where_anomalies_says_so():
    found = set()
    for paper, name in TABLES:
        described, frame = spec(paper, name), table(paper, name)
        for column, entry in described["columns"].items():
            if "average_of" not in entry:
                continue
            raw = pd.read_csv(PAPERS / paper / "tables" / f"{name}.csv", dtype=str, keep_default_na=False)[column]
            for at, printed in enumerate(raw):
                parts = frame.loc[at, entry["average_of"]]
                step = 10.0 ** -len(printed.partition(".")[2])
                if printed and parts.notna().all() and abs(float(printed) - parts.mean()) > step / 2 + 1e-9:
                    key = tuple(str(frame.loc[at, k]) for k in described["keys"])
                    found.add((paper, name, key, float(printed), round(float(parts.mean()), 4)))
    noted = anomalies().query("kind == 'average'")
    assert found == {(a.paper, a.table, tuple(a.row), a.printed, round(a.computed, 4)) for a in noted.itertuples()}


def test_every_anomaly_says_where_and_what():
    frame = anomalies()
    assert set(frame.kind) <= {"average", "duplicate", "implausible", "text", "typo"}
    assert frame.note.str.len().gt(0).all()
    known = {paper: {t for p, t in TABLES if p == paper} for paper in ORDER}
    lost = {("focus", "T1"), ("focus", "T8"), ("fia_usa", "T1")}
    assert all(row.table in known[row.paper] or (row.paper, row.table) in lost for row in frame.itertuples())


def test_the_implausible_error_rates_of_pel_are_possible_but_extreme():
    """An ROC through (e, 1 − e) has an AUC in [(1 − e)², 1 − e²]: "inconsistent" would be too strong a word."""
    for row in anomalies().query("paper == 'pel' and kind == 'implausible'").itertuples():
        assert (1 - row.eer) ** 2 <= row.auc <= 1 - row.eer**2
        assert row.auc > 0.5 < row.eer
    t2 = table("pel", "T2")
    assert ((t2.auc > 0.5) & (t2.eer > 0.5)).sum() == 2


def test_groups_of_diff_lie_within_their_methods_except_where_noted():
    """With shared reals a group's AUC is a weighted mean of its methods': it cannot lie outside of them."""
    groups = {
        "t2i": ["midj", "fd_t", "sdxl", "hps"],
        "i2i": ["dream", "sdxl_r", "fd_i", "lora"],
        "fs": ["diface", "dcface"],
        "fe": ["cycle", "codiff", "imagic"],
    }
    by_group, by_method = (table("fia_usa", name).set_index("method") for name in ("T4", "T9b"))
    outside = set()
    for method in by_group.index.intersection(by_method.index):
        for group, members in groups.items():
            values = by_method.loc[method, members]
            if values.notna().all() and not values.min() <= by_group.loc[method, group] <= values.max():
                outside.add((method, group))
    noted = anomalies().query("paper == 'fia_usa' and kind == 'implausible'")
    assert outside == {(a.row[0], column) for a in noted.itertuples() for column in a.columns}


def test_pims_accuracies_are_of_280_videos():
    for name in ("T2", "T3"):
        counts = table("pim", name).accuracy * 280
        assert ((counts - counts.round()).abs() < 280 * 0.5e-4).all()


def test_df40_table_5_is_of_frames():
    t5, t9a = table("fia_usa", "T5").set_index("method").loc["Ours"], table("fia_usa", "T9a").set_index("forgery").auc
    for name in ("uniface", "e4s", "facedancer", "fsgan", "inswap", "simswap"):
        assert abs(t5[name] / 100 - t9a[name]) <= 0.005 + 1e-9


def test_the_row_without_pcr_is_the_duplicate():
    t6, t8 = table("fia_usa", "T6a").set_index("setting"), table("fia_usa", "T8").set_index("run")
    columns = ["dfdcp", "diff_fs", "diff_fe"]
    assert (t6.loc["w/o PCR", columns] == t6.loc["w/o RCR", columns]).all()
    assert round(t6.loc["w/o RCR", "cdf_v2"] / 100, 3) == t8.loc["fiausa-no-rcr-fpn", "cdf_v2"]


def test_who_is_best_where_the_texts_say_otherwise():
    t2 = table("fia_usa", "T2").set_index("detector")
    assert [t2[c].idxmax() for c in ("cdf_v1", "cdf_v2", "dfd", "dfdcp")] == ["ProDet", "Ours", "LSDA", "ED"]
    assert table("focus", "T7").set_index("model").dfdc.idxmax() == "SFDG"
    assert table("focus", "T5").set_index("modalities").wdf.idxmax() == "+DCT"
    assert table("focus", "T4").set_index("method").block.idxmin() == "CNN-GRU"


def test_focus_wins_31_of_36_cells_of_table_iii_and_pim_27_of_32_of_table_iv():
    t3 = table("focus", "T3")
    values = t3.columns[3:9]
    gains = [b[values] - a[values] for (_, a), (_, b) in pairwise(t3.iterrows()) if b.map_method == "FoCus"]
    assert sum(int((gain > 0).sum()) for gain in gains) == 31
    t4 = table("pim", "T4")
    gains = [
        b[["cdf", "dfdcp", "dfdc", "wdf"]] - a[["cdf", "dfdcp", "dfdc", "wdf"]]
        for (_, a), (_, b) in pairwise(t4.iterrows())
        if b.pim == "yes"
    ]
    counts = [
        sum(int(count) for count in (sum(gain > 0) for gain in gains)),
        sum(int(sum(gain == 0)) for gain in gains),
    ]
    assert counts == [27, 1]


@pytest.mark.parametrize("paper", ["pim", "pel", "fia_usa", "focus"])  # FPG's printed averages include FFIW
def test_printed_effects_of_claims_are_differences_of_table_rows(paper):
    """Every printed cell whose two sides are rows of one table has to be that table's difference."""
    checked = 0
    for claim in (c for c in load_claims() if c.paper == paper):
        for cell in claim.cells:
            if cell.printed is None or not hasattr(cell.over, "run") or cell.of.test != cell.over.test:
                continue
            candidates = [d for p, name in TABLES if p == paper for d in _differences(paper, name, cell)]
            if candidates:
                assert any(abs(d - cell.printed) < 1.6e-4 for d in candidates), (
                    claim.id,
                    cell.name,
                    cell.printed,
                    candidates,
                )
                checked += 1
    assert checked >= {"pim": 60, "pel": 14, "fia_usa": 20, "focus": 40}[paper]


def _differences(paper: str, name: str, cell) -> list[float]:
    """Printed differences between the rows of the cell's two runs, over the columns that it is measured on."""
    described, frame = spec(paper, name), table(paper, name)
    if "run" not in frame:
        return []
    sides = [frame[frame.run == operand.run] for operand in (cell.of, cell.over)]
    columns = [c for c in described["columns"] if _is_of(cell.of, described["columns"][c])]
    if any(side.empty for side in sides) or not columns:
        return []
    scale = 100 if described["unit"] == "percent" or described["columns"][columns[0]].get("unit") == "percent" else 1
    left, right = (side[columns].mean(axis=1) for side in sides)
    return [(a - b) / scale for a in left for b in right]


def _is_of(operand, column: dict) -> bool:
    wanted = {tuple((t if ":" in t else f"{t}:{operand.metric}").split(":")) for t in operand.test}
    generated = {("diff/FS", "frame_auc"), ("diff/FE", "frame_auc")} if ("diff", "frame_auc") in wanted else set()
    condition = column.get("condition", "clean")
    same = tuple([condition] if isinstance(condition, str) else condition) == operand.condition
    return same and (column.get("test", operand.test[0]), column.get("metric")) in wanted | generated
