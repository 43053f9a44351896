"""What a scoring leaves: margins that rank where probabilities are all 1, and tables of before."""

import numpy as np
import pandas as pd
import pytest

from dfrepro.evaluate import scores


def table(margins) -> pd.DataFrame:
    n = len(margins)
    return pd.DataFrame({
        "dataset": "ffpp", "manipulation": "Deepfakes", "video": [f"{i:03d}" for i in range(n)], "frame": 0, "label": 1,
        "margin": margins, "identity": "a", "source": "",
    })  # fmt: skip


def test_margins_beyond_what_a_sigmoid_can_tell_apart_keep_their_order(tmp_path):
    scores.write(tmp_path, [("clean", table([-3.0, 0.0, 49.0, 50.0]))])
    found = scores.read(tmp_path)
    assert found["margin"].tolist() == [-3.0, 0.0, 49.0, 50.0]
    assert found["score"].tolist() == pytest.approx([1 / (1 + np.exp(3)), 0.5, 1, 1])
    assert found["score"].iloc[2] == found["score"].iloc[3]  # which rank nothing


def test_every_condition_is_kept_under_its_name(tmp_path):
    scores.write(tmp_path, [("clean", table([1.0])), ("blur-3", table([2.0, 3.0]))])
    assert scores.read(tmp_path).groupby("condition")["margin"].sum().to_dict() == {"clean": 1.0, "blur-3": 5.0}


def test_a_table_of_probabilities_is_read_as_margins(tmp_path):
    former = table([0.0, 0.0, 0.0]).drop(columns="margin").assign(score=[0.5, 0.9, 1.0])
    former.to_parquet(tmp_path / scores.NAME)
    assert scores.read(tmp_path)["margin"].tolist() == pytest.approx([0.0, np.log(9), scores.LARGEST])
