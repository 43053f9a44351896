"""Where things are: the folder or file of every artifact and result of one scale. Nothing here reads or writes."""

from pathlib import Path

from dfrepro.files import ROOT
from dfrepro.params import Params

NOTEBOOKS = ROOT / "notebooks"
GRID_LOCK = ROOT / "grid" / "dvc.lock"
MAPS = "focus-map-"  # what is measured on maps goes by this and their name, which may be a run's own (papers/focus)
STUDY = ROOT / "results" / "study"
FORMER = ROOT / "results" / "former"  # the study before it, of a stand-in and networks that are no more


def faces_folder(p: Params, dataset: str) -> Path:
    return p.artifacts / "faces" / dataset


def run_folder(p: Params, run: str, seed: int) -> Path:
    if run in p.imports:
        return p.imports[run].folder  # of no scale and no seed
    return p.artifacts / "runs" / run / str(seed)


def start_folder(p: Params, name: str, seed: int) -> Path:
    return p.artifacts / "starts" / name / str(seed)


def scores_folder(p: Params, run: str, seed: int) -> Path:
    return p.artifacts / "scores" / run / str(seed)


def reconstructions_folder(p: Params, dataset: str) -> Path:
    return p.artifacts / "reconstructions" / dataset


def maps_folder(p: Params, name: str, seed: int) -> Path:
    return p.artifacts / "maps" / name / str(seed)


def pairs_folder(p: Params, dataset: str) -> Path:
    return p.artifacts / "pairs" / dataset


def results_folder(p: Params) -> Path:
    return p.results
