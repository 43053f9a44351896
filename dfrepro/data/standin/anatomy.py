"""Where the parts of a moving face are: lids, lips, brows, and the 81 landmarks, in face coordinates.

The renderer draws from these curves and the ground truth samples them, so that both agree by construction.
"""

import numpy as np

from dfrepro.data.standin.identity import EYE_LEVEL, Geometry
from dfrepro.data.standin.motion import State
from dfrepro.data.standin.noise import bump, smoothstep

INNER_EYE, OUTER_EYE = -1.0, 1.0  # the eye's own abscissa `p` runs from the nose outwards


def displacement(g: Geometry, state: State, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far the expression has moved the skin that is now at (x, y)."""
    jaw = 0.85 * state.gap * smoothstep(g.mouth_y - 0.02, g.chin - 0.05, y)
    brows = -state.brow * bump(np.abs(x), y, g.eye_x, g.eye_y - g.brow_lift, 0.4, 0.17)
    corner = state.smile * bump(np.abs(x), y, 1.25 * g.mouth_width, g.mouth_y - 0.03, 0.18, 0.16)
    return 0.05 * corner * np.sign(x), jaw + brows - 0.035 * corner


def lids(g: Geometry, state: State, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower lid (y relative to the eye's centre) at abscissa `p`, in -1 .. 1."""
    arch = np.sqrt(np.maximum(0, 1 - p**2))
    lower = 0.55 * g.eye_open * arch**1.3
    upper = -g.eye_open * arch * (1 - 0.12 * p)
    closed = upper + (lower - upper) * 0.94 * state.blink
    tilt = g.eye_tilt * p
    return g.eye_width * (closed + tilt), g.eye_width * (lower + tilt)


def mouth_width(g: Geometry, state: State) -> float:
    return g.mouth_width * (1 + 0.14 * state.smile - 0.22 * state.pucker - 0.6 * state.gap)


def lips(g: Geometry, state: State, p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The four lip lines from top to bottom (y relative to the mouth's centre) at abscissa `p` in -1 .. 1."""
    arch = np.sqrt(np.maximum(0, 1 - p**2))
    full = 1 + 0.35 * state.pucker - 0.2 * max(state.smile, 0)
    corners = -0.055 * state.smile * p**2 * np.sign(1.0)
    bow = 1 - 0.22 * np.exp(-((p / 0.14) ** 2))
    inner_upper = corners - 0.15 * state.gap * arch
    inner_lower = corners + 0.85 * state.gap * arch
    outer_upper = inner_upper - full * g.lip_upper * arch**0.9 * bow
    outer_lower = inner_lower + full * g.lip_lower * arch**1.1
    return outer_upper, inner_upper, inner_lower, outer_lower


def brow_line(g: Geometry, p: np.ndarray) -> np.ndarray:
    """y of the middle of a brow, at rest, for `p` in -1 (inner end) .. 1."""
    return g.eye_y - g.brow_lift - g.brow_arch * (1 - (p - 0.25) ** 2) + g.brow_arch + g.brow_tilt * p * g.brow_length


def jaw_line(g: Geometry, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The outline from the left ear (angle 0) over the chin (pi/2) to the right ear (pi)."""
    c, s = np.cos(angle), np.sin(angle)
    x = -g.width * np.sign(c) * np.abs(c) ** g.square
    return x, EYE_LEVEL + (g.chin - EYE_LEVEL) * np.abs(s) ** g.square


def landmarks(g: Geometry, state: State) -> np.ndarray:
    """The 81 landmarks (68 of iBUG, 13 of the forehead) of a face with this expression, (81, 2) face coordinates."""
    left = [_mirror(side) for side in _brow_and_eye(g, state)]
    right = _brow_and_eye(g, state)
    still = np.concatenate([_jaw(g), left[0][::-1], right[0], _nose(g)])
    still = _express(g, state, still)
    # iBUG runs from left to right on brows; eyes start at the left corner and go over the top
    eyes = np.concatenate([left[1], right[1][[3, 2, 1, 0, 5, 4]]])
    forehead = _express(g, state, _forehead(g))
    return np.concatenate([still, eyes, _mouth(g, state), forehead])


def _mirror(points: np.ndarray) -> np.ndarray:
    return points * [-1, 1]


EAR_TOP = -0.15  # y of landmarks 0 and 16: where annotators begin the outline


def _jaw(g: Geometry) -> np.ndarray:
    """17 points at equal distances along the outline from ear to ear."""
    x, y = jaw_line(g, np.linspace(0, np.pi, 400))
    line = np.concatenate([[[-g.width, EAR_TOP]], np.stack([x, y], 1), [[g.width, EAR_TOP]]])
    walked = np.concatenate([[0], np.hypot(*np.diff(line, axis=0).T).cumsum()])
    return np.stack([np.interp(np.linspace(0, walked[-1], 17), walked, line[:, i]) for i in range(2)], 1)


def _brow_and_eye(g: Geometry, state: State) -> tuple[np.ndarray, np.ndarray]:
    p = np.linspace(-0.95, 0.95, 5)
    brow = np.stack([_brow_x(g, p), brow_line(g, p) - 0.2 * g.brow_thick], 1)
    q = np.array([1, 0.36, -0.36, -1, -0.36, 0.36])
    upper, lower = lids(g, state, q)
    eye = np.stack([g.eye_x + g.eye_width * q, g.eye_y + np.where(np.arange(6) < 4, upper, lower)], 1)
    return brow, eye


def _brow_x(g: Geometry, p: np.ndarray) -> np.ndarray:
    return g.eye_x + 0.02 + g.brow_length * p


def _nose(g: Geometry) -> np.ndarray:
    bridge = np.stack([np.zeros(4), np.linspace(g.eye_y - 0.02, g.nose_y - 0.06, 4)], 1)
    x = np.linspace(-0.8, 0.8, 5)
    base = np.stack([x * g.nose_width, g.nose_y + 0.045 * (1 - x**2)], 1)
    return np.concatenate([bridge, base])


def _mouth(g: Geometry, state: State) -> np.ndarray:
    outer_p, inner_p = (
        np.array([-1, -0.62, -0.27, 0, 0.27, 0.62, 1, 0.62, 0.27, 0, -0.27, -0.62]),
        np.array([-0.85, -0.3, 0, 0.3, 0.85, 0.3, 0, -0.3]),
    )
    top, upper, lower, bottom = (np.asarray(line) for line in lips(g, state, outer_p))
    outer = np.where(np.arange(12) < 7, top, bottom)
    _, upper, lower, _ = lips(g, state, inner_p)
    inner = np.where(np.arange(8) < 5, upper, lower)
    x = mouth_width(g, state) * np.concatenate([outer_p, inner_p])
    return np.stack([x, g.mouth_y + np.concatenate([outer, inner])], 1)


# the order in which the 81-point predictor numbers the forehead, and its outline from left to right
FOREHEAD_FROM_LEFT = (77, 75, 76, 68, 69, 70, 71, 80, 72, 73, 79, 74, 78)


def _forehead(g: Geometry) -> np.ndarray:
    angle = np.linspace(np.pi * 0.96, np.pi * 0.04, 13)
    arc = np.stack([0.93 * g.width * np.cos(angle), -0.2 + (g.hairline + 0.2) * np.sin(angle)], 1)
    points = np.empty((13, 2))
    points[np.array(FOREHEAD_FROM_LEFT) - 68] = arc
    return points


def _express(g: Geometry, state: State, still: np.ndarray) -> np.ndarray:
    moved = still + np.stack(displacement(g, state, *still.T), 1)
    return still + np.stack(displacement(g, state, *moved.T), 1)
