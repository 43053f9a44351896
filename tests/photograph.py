"""A real photograph cut as a stored crop, and a schematic face of 81 landmarks laid over its face."""

import numpy as np
import pytest
import skimage.data
import skimage.transform

SIDE = 160


def arc(n: int, centre: tuple[float, float], radii: tuple[float, float], start: float, stop: float) -> np.ndarray:
    angle = np.pi * np.linspace(start, stop, n)
    return np.stack([centre[0] + radii[0] * np.cos(angle), centre[1] + radii[1] * np.sin(angle)], axis=1)


def face_landmarks(side: int = SIDE) -> np.ndarray:
    """81 landmarks (81, 2) float32 of a frontal face in a crop with a margin of .25, in the detectors' order."""
    ring = {"start": 1, "stop": 1 + 5 / 3}
    points = np.empty((81, 2))
    points[:68] = np.concatenate(
        [
            arc(17, (0.5, 0.42), (0.32, 0.42), 1, 0),
            arc(5, (0.36, 0.33), (0.1, 0.03), 1, 2),
            arc(5, (0.64, 0.33), (0.1, 0.03), 1, 2),
            np.stack([np.full(4, 0.5), np.linspace(0.4, 0.54, 4)], axis=1),
            arc(5, (0.5, 0.57), (0.06, 0.02), 1, 0),
            arc(6, (0.36, 0.41), (0.06, 0.025), **ring),
            arc(6, (0.64, 0.41), (0.06, 0.025), **ring),
            arc(12, (0.5, 0.68), (0.12, 0.045), 1, 1 + 11 / 6),
            arc(8, (0.5, 0.68), (0.09, 0.02), 1, 1 + 7 / 4),
        ]
    )
    hairline = [77, 75, 76, 68, 69, 70, 71, 80, 72, 73, 79, 74, 78]
    points[hairline] = arc(15, (0.5, 0.4), (0.31, 0.3), 1, 2)[1:-1]
    return (points * side).astype(np.float32)


@pytest.fixture
def landmarks() -> np.ndarray:
    return face_landmarks()


@pytest.fixture(scope="session")
def _portrait() -> np.ndarray:
    picture = skimage.transform.resize(skimage.data.astronaut()[18:208, 128:318], (SIDE, SIDE), anti_aliasing=True)
    return np.rint(255 * picture).astype(np.uint8)


@pytest.fixture
def image(_portrait: np.ndarray) -> np.ndarray:
    """(160, 160, 3) uint8, read-only: a memory-mapped face may not be written to."""
    picture = _portrait.copy()
    picture.flags.writeable = False
    return picture
