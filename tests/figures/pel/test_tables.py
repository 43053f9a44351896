"""PEL's tables that the paper lacks, on planted numbers."""

import numpy as np
import pandas as pd
import pytest

from dfrepro.figures.pel import tables as pel


def scores(run: str, separation: dict[str, float], seed: int = 0) -> pd.DataFrame:
    """Four reals and four fakes under each condition: all ranked rightly (1), or all wrongly (0)."""
    labels = np.repeat([0, 1], 4)
    parts = [
        pd.DataFrame({
            "run": run, "seed": seed, "dataset": "ffpp", "condition": condition, "label": labels,
            "score": np.where(labels == good, 0.9, 0.1),
        })
        for condition, good in separation.items()
    ]  # fmt: skip
    return pd.concat(parts)


def test_a_sweep_starts_at_the_clean_faces_and_averages_over_seeds():
    rows = pd.concat([
        scores("pel-full-printed", {"clean": 1, "gaussian-blur-3": 0}, seed=0),
        scores("pel-full-printed", {"clean": 1, "gaussian-blur-3": 1}, seed=1),
        scores("other", {"clean": 1}),
    ])  # fmt: skip
    swept = pel.sweep(rows)
    assert set(swept.run) == {"pel-full-printed"}
    blur = swept[swept.corruption == "gaussian-blur"].set_index("level")
    assert blur.auc.to_dict() == {0: 1.0, 3: 0.5}
    assert set(swept.corruption) == set(pel.CORRUPTIONS)  # every panel begins at level 0


def test_a_mean_over_seeds_leaves_out_none_and_the_figure_says_where_there_is_no_auc():
    saturated = scores("pel-full-printed", {"clean": 1, "gaussian-noise-3": 1}, seed=1)
    saturated.loc[saturated.condition == "gaussian-noise-3", "score"] = 1.0
    both = pd.concat([scores("pel-full-printed", {"clean": 1, "gaussian-noise-3": 1}, seed=0), saturated])
    swept = pel.sweep(both)
    noise = swept[swept.corruption == "gaussian-noise"].set_index("level")
    assert noise.auc.isna().to_dict() == {0: False, 3: True}
    assert noise.accuracy.to_dict() == {0: 1.0, 3: 0.75}
    axis = pel.draw_sweep(swept, "test").axes[0]
    crosses = [line.get_xdata() for line in axis.lines if line.get_marker() == "x"]
    assert np.concatenate(crosses).tolist() == [3]
    assert axis.get_legend().get_texts()[-1].get_text() == "no AUC: one score for all"


def test_changes_are_against_the_clean_faces_at_the_papers_level():
    conditions = {"clean": 1} | {f"{name}-{level}": int(level < 3) for name in pel.CORRUPTIONS for level in (1, 3)}
    table = pel.changes(pel.sweep(pd.concat([scores("pel-rgb", conditions), scores("pel-full-printed", conditions)])))
    assert list(table.index) == ["PEL", "RGB alone"]
    assert (table == -1).all(axis=None)
    assert table.shape == (2, 6)


def test_what_lies_inside_is_averaged_over_seeds_and_compared_with_the_real():
    values = {"self_rgb_lift_fake": (1.4, 1.6), "self_rgb_lift_real": (1.2, 1.2), "train_seconds": (9.0, 9.0)}
    measured = pd.DataFrame(
        [("pel-full-printed", seed, "ffpp", m, v[seed]) for m, v in values.items() for seed in (0, 1)],
        columns=["run", "seed", "dataset", "metric", "value"],
    )
    table = pel.inside(measured)
    assert len(table) == 1
    assert table.loc[("pel-full-printed", "self", "rgb")].tolist() == pytest.approx([1.5, 1.2, 0.3])
    assert pel.inside(measured[measured.metric == "train_seconds"]).empty
    energies = measured.assign(metric=measured.metric.str.replace("lift", "energy"))
    assert pel.inside(energies, "energy").equals(table)
    assert pel.inside(energies).empty


def test_shares_are_of_ffpp_and_averaged_over_seeds():
    rows = [
        ("pel-full-printed", seed, "ffpp", f"share_{m}", v + seed)
        for m, v in (("noise", 0.0), ("mutual", 1.0))
        for seed in (0, 1)
    ]
    rows.append(("pel-full-printed-wdf", 0, "wdf", "share_noise", 9.0))
    table = pel.shares(pd.DataFrame(rows, columns=["run", "seed", "dataset", "metric", "value"]))
    assert table.loc["pel-full-printed"].to_dict() == {"share_noise": 0.5, "share_mutual": 1.5}
    assert len(table) == 1
