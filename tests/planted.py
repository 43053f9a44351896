"""Planted results: what each run gives is decided here, so every verdict is known beforehand."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import yaml


@pytest.fixture
def planted() -> Callable[..., pd.DataFrame]:
    """planted(runs={"a": [.8, .82], "b": [.7, .7]}): tidy results, one value a seed, on `dataset` in `metric`."""

    def make(runs: dict[str, list[float]], dataset: str = "cdfv2", metric: str = "video_auc", condition: str = "clean"):
        rows = [
            {"run": run, "seed": seed, "dataset": dataset, "metric": metric, "value": value, "condition": condition}
            for run, values in runs.items()
            for seed, value in enumerate(values)
        ]
        return pd.DataFrame(rows)

    return make


@pytest.fixture
def planted_scores() -> Callable[..., pd.DataFrame]:
    """planted_scores({"good": 2.0, "bad": 0.5}): frame scores of 40 reals and 40 fakes, class means that far apart."""

    def make(separation: dict[str, float], seeds: int = 1, videos: int = 40, frames: int = 2, dataset: str = "cdfv2"):
        rng = np.random.default_rng(0)
        per_video = {label: rng.normal(size=videos) for label in (0, 1)}  # the same for every run: pairs are paired
        parts = []
        for run, distance in separation.items():
            for seed in range(seeds):
                for label, base in per_video.items():
                    values = np.repeat(base + label * distance, frames) + rng.normal(scale=0.3, size=videos * frames)
                    parts.append(pd.DataFrame({
                        "run": run, "seed": seed, "dataset": dataset, "condition": "clean", "label": label,
                        "manipulation": "fake" if label else "original",
                        "video": np.repeat([f"v{i}" for i in range(videos)], frames),
                        "frame": np.tile(np.arange(frames), videos), "score": 1 / (1 + np.exp(-values)),
                    }))  # fmt: skip
        return pd.concat(parts, ignore_index=True)

    return make


@pytest.fixture
def papers(tmp_path) -> Callable[..., object]:
    """papers([claim, ...]): a papers folder whose `pim` holds these claims and whose others hold none."""

    def make(claims: list[dict], defaults: dict | None = None):
        for paper in ("fpg", "pim", "pel", "fia_usa", "focus"):
            (tmp_path / paper).mkdir(exist_ok=True)
            document = {"claims": claims if paper == "pim" else [], "defaults": defaults or {}}
            (tmp_path / paper / "claims.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        return tmp_path

    return make
