"""scores.parquet, what a scoring leaves: one row a face and condition. Nothing here imports torch.

validation.parquet is alike, of the validation faces of the run's own set, on which thresholds are chosen.

dataset, manipulation, video, frame, label, condition
margin            float32, logit of "fake" minus logit of "real": positive for what the detector takes for a fake
identity, source  the person whose take it is, and the person whose face is put on it; "" where nobody knows

A margin is what is stored, ranked and judged: P(fake) = sigmoid(margin) is 1 for every margin above 37, in float64, and
ranks nothing there. Probabilities are computed where one is needed.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit, logit

NAME = "scores.parquet"
VALIDATION = "validation.parquet"
ROWS = ["dataset", "manipulation", "video", "frame", "label"]
PEOPLE = ["identity", "source"]
LARGEST = 40.0  # the margin of a probability of 1, in tables from before margins were stored


def write(folder: Path, tables: Iterable[tuple[str, pd.DataFrame]], name: str = NAME) -> None:
    """Write `tables`, each with its condition, to `folder`; they have the columns ROWS, PEOPLE and `margin`."""
    parts = [table[[*ROWS, "margin", *PEOPLE]].assign(condition=condition) for condition, table in tables]
    pd.concat(parts, ignore_index=True).astype({"margin": np.float32}).to_parquet(folder / name, index=False)


def read(folder: Path, name: str = NAME) -> pd.DataFrame:
    """The table in `folder`, with the margin in float64. A table that has P(fake) as `score` is read as well."""
    found = pd.read_parquet(folder / name)
    if "margin" not in found:
        found["margin"] = logit(found.pop("score").to_numpy(float)).clip(-LARGEST, LARGEST)
    return found.assign(margin=found["margin"].astype(float), score=expit(found["margin"].astype(float)))
