"""A run that has been trained and scored, opened: its history, scores, measurements, features and network."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dfrepro.evaluate import scores
from dfrepro.files import read_json

if TYPE_CHECKING:
    from dfrepro.nets.detector import Detector


@dataclass(frozen=True)
class TrainedRun:
    """One run with one seed: its checkpoint's folder and its scores' folder."""

    name: str
    seed: int
    folder: Path
    scored: Path

    @cached_property
    def meta(self) -> dict[str, Any]:
        return read_json(self.folder / "meta.json")

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row an epoch: step, losses, learning rate, and validation where it was looked at."""
        return pd.read_csv(self.folder / "history.csv")

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row a face and condition (`dfrepro.evaluate.scores`), with run and seed."""
        return scores.read(self.scored).assign(run=self.name, seed=self.seed)

    @cached_property
    def measured(self) -> pd.DataFrame:
        """What is no function of the scores, one row a number: run, seed, dataset, metric, value."""
        measured = pd.read_csv(self.scored / "measured.csv", dtype={"dataset": str, "metric": str, "value": float})
        return measured.assign(run=self.name, seed=self.seed)

    def features(self, condition: str = "clean") -> tuple[pd.DataFrame, np.ndarray]:
        """The in-domain test faces under one condition, and their penultimate features (N, D) in the same order."""
        rows = pd.read_parquet(self.scored / "features.parquet")
        array = np.load(self.scored / "features.npy", mmap_mode="r", allow_pickle=False)
        chosen = (rows.condition == condition).to_numpy()
        return rows[chosen].reset_index(drop=True), array[chosen]

    @property
    def window(self) -> int:
        """Side in stored pixels of what the network sees of a face of its training set's store."""
        from dfrepro.train.draws import window

        return window(self.meta["spec"], self.meta["faces"])

    def detector(self) -> "Detector":
        """The trained network, in evaluation mode on the CPU."""
        from dfrepro.jobs.train import load_detector

        return load_detector(self.folder)
