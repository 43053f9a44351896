"""A face store gives back exactly what was written, and refuses what does not fit together."""

import pickle
import shutil

import numpy as np
import pytest

from dfrepro.data.manifest import SCHEMA, Face, FaceStore
from dfrepro.errors import WorkbookError
from dfrepro.files import read_json, write_json


def face(i: int, *, size: int = 8, mask: bool = False, **columns) -> Face:
    rng = np.random.default_rng(i)
    given = {
        "pixels": rng.integers(0, 256, (size, size, 3), dtype=np.uint8),
        "landmarks": rng.uniform(0, size, (81, 2)),
        "mask": rng.integers(0, 256, (size, size), dtype=np.uint8) if mask else None,
        "dataset": "ffpp",
        "manipulation": "Deepfakes",
        "video": "071_054",
        "frame": i,
        "label": 1,
        "split": "train",
        "identities": ("071", "054"),
        "box": (1, 2, 9, 10),
    }
    return Face(**{**given, **columns})


def test_what_is_written_is_read_back_in_order(tmp_path):
    faces = [face(i, mask=i % 2 == 1) for i in range(5)]
    store = FaceStore.write(tmp_path / "store", iter(faces), 8, meta={"margin": 0.25}, report={"counts": {"videos": 1}})
    assert np.array_equal(store.faces, np.stack([f.pixels for f in faces]))
    assert np.array_equal(store.masks, np.stack([faces[1].mask, faces[3].mask]))
    assert store.manifest["mask"].to_list() == [-1, 0, -1, 1, -1]
    assert np.allclose(store.landmarks(), np.stack([f.landmarks for f in faces]), atol=1e-6)
    assert list(store.manifest["identities"][0]) == ["071", "054"]
    assert store.manifest.columns.to_list() == SCHEMA.names
    assert (store.size, store.meta["margin"], store.report["counts"]) == (8, 0.25, {"videos": 1})


def test_arrays_are_byte_for_byte_what_numpy_saves(tmp_path):
    faces = [face(i) for i in range(12)]
    FaceStore.write(tmp_path / "store", faces, 8)
    np.save(tmp_path / "reference.npy", np.stack([f.pixels for f in faces]))
    assert (tmp_path / "store" / "faces.npy").read_bytes() == (tmp_path / "reference.npy").read_bytes()


def test_a_store_without_faces_is_a_store(tmp_path):
    store = FaceStore.write(tmp_path / "store", [], 8)
    assert len(store) == 0
    assert store.faces.shape == (0, 8, 8, 3)
    assert store.landmarks().shape == (0, 81, 2)


def test_a_store_without_masks_has_no_mask_file(tmp_path):
    store = FaceStore.write(tmp_path / "store", [face(0)], 8)
    assert store.masks is None
    assert store.mask(0) is None
    assert not (tmp_path / "store" / "masks.npy").exists()


def test_a_pickled_store_carries_its_path_and_no_pixels(tmp_path):
    store = FaceStore.write(tmp_path / "store", [face(i, size=64) for i in range(20)], 64)
    pickled = pickle.dumps(store)
    assert len(pickled) < 1000
    assert np.array_equal(pickle.loads(pickled).faces, store.faces)  # noqa: S301 - made two lines above


def test_an_interrupted_write_leaves_nothing_and_keeps_what_was_there(tmp_path):
    FaceStore.write(tmp_path / "store", [face(0)], 8)

    def breaks():
        yield face(1)
        raise RuntimeError("pulled the plug")

    with pytest.raises(RuntimeError):
        FaceStore.write(tmp_path / "store", breaks(), 8)
    assert FaceStore.open(tmp_path / "store").manifest["frame"].to_list() == [0]
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize(
    ("columns", "word"),
    [
        ({"label": 2}, "label"),
        ({"predictor": "guess"}, "predictor"),
        ({"landmarks": np.zeros((68, 2))}, "landmarks"),
        ({"landmarks": np.full((81, 2), np.nan)}, "landmarks"),
        ({"pixels": np.zeros((9, 8, 3), np.uint8)}, "crop"),
        ({"pixels": np.zeros((8, 8, 3), np.float32)}, "crop"),
    ],
)
def test_a_row_out_of_range_is_refused_by_name(tmp_path, columns, word):
    with pytest.raises(WorkbookError, match=word) as caught:
        FaceStore.write(tmp_path / "store", [face(3, **columns)], 8)
    assert "ffpp/Deepfakes/071_054 frame 3" in str(caught.value)


def _truncate(folder):
    with open(folder / "faces.npy", "r+b") as file:
        file.truncate(300)


def _objects(folder):
    np.save(folder / "faces.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


def _old_version(folder):
    write_json(folder / "meta.json", {**read_json(folder / "meta.json"), "version": 0})


def _drop_masks(folder):
    (folder / "masks.npy").unlink()


def _garble(folder):
    (folder / "manifest.parquet").write_bytes(b"PAR1 nothing PAR1")


@pytest.mark.parametrize("damage", [_truncate, _objects, _old_version, _drop_masks, _garble, shutil.rmtree])
def test_a_damaged_store_is_refused_with_a_remedy(tmp_path, damage):
    folder = tmp_path / "store"
    FaceStore.write(folder, [face(i, mask=True) for i in range(4)], 8)
    damage(folder)
    with pytest.raises(WorkbookError, match="extract the faces again"):
        FaceStore.open(folder)
