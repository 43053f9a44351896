"""A set of noise with faces at known places, and two networks as they are before their first step."""

import cv2
import numpy as np
import pytest
import torch

from dfrepro import params, places
from dfrepro.data.crop import crop, crop_box, to_crop
from dfrepro.data.layouts.base import Video
from dfrepro.data.manifest import Face, FaceStore
from dfrepro.jobs import pipeline
from dfrepro.methods.pim import run as backbone
from dfrepro.train import checkpoint

RUN, SET, SIDE = "erm-ffpp", "ffpp-c23", 36
VIDEOS = [("original", f"{i:03d}", 0, (f"{i:03d}",)) for i in range(8)]
VIDEOS += [(fake, f"{i:03d}_{i + 1:03d}", 1, (f"{i:03d}", f"{i + 1:03d}"))
           for fake in ("Deepfakes", "FaceSwap") for i in range(0, 8, 2)]  # fmt: skip


def landmarks(rng) -> np.ndarray:
    """(81, 2): 68 points in a square of 24 pixels at 36, 36, as crops of 36 with margin .25 need, and a forehead."""
    face = rng.uniform(36, 59, (68, 2)).round()
    face[:2] = [[36, 36], [59, 59]]
    return np.concatenate([face, np.stack([np.linspace(38, 57, 13), np.full(13, 30.0)], 1)])


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """Params at smoke scale in a folder of their own: 16 test videos of four frames, two seeds of a run.

    Of a module and not of the session: what it puts in the place of `artifacts` must end with these tests.
    """
    folder = tmp_path_factory.mktemp("protocol")
    rng, videos, faces = np.random.default_rng(0), [], []
    for manipulation, name, label, people in VIDEOS:
        place = folder / "videos" / manipulation / name
        place.mkdir(parents=True)
        videos.append(Video("ffpp", manipulation, name, label, "test", people, "c23", place, "frames"))
        for frame in range(4):
            picture = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
            cv2.imwrite(str(place / f"{frame}.png"), picture[..., ::-1])
            points = landmarks(rng)
            box = crop_box(points, 0.25)
            faces.append(Face(crop(picture, box, SIDE), "ffpp", manipulation, name, frame, label, "test",
                              to_crop(points, box, SIDE), box, people, "c23", "81"))  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(params.Params, "artifacts", property(lambda self: folder / "artifacts"))
        patch.setattr(pipeline, "videos", lambda p, dataset: videos)
        p = params.load(scale="smoke", seeds=[0, 1])
        p = p.model_copy(update={"roots": dict.fromkeys(p.roots, "/data")})
        faces.sort(key=lambda face: (face.manipulation, face.video, face.frame))
        FaceStore.write(places.faces_folder(p, SET), faces, SIDE, meta={"margin": 0.25, "predictors": ["81"]})
        for seed in p.seeds:
            spec = p.spec(RUN, seed)
            torch.manual_seed(seed)
            out = places.run_folder(p, RUN, seed)
            out.mkdir(parents=True)
            checkpoint.save(out, backbone.build(spec).eval(), {"spec": spec, "faces": {}})
        yield p
