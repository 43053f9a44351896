"""Draws: balanced, the same for a (seed, epoch, index) in any number of workers, and never silently wrong."""

import pickle
from collections import Counter

import numpy as np
import pytest
import torch

from dfrepro.data.dataset import FaceDataset, Sample, batches, centre, select
from dfrepro.data.manifest import Face, FaceStore
from dfrepro.errors import WorkbookError

SIZE = 20


def fill(i: int) -> np.ndarray:
    """A crop whose every pixel says which face it is, and where in the crop it lies."""
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.stack([np.full((SIZE, SIZE), i), y, x], -1).astype(np.uint8)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FaceStore:
    """4 real videos, 4 Deepfakes, 2 FaceSwap, 3 frames each; the last of each in test."""
    groups = [("original", 4), ("Deepfakes", 4), ("FaceSwap", 2)]
    names = [(kind, video, n, frame) for kind, n in groups for video in range(n) for frame in range(3)]
    faces = (
        Face(
            fill(i), "ffpp", kind, f"{video}", frame, int(kind != "original"), "test" if video == n - 1 else "train",
            np.full((81, 2), 10.0), mask=fill(i)[..., 1] * (fill(i)[..., 2] > 9) if kind != "original" else None,
        )
        for i, (kind, video, n, frame) in enumerate(names)
    )  # fmt: skip
    return FaceStore.write(tmp_path_factory.mktemp("faces") / "store", faces, SIZE)


def dataset(store, seed=0, **kwargs) -> FaceDataset:
    return FaceDataset(store, select(store.manifest, split="train"), **{"size": 16, "seed": seed} | kwargs)


def brighten(sample: Sample, rng: np.random.Generator) -> Sample:
    return Sample(sample.image // 2 + rng.integers(0, 100, dtype=np.uint8), sample.label, sample.landmarks, sample.mask)


def pair(sample: Sample, rng: np.random.Generator) -> list[Sample]:
    mask = np.full(sample.image.shape[:2], 255, np.uint8)
    return [sample, Sample(255 - sample.image, 1, sample.landmarks, mask)]


# --- selection ------------------------------------------------------------------------------------------------------


def test_a_selection_has_the_split_the_reals_and_the_manipulations(store):
    rows = select(store.manifest, split="train", manipulations=["FaceSwap"])
    chosen = store.manifest.iloc[rows]
    assert Counter(chosen["manipulation"]) == {"original": 9, "FaceSwap": 3}
    assert set(chosen["split"]) == {"train"}


def test_a_selection_of_one_label(store):
    assert set(store.manifest.iloc[select(store.manifest, label=0)]["manipulation"]) == {"original"}


def test_frames_are_spread_over_the_video_and_not_the_first_ones(store):
    chosen = store.manifest.iloc[select(store.manifest, frames=2)]
    assert {tuple(group["frame"]) for _, group in chosen.groupby(["manipulation", "video"])} == {(0, 2)}


def test_what_is_not_there_is_named(store):
    with pytest.raises(WorkbookError, match="Face2Face"):
        select(store.manifest, manipulations=["Face2Face"])
    with pytest.raises(WorkbookError, match="val"):
        select(store.manifest, split="val")


# --- balance --------------------------------------------------------------------------------------------------------


def test_every_even_slice_is_half_real(store):
    data = dataset(store)
    for start in range(0, 40, 4):
        assert data.__getitems__(range(start, start + 4))["label"].tolist() == [0, 1, 0, 1]


def test_fakes_are_even_over_manipulations(store):
    data = dataset(store, draws=240)
    kinds = Counter(store.manifest["manipulation"].iloc[data.__getitems__(range(240))["row"].numpy()])
    assert kinds == {"original": 120, "Deepfakes": 60, "FaceSwap": 60}


def test_an_epoch_is_twice_the_rarer_class(store):
    assert len(dataset(store)) == 18
    rows = data_rows = dataset(store).__getitems__(range(18))["row"].tolist()
    reals = [row for row in data_rows if row < 12]
    assert sorted(reals) == list(range(9))  # each real once
    assert len(rows) == 18


def test_an_epoch_of_all_has_as_many_draws_as_there_are_faces(store):
    assert len(dataset(store, draws="all")) == len(select(store.manifest, split="train")) == 21


def test_one_class_alone_is_gone_through_once_an_epoch(store):
    data = FaceDataset(store, select(store.manifest, split="train", label=0), size=16, seed=0)
    assert sorted(data.__getitems__(range(len(data)))["row"].tolist()) == list(range(9))


def test_a_face_comes_back_only_when_its_group_is_through(store):
    data = dataset(store, draws=72)
    rows = data.__getitems__(range(72))["row"].tolist()
    counts = Counter(row for row in rows if row < 12)
    assert set(counts.values()) == {4}


# --- determinism ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", [None, brighten, pair])
def test_a_draw_depends_on_seed_epoch_and_index_alone(store, transform):
    data, again = (dataset(store, transform=transform) for _ in range(2))
    data.__getitems__(range(30))  # another history
    for draw in (3, 17, 18, 41):
        one, other = data[draw], again[draw]
        together = again.__getitems__([draw - 1, draw])
        assert all(torch.equal(one[key], other[key]) for key in one)
        assert torch.equal(together["image"][-len(one["image"]) :], one["image"])


def test_epochs_and_seeds_differ(store):
    data = dataset(store)
    first, second = data.__getitems__(range(18)), data.__getitems__(range(18, 36))
    assert sorted(first["row"][::2]) == sorted(second["row"][::2])
    assert not torch.equal(first["row"], second["row"])
    assert not torch.equal(first["row"], dataset(store, seed=1).__getitems__(range(18))["row"])


def test_a_face_drawn_twice_is_not_the_same_picture(store):
    data = dataset(store, draws=144, transform=brighten)
    batch = data.__getitems__(range(144))
    same = batch["image"][batch["row"] == batch["row"][0]]
    assert len({image.numpy().tobytes() for image in same}) > 1


@pytest.mark.parametrize("transform", [None, pair])
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(store, transform, workers):
    alone = batches(dataset(store, transform=transform), 6, first=0, last=8)
    shared = batches(dataset(store, transform=transform), 6, first=0, last=8, workers=workers)
    for ours, theirs in zip(alone, shared, strict=True):
        assert all(torch.equal(ours[0][key], theirs[0][key]) for key in ours[0])


def test_beginning_in_the_middle_is_what_would_have_come(store):
    whole = [batch[0]["draw"].tolist() for batch in batches(dataset(store), 4, first=0, last=9)]
    late = [batch[0]["draw"].tolist() for batch in batches(dataset(store), 4, first=5, last=9)]
    assert whole[5:] == late


def test_ranks_and_micro_batches_split_the_joint_batch_in_order(store):
    whole = [batch[0]["row"].tolist() for batch in batches(dataset(store), 8, first=0, last=3)]
    parts = [list(batches(dataset(store), 8, first=0, last=3, rank=rank, world_size=2, micro=2)) for rank in (0, 1)]
    for step in range(3):
        joined = [row for rank in (0, 1) for micro in parts[rank][step] for row in micro["row"].tolist()]
        assert joined == whole[step]


def test_the_global_generators_are_not_touched(store):
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - the point of this test
    expected = torch.rand(1), np.random.rand()  # noqa: NPY002
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    list(batches(dataset(store, transform=brighten), 4, first=0, last=3))
    assert (torch.rand(1), np.random.rand()) == expected  # noqa: NPY002


def test_a_pickled_dataset_draws_the_same_and_reopens_the_store(store):
    data = dataset(store)
    copied = pickle.dumps(data)
    assert len(copied) < 20_000
    assert torch.equal(pickle.loads(copied)[5]["image"], data[5]["image"])  # noqa: S301 - our own


# --- pictures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", [None, lambda sample, rng: sample])
def test_without_augmentation_a_face_is_seen_as_in_testing_whenever_it_is_drawn(store, transform):
    batch = dataset(store, transform=transform).__getitems__(range(36))  # two epochs
    assert batch["image"].shape == (36, 3, 16, 16)
    assert batch["image"].dtype == torch.uint8
    for image, row in zip(batch["image"].numpy(), batch["row"].tolist()):
        assert np.array_equal(image.transpose(1, 2, 0), centre(fill(row), 16))


def test_a_window_as_large_as_the_face_is_the_face(store):
    batch = dataset(store, size=SIZE)[0]
    assert np.array_equal(batch["image"][0].permute(1, 2, 0), fill(int(batch["row"])))


def test_masks_move_with_their_faces(store):
    batch = dataset(store, masks=True).__getitems__(range(18))
    for image, mask, label in zip(batch["image"], batch["mask"], batch["label"]):
        expected = image[1] * (image[2] > 9) if label else torch.zeros(16, 16, dtype=torch.uint8)
        assert torch.equal(mask, expected)


@pytest.mark.parametrize("masks", [True, False])
def test_a_transform_sees_the_mask_only_when_masks_are_wanted(store, masks):
    seen = []
    data = dataset(store, masks=masks, transform=lambda sample, rng: seen.append(sample) or sample)
    data.__getitems__(range(2))
    assert [sample.mask is not None for sample in seen] == [False, masks]
    assert all(sample.landmarks.shape == (81, 2) for sample in seen)


def test_a_pair_is_cut_alike_and_stays_together(store):
    data = FaceDataset(store, select(store.manifest, split="train", label=0), size=16, seed=0, transform=pair)
    batch = data.__getitems__(range(4))
    assert batch["label"].tolist() == [0, 1] * 4
    assert batch["draw"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert torch.equal(batch["image"][::2], 255 - batch["image"][1::2])
    assert batch["mask"].float().mean((1, 2)).tolist() == [0, 255] * 4


def test_a_transform_may_return_the_final_size(store):
    data = dataset(
        store, transform=lambda sample, rng: Sample(sample.image[2:18, 2:18], sample.label, sample.landmarks)
    )
    assert data[0]["image"][0, 1:, 0, 0].tolist() == [2, 2]


def test_a_transform_of_another_size_is_refused(store):
    data = dataset(store, transform=lambda sample, rng: Sample(sample.image[1:], sample.label, sample.landmarks))
    with pytest.raises(WorkbookError, match="19 x 20"):
        data[0]


def test_the_centre_is_the_centre():
    images = np.arange(2 * 7 * 7 * 3).reshape(2, 7, 7, 3)
    assert np.array_equal(centre(images, 3), images[:, 2:5, 2:5])
    assert np.array_equal(centre(images[0], 7), images[0])
    with pytest.raises(WorkbookError, match="9 px"):
        centre(images, 9)


def test_a_window_larger_than_the_face_is_refused(store):
    with pytest.raises(WorkbookError, match="32 px"):
        dataset(store, size=32)


def test_no_rows_are_refused(store):
    with pytest.raises(WorkbookError, match="at least one face"):
        FaceDataset(store, np.array([], int), size=16, seed=0)


def test_keys_name_faces(store):
    assert dataset(store).keys([0, 13]) == ["ffpp/original/0:0", "ffpp/Deepfakes/0:1"]
