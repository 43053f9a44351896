"""Eyes and mouth, drawn anew in every frame from the lid and lip curves of `anatomy.py`.

Each function paints on a patch of linear RGB in place. `x`, `y` are the face coordinates of the patch's pixels and
`light` the light that falls on them, (H, W, 3); `soft` is the width of an anti-aliased edge in face units.
"""

import numpy as np

from dfrepro.data.standin.anatomy import lids, lips, mouth_width
from dfrepro.data.standin.identity import Identity
from dfrepro.data.standin.motion import State
from dfrepro.data.standin.noise import Array, smoothstep

SCLERA = np.array([0.62, 0.57, 0.53], np.float32)
TEETH = np.array([0.60, 0.54, 0.44], np.float32)
THROAT = np.array([0.06, 0.015, 0.012], np.float32)
GLINT = np.array([1.1, 1.1, 1.05], np.float32)


def blend(patch: Array, colour: Array, cover: Array) -> None:
    patch += (colour - patch) * cover[..., None]


def draw_eye(
    patch: Array, person: Identity, state: State, side: int, x: Array, y: Array, light: Array, soft: float
) -> None:
    """Paint one eye; `side` is -1 for the left of the picture, +1 for the right."""
    g = person.geometry
    p = (side * x - g.eye_x) / g.eye_width
    q = y - g.eye_y
    upper, lower = lids(g, state, np.clip(p, -1, 1))
    inside = np.abs(p) < 1.02
    open_ = smoothstep(-soft, soft, q - upper) * smoothstep(-soft, soft, lower - q) * inside
    ball = SCLERA * light * (0.45 + 0.55 * smoothstep(-0.01, 0.055, q - upper))[..., None]
    _iris(ball, person, state, x - side * g.eye_x, q, light, soft)
    crease = np.exp(-(((q - upper + 0.26 * g.eye_width * (1 - 0.5 * state.blink)) / 0.012) ** 2)) * smoothstep(
        1.25, 0.9, np.abs(p)
    )
    patch *= 1 - 0.45 * crease[..., None]
    blend(patch, ball, open_)
    lash = np.exp(-((np.minimum(q - upper, 0) / 0.020) ** 2)) * np.exp(-((np.maximum(q - upper, 0) / 0.010) ** 2))
    fade = smoothstep(1.15, 0.85, np.abs(p + 0.05))
    blend(patch, 0.02 * light, 0.85 * lash * fade)
    rim = np.exp(-(((q - lower) / 0.010) ** 2)) * smoothstep(1.05, 0.8, np.abs(p))
    patch *= 1 - 0.35 * rim[..., None]


def _iris(ball: Array, person: Identity, state: State, dx: Array, dy: Array, light: Array, soft: float) -> None:
    radius = 0.47 * person.geometry.eye_width
    cx, cy = 0.30 * radius * 2 * state.gaze_x, 0.30 * radius * state.gaze_y - 0.006
    r = np.hypot(dx - cx, dy - cy) / radius
    angle = np.arctan2(dy - cy, dx - cx)
    rays = 1 + 0.18 * np.sin(11 * angle + 3 * np.sin(5 * angle)) + 0.5 * (0.8 - r)
    ring = 1 - 0.75 * smoothstep(0.75, 1.0, r)
    edge = soft / radius
    blend(ball, person.iris.astype(np.float32) * (rays * ring)[..., None] * light, smoothstep(1 + edge, 1 - edge, r))
    blend(ball, np.full(3, 0.004, np.float32), smoothstep(0.42 + edge, 0.42 - edge, r))
    glint = np.exp(-(((dx - cx - 0.3 * radius) ** 2 + (dy - cy + 0.4 * radius) ** 2) / (0.2 * radius) ** 2))
    blend(ball, GLINT * light.mean() * 1.6, 0.9 * glint)


def draw_mouth(patch: Array, person: Identity, state: State, x: Array, y: Array, light: Array, soft: float) -> None:
    g = person.geometry
    p = x / mouth_width(g, state)
    q = y - g.mouth_y
    top, upper, lower, bottom = lips(g, state, np.clip(p, -1, 1))
    inside = smoothstep(1.03, 0.97, np.abs(p))
    blur = 2.2 * soft
    flesh = smoothstep(-blur, blur, q - top) * smoothstep(-blur, blur, bottom - q) * inside
    within = np.clip((q - lower) / (bottom - lower + 1e-3), 0, 1)
    tone = np.where(q < 0.5 * (upper + lower), 0.72, 0.92 + 0.35 * np.exp(-(((within - 0.4) / 0.25) ** 2)))
    tone = tone * (1 + 0.05 * np.sin(95 * x + 9 * np.sin(14 * x)))
    colour = person.skin.astype(np.float32) * np.array([0.95, 0.52, 0.55], np.float32)
    blend(patch, colour * tone[..., None] * light, 0.85 * flesh)
    line = np.exp(-(((q - 0.5 * (upper + lower)) / (0.010 + 0.5 * state.gap * 0)) ** 2)) * smoothstep(
        1.06, 0.9, np.abs(p)
    )
    patch *= 1 - 0.75 * line[..., None] * (state.gap < 0.03)
    hole = smoothstep(-soft, soft, q - upper) * smoothstep(-soft, soft, lower - q) * inside
    depth = THROAT * light * (0.7 + 0.3 * inside)[..., None]
    tooth = smoothstep(0.052, 0.040, q - upper) * smoothstep(0.85, 0.6, np.abs(p)) * min(state.gap / 0.05, 1)
    gaps = 1 - 0.25 * np.exp(-((np.mod(x / 0.052 + 0.5, 1) - 0.5) ** 2) / 0.004)
    shade = (0.55 + 0.45 * smoothstep(0, 0.03, q - upper)) * gaps
    blend(depth, TEETH * shade[..., None] * light, tooth)
    blend(patch, depth, hole)
