"""How a head moves: pose, gaze, blinks, expression and speech as smooth functions of time.

A video of the stand-in is short, so time runs faster than in life: each frame is `STRIDE` frames of real motion.
"""

from dataclasses import dataclass, replace

import numpy as np

STRIDE = 4.0 / 25.0  # seconds of motion from one frame to the next


@dataclass(frozen=True)
class State:
    """One moment. Angles in radians, lengths in face units, `scale` in pixels per unit, `cx`, `cy` in pixels."""

    yaw: float
    pitch: float
    roll: float
    cx: float
    cy: float
    scale: float
    gap: float  # opening of the mouth
    smile: float  # -1 .. 1
    pucker: float  # 0 .. 1
    brow: float  # raise, face units
    blink: float  # 0 open .. 1 closed
    gaze_x: float
    gaze_y: float

    def with_expression(self, other: "State") -> "State":
        """This pose with another moment's face (what reenactment does)."""
        names = ("gap", "smile", "pucker", "brow", "blink", "gaze_x", "gaze_y")
        return replace(self, **{name: getattr(other, name) for name in names})

    def with_mouth(self, other: "State") -> "State":
        return replace(self, gap=other.gap, smile=other.smile, pucker=other.pucker)


def wander(rng: np.random.Generator, times: np.ndarray, *, period: float, terms: int = 5) -> np.ndarray:
    """A smooth random curve with unit variance and periods around `period` seconds."""
    rates = 2 * np.pi / (period * np.exp(rng.normal(0, 0.35, terms)))
    phases = rng.uniform(0, 2 * np.pi, terms)
    return np.cos(np.outer(times, rates) + phases) @ rng.normal(0, 1, terms) * np.sqrt(2 / terms)


def blinks(rng: np.random.Generator, times: np.ndarray, *, every: float = 2.5) -> np.ndarray:
    """0 most of the time, up to 1 for a fifth of a second at random moments."""
    count = rng.poisson(times[-1] / every) if len(times) > 1 else 0
    moments = rng.uniform(0, times[-1], count)
    closed = np.exp(-(((times[:, None] - moments) / 0.11) ** 2))
    return closed.max(1) if count else np.zeros_like(times)


def move(rng: np.random.Generator, frames: int, *, size: int, face: tuple[float, float] = (61.0, 69.0)) -> list[State]:
    """Draw `frames` moments of one person in a `size` x `size` picture; `face` is the range of `scale`."""
    t = np.arange(frames) * STRIDE
    turn, talk = np.radians(rng.normal(0, 7)), rng.uniform(0.3, 1.0)
    yaw = np.clip(turn + np.radians(5.5) * wander(rng, t, period=3), -0.33, 0.33)
    pitch = np.clip(np.radians(rng.normal(0, 3) + 3.5 * wander(rng, t, period=2.5)), -0.2, 0.2)
    roll = np.clip(np.radians(rng.normal(0, 2.5) + 2.5 * wander(rng, t, period=3)), -0.2, 0.2)
    scale = rng.uniform(*face) * size / 224 * (1 + 0.015 * wander(rng, t, period=4))
    cx = size / 2 + size * (rng.uniform(-0.04, 0.04) + 0.012 * wander(rng, t, period=3))
    cy = size * 0.49 + size * (rng.uniform(-0.02, 0.03) + 0.008 * wander(rng, t, period=2.5))
    voice = np.clip(0.5 + wander(rng, t, period=1.5), 0, 1.3) * np.abs(wander(rng, t, period=0.55))
    curves = {
        "yaw": yaw, "pitch": pitch, "roll": roll, "cx": cx, "cy": cy, "scale": scale,
        "gap": np.clip(0.10 * talk * voice, 0, 0.17),
        "smile": np.clip(rng.normal(0.1, 0.4) + 0.35 * wander(rng, t, period=3), -0.7, 1),
        "pucker": np.clip(0.35 * talk * wander(rng, t, period=0.8), 0, 0.8),
        "brow": 0.022 * wander(rng, t, period=2),
        "blink": blinks(rng, t),
        "gaze_x": np.clip(0.4 * wander(rng, t, period=2), -0.8, 0.8),
        "gaze_y": np.clip(0.25 * wander(rng, t, period=2), -0.5, 0.5),
    }  # fmt: skip
    return [State(**{name: float(curve[i]) for name, curve in curves.items()}) for i in range(frames)]
