"""FIA-USA's tables and figures from small frames: what a row shows and what it must not."""

import numpy as np
import pandas as pd
import pytest

from dfrepro.figures.fia_usa import tables as fia_usa
from dfrepro.figures.fia_usa.pictures import MaskFlow, Ranking, RealFace
from dfrepro.forge.blend import Pair
from dfrepro.report import ledger
from dfrepro.report.evidence import Evidence


def scores(run: str, condition: str, right: float) -> pd.DataFrame:
    """Ten videos, of whose fakes the share `right` is told from every real."""
    label = np.repeat([0, 1], 5)
    score = np.where(label == 0, 0.5, np.where(np.arange(10) - 5 < 5 * right, 0.9, 0.1))
    return pd.DataFrame({
        "run": run, "seed": 0, "dataset": "ffpp", "manipulation": np.where(label, "Deepfakes", "original"),
        "video": [f"{i}" for i in range(10)], "frame": 0, "label": label, "condition": condition, "score": score,
    })  # fmt: skip


def test_reduction_is_the_change_of_auc_relative_to_the_clean_one_in_percent():
    table = pd.concat([scores("fiausa-full", "clean", 0.8), scores("fiausa-full", "blur-2", 0.4)])
    found = fia_usa.reduction({"here": Evidence(None, table)}, {"ours": "fiausa-full", "absent": "fiausa-sbi"})
    rows = found[["detector", "corruption", "level", "source", "value"]].to_numpy().tolist()
    assert rows == [["ours", "blur", 2, "here", pytest.approx(100 * (0.4 - 0.8) / 0.8)]]


def test_channels_before_and_after_affs_stand_beside_the_printed_ones():
    found = {f"run-{i}": (f"net{i}", [8, 16, 32, 64], [6, 12, 24, 48]) for i in range(4)}
    table = fia_usa.channel_table(ledger.table("fia_usa", "T7"), found)
    printed, ours = (table[table["source"] == source] for source in ("paper", "this clone"))
    assert list(printed["network"]) == ["Res50", "Res101", "Effb1", "Effb4"]
    assert printed["C2"].iloc[0] == "256 → 196"
    assert (ours["network"].iloc[3], ours["C5"].iloc[3]) == ("net3", "64 → 48")


def test_a_difference_is_amplified_and_clipped():
    one, other = np.full((2, 2, 3), 10, np.uint8), np.full((2, 2, 3), 13, np.uint8)
    assert (fia_usa.difference(one, other, 4) == 12).all()
    assert (fia_usa.difference(one, other, 200) == 255).all()


def test_every_figure_can_be_drawn_where_a_stage_is_dead():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    mask = np.zeros((16, 16), np.float32)
    pair = Pair(picture, picture, mask)
    face = RealFace(picture, np.zeros((81, 2)), {"ae": picture, "sr": picture})
    hull = [np.array([[2, 2], [9, 2], [9, 9]])]
    dead = np.full(4, np.inf)
    found = Ranking([rng.random(32), dead], [np.arange(24), np.arange(3)], rng.random((32, 4, 4)), pair)
    parts = {"ce": [0.7, 0.6], "pcr": [0.7, 0.5], "icr": [0.7, 0.7], "skipped": [0.25, 0.5]}
    history = pd.DataFrame({"epoch": [1, 2], **parts})
    assert len(fia_usa.draw_ranking(found).subfigs[0].axes) == 3 + 14 + 4
    axes = fia_usa.draw_history({"a": history, "plain": history[["epoch", "ce"]]}).axes
    for axis, values in zip(axes, parts.values(), strict=True):
        assert list(axis.lines[0].get_ydata()) == values
    assert len(fia_usa.draw_pseudo_fakes({("hull", "ae"): pair, ("eyes", "ae"): pair}).axes) == 6
    assert len(fia_usa.draw_regions({"hull": pair, "eyes": pair}, np.zeros((2, 4, 4))).axes) == 6
    assert len(fia_usa.draw_reconstructions([face]).axes) == 5
    flows = {kind: MaskFlow(hull, hull, np.stack([mask] * 3)) for kind in ("hull", "eyes")}
    assert len(fia_usa.draw_mask_flow(face, flows).axes) == 10
