"""Each face passes a network once a condition, whatever number of tables reads its scores."""

from collections import Counter

import numpy as np
import pytest
import torch

from dfrepro import params
from dfrepro.data.dataset import select
from dfrepro.data.manifest import Face, FaceStore
from dfrepro.jobs import evaluate as run
from dfrepro.jobs.kinds import method_of
from dfrepro.jobs.trained import TrainedRun
from dfrepro.train import checkpoint
from dfrepro.train.ingredients import Inputs

DECLARED = params.load(scale="smoke").spec("erm-ffpp", 0)
FRAMES = 3


def write_store(path, dataset, videos=4):
    rng = np.random.default_rng(0)
    rows = (
        Face(rng.integers(0, 256, (40, 40, 3), np.uint8), dataset, kind, str(v), f, int(kind != "original"), "test",
             np.full((81, 2), 20.0))
        for kind in ("original", "Deepfakes") for v in range(videos) for f in range(FRAMES + 1)
    )  # fmt: skip
    return FaceStore.write(path, rows, 40, meta={"margin": 0.25, "size": 40, "n_frames": FRAMES + 1})


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A run on three test sets, its own under a shift and two corruptions; and how many faces the network was shown."""
    folder = tmp_path_factory.mktemp("scored")
    stores = {name: write_store(folder / name, name) for name in ("ffpp-c23", "cdfv2", "dfdc")}
    checkpoint.save(folder / "run", method_of(DECLARED).build(DECLARED), {"spec": DECLARED})
    shown, read, load = Counter(), Counter(), run.load_detector

    def counting(trained):
        detector = load(trained)
        detector.register_forward_hook(lambda module, args, _: shown.update(faces=len(args[0])))
        return detector

    class Watched(np.memmap):
        def __getitem__(self, key):
            read["faces"] += 1
            return np.asarray(super().__getitem__(key))

    for store in stores.values():
        object.__setattr__(store, "faces", store.faces.view(Watched))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "load_detector", counting)
        run.evaluate_run(
            folder / "run", stores, Inputs(stores["ffpp-c23"]), folder / "scores", batch=5, frames=FRAMES,
            conditions=["blur-3", "noise-1"],
        )  # fmt: skip
    return stores, folder, shown["faces"], read["faces"]


def test_a_face_passes_once_a_condition_and_is_read_once(scored):
    stores, _, shown, read = scored
    faces = len(select(stores["cdfv2"].manifest, split="test", frames=FRAMES))
    assert faces == 4 * 2 * FRAMES
    assert shown == faces * (4 + 1 + 1)  # its own set: clean, shifted, two corruptions
    assert read == 3 * faces


def test_tables_read_what_was_written_and_no_network(scored, monkeypatch):
    _, folder, _, _ = scored
    monkeypatch.setattr(torch.nn.Module, "__call__", lambda *_, **__: pytest.fail("a network was asked again"))
    trained = TrainedRun("erm-ffpp", 0, folder / "run", folder / "scores")
    per_condition = trained.scores.groupby(["dataset", "condition"]).size().to_dict()
    own = {("ffpp-c23", name): 24 for name in ("clean", "shifted", "blur-3", "noise-1")}
    assert per_condition == own | {("cdfv2", "clean"): 24, ("dfdc", "clean"): 24}
    rows, features = trained.features("shifted")
    assert len(rows) == len(features) == 24
