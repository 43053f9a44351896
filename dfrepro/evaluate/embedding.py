"""UMAP of a network's last features, before and after a shift of its shallow statistics (PIM, Figures 1 and 3).

A UMAP's coordinates depend on the processor and mean nothing by themselves, so they are computed once and cached;
what is compared between conditions is a statistic of neighbourhoods in the feature space itself.
"""

import warnings

import numpy as np
import pandas as pd


def umap(features: np.ndarray, *, seed: int, neighbours: int = 30, min_dist: float = 0.1) -> np.ndarray:
    """Embed features (N, D) in the plane: (N, 2) float32, the same for the same seed on one machine."""
    from umap import UMAP  # 14 seconds of compilation: only where an embedding is really fitted

    neighbours = min(neighbours, len(features) - 1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_jobs value")  # a seed makes UMAP single-threaded; that is wanted
        reducer = UMAP(n_neighbors=neighbours, min_dist=min_dist, random_state=seed, n_jobs=1)
        return reducer.fit_transform(_standardised(features)).astype(np.float32)


def neighbour_agreement(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, k: int = 10) -> float:
    """Share of the k nearest neighbours from *other* videos that carry a face's own label, classes weighted equally.

    1 is perfect separation and .5 is none. `groups` (N,) says which video each face is of: frames of one video are
    near each other whatever the network has learned. Features (N, D), labels (N,) in {0, 1}.
    """
    from sklearn.neighbors import NearestNeighbors

    features = _standardised(features)
    width = min(len(features) - 1, k + int(np.unique(groups, return_counts=True)[1].max()))
    nearest = NearestNeighbors(n_neighbors=width + 1).fit(features).kneighbors(features, return_distance=False)[:, 1:]
    other = groups[nearest] != groups[:, None]  # (N, width)
    chosen = other & (np.cumsum(other, axis=1) <= k)
    weight = np.where(labels == 1, (labels == 0).sum(), (labels == 1).sum()).astype(float)  # balances the classes
    votes = weight[nearest] * chosen
    agreement = (votes * (labels[nearest] == labels[:, None])).sum(1) / votes.sum(1)
    return float(np.mean([agreement[labels == label].mean() for label in (0, 1)]))


def joint(frames: dict[str, tuple[pd.DataFrame, np.ndarray]], *, seed: int) -> pd.DataFrame:
    """Embed several conditions together, so that one picture's axes are the other's.

    `frames` maps a condition's name to (rows, features), rows in the order of features. Returns the rows of all
    conditions with columns condition, x and y.
    """
    rows = pd.concat([table.assign(condition=name) for name, (table, _) in frames.items()], ignore_index=True)
    x, y = umap(np.concatenate([features for _, features in frames.values()]), seed=seed).T
    return rows.assign(x=x, y=y)


def _standardised(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, dtype=np.float64)
    return (features - features.mean(0)) / (features.std(0) + 1e-12)
