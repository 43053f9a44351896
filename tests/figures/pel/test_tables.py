"""PEL's tables that the paper lacks, on planted numbers."""

import numpy as np
import pandas as pd
import pytest

from dfrepro.figures.pel import tables as pel
from dfrepro.report.evidence import Evidence


def scores(run: str, separation: dict[str, float], seed: int = 0) -> pd.DataFrame:
    """Four reals and four fakes under each condition: all ranked rightly (1), or all wrongly (0)."""
    labels = np.repeat([0, 1], 4)
    parts = [
        pd.DataFrame({
            "run": run, "seed": seed, "dataset": "ffpp", "condition": condition, "label": labels,
            "manipulation": np.where(labels, "Deepfakes", "original"), "video": [f"v{i}" for i in range(8)], "frame": 0,
            "margin": np.where(labels == good, 2.0, -2.0),
        })
        for condition, good in separation.items()
    ]  # fmt: skip
    return pd.concat(parts)


def here(*parts: pd.DataFrame) -> dict[str, Evidence]:
    return {"here": Evidence(None, pd.concat(parts))}


def test_a_sweep_starts_at_the_clean_faces_and_averages_over_seeds():
    rows = [
        scores("pel-full-printed", {"clean": 1, "gaussian-blur-3": 0}, seed=0),
        scores("pel-full-printed", {"clean": 1, "gaussian-blur-3": 1}, seed=1),
        scores("other", {"clean": 1}),
    ]  # fmt: skip
    swept = pel.sweep(here(*rows))
    assert set(swept.run) == {"pel-full-printed"}
    blur = swept[swept.corruption == "gaussian-blur"].set_index("level")
    assert blur.value.to_dict() == {0: 1.0, 3: 0.5}
    assert set(swept.corruption) == set(pel.CORRUPTIONS)  # every panel begins at level 0


def test_the_figure_says_where_there_is_no_auc():
    rows = scores("pel-full-printed", {"clean": 1} | {f"{c}-{n}": 1 for c in pel.CORRUPTIONS for n in range(1, 6)})
    rows.loc[rows.condition == "gaussian-noise-3", "margin"] = 2.0
    swept = pel.sweep(here(rows))
    assert set(swept[swept.corruption == "gaussian-noise"].level) == {0, 1, 2, 4, 5}
    figure = pel.draw_sweep(swept, "test")
    crosses = [line.get_xdata() for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert np.concatenate(crosses).tolist() == [3]
    assert figure.axes[3].get_legend().get_texts()[-1].get_text() == "no AUC: one score for all"


def test_the_study_is_swept_where_it_has_every_level_of_pel():
    every = scores("pel-full-printed", {"clean": 1} | {f"{c}-{n}": 1 for c in pel.CORRUPTIONS for n in range(1, 6)})
    both = here(scores("pel-full-printed", {"clean": 0})) | {"study": Evidence(None, every)}
    assert set(pel.sweep(both).source) == {"study"}
    both["study"] = Evidence(None, every[every.condition != "gaussian-blur-2"])
    assert set(pel.sweep(both).source) == {"here"}


def test_changes_are_against_the_clean_faces_at_the_papers_level():
    conditions = {"clean": 1} | {f"{name}-{level}": int(level < 3) for name in pel.CORRUPTIONS for level in (1, 3)}
    cells = pel.changes(here(scores("pel-rgb", conditions), scores("pel-full-printed", conditions)))
    assert list(dict.fromkeys(cells.detector)) == ["PEL", "RGB alone"]
    assert (cells.value == -1).all()
    assert len(cells) == 12


def test_what_lies_inside_is_averaged_over_seeds_and_compared_with_the_real():
    values = {"self_rgb_lift_fake": (1.4, 1.6), "self_rgb_lift_real": (1.2, 1.2), "train_steps": (9.0, 9.0)}
    measured = pd.DataFrame(
        [("pel-full-printed", seed, "ffpp", m, v[seed]) for m, v in values.items() for seed in (0, 1)],
        columns=["run", "seed", "dataset", "metric", "value"],
    )
    table = pel.inside(measured)
    assert len(table) == 1
    assert table.iloc[0, :3].tolist() == ["pel-full-printed", "self", "rgb"]
    assert table.iloc[0, 3:].tolist() == pytest.approx([1.5, 1.2, 0.3])
    assert pel.inside(measured[measured.metric == "train_steps"]).empty
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
    measured = Evidence(pd.DataFrame(rows, columns=["run", "seed", "dataset", "metric", "value"]))
    cells = pel.shares({"here": measured}, ["pel-full-printed"])
    assert cells.set_index("column").value.to_dict() == {"noise block": 0.5, "mutual enhancement": 1.5}
