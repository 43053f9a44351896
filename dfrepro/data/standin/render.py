"""From a person, a moment and a light to a picture: pose by a height field, shading by normals, 2 x supersampling.

For every pixel of the picture the renderer solves for the point of the face that is seen there (a fixed point, on a
coarse grid, because pose is smooth), looks the lit texture up, and paints eyes and mouth on top. Pictures are display
values in 0 .. 1, float32; colours before `develop` are linear light.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from dfrepro.data.standin import anatomy
from dfrepro.data.standin.features import draw_eye, draw_mouth
from dfrepro.data.standin.identity import Identity
from dfrepro.data.standin.motion import State
from dfrepro.data.standin.noise import Array, sample
from dfrepro.data.standin.skin import PER_UNIT, REACH, RELIEF, SIZE, Atlas, paint

CELL, SUPER = 6, 2  # coarse cell in pixels; supersampling
PIVOT, CAMERA = 0.12, 9.0  # depth of the axis of rotation; distance of the viewer, in face units
WRAP = np.array([0.34, 0.20, 0.15], np.float32)  # light that wanders under the skin: more of the red
STEPS = 6


@dataclass(frozen=True)
class Light:
    """One key light and a sky. `towards` points from the face to the key; `key`, `sky` are RGB strengths."""

    towards: Array  # (3,) unit
    key: Array  # (3,)
    sky: Array  # (3,)
    hardness: float = 18.0  # exponent of the highlight


@dataclass(frozen=True)
class Actor:
    person: Identity
    atlas: Atlas

    @classmethod
    def of(cls, person: Identity) -> "Actor":
        return cls(person, paint(person))


@dataclass(frozen=True)
class Layer:
    """A premultiplied RGBA picture whose left top pixel lies at (x0, y0) of the frame; it may stick out."""

    rgba: Array  # (h, w, 4) linear light
    x0: int
    y0: int

    def over(self, frame: Array) -> Array:
        """`frame` (H, W, 3) with the layer on top, as a new array."""
        height, width = frame.shape[:2]
        top, left = max(self.y0, 0), max(self.x0, 0)
        bottom, right = min(self.y0 + self.rgba.shape[0], height), min(self.x0 + self.rgba.shape[1], width)
        part = self.rgba[top - self.y0 : bottom - self.y0, left - self.x0 : right - self.x0]
        result = frame.copy()
        region = result[top:bottom, left:right]
        region *= 1 - part[..., 3:]
        region += part[..., :3]
        return result


def rotation(state: State) -> Array:
    """Yaw, then pitch, then roll, as a 3 x 3 matrix."""
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (state.yaw, state.pitch, state.roll))
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return roll @ pitch @ yaw


def project(actor: Actor, state: State, points: Array) -> Array:
    """Face coordinates (N, 2) -> pixels (N, 2) of the frame."""
    x, y = points.T.astype(np.float32)
    z = _height(actor, x[None], y[None])[0] - PIVOT
    a, b, depth = rotation(state) @ np.stack([x, y, z])
    zoom = state.scale / (1 - depth / CAMERA)
    return np.stack([state.cx + zoom * a, state.cy + zoom * b], 1)


def landmarks(actor: Actor, state: State) -> Array:
    """The true 81 landmarks in pixels, (81, 2)."""
    return project(actor, state, anatomy.landmarks(actor.person.geometry, state))


def _height(actor: Actor, x: Array, y: Array) -> Array:
    to_pixel = RELIEF / (2 * REACH)
    return sample(actor.atlas.height, (x + REACH) * to_pixel - 0.5, (y + REACH) * to_pixel - 0.5)


def seen_at(actor: Actor, state: State, px: Array, py: Array) -> tuple[Array, Array]:
    """The inverse of `project`: which face coordinates are seen at these pixels."""
    turned = np.stack([px - state.cx, py - state.cy]) / state.scale
    c, s = np.cos(state.roll), np.sin(state.roll)
    a, b = c * turned[0] + s * turned[1], c * turned[1] - s * turned[0]
    (cy, sy), (cp, sp) = ((np.cos(t), np.sin(t)) for t in (state.yaw, state.pitch))
    x, y = a, b
    for _ in range(STEPS):
        z = _height(actor, x, y) - PIVOT
        z1 = z * cy - x * sy
        nearer = 1 - (y * sp + z1 * cp) / CAMERA
        x, y = (a * nearer - z * sy) / cy, (b * nearer + z1 * sp) / cp
    return x.astype(np.float32), y.astype(np.float32)


def falling_light(actor: Actor, state: State, light: Light) -> tuple[Array, Array]:
    """Diffuse light and highlight over the relief map, (RELIEF, RELIEF, 3) and (RELIEF, RELIEF)."""
    normals = actor.atlas.normals
    turn = rotation(state)
    key, up = (turn.T @ light.towards).astype(np.float32), (turn.T @ [0, -1, 0]).astype(np.float32)
    half = light.towards + np.array([0, 0, 1])  # between the light and the viewer
    half = (turn.T @ (half / np.linalg.norm(half))).astype(np.float32)
    facing = (normals @ key)[..., None]
    diffuse = (
        light.key * np.maximum((facing + WRAP) / (1 + WRAP), 0) + light.sky * (0.75 + 0.25 * normals @ up)[..., None]
    )
    shine = (
        cv2.pow(np.maximum(normals @ half, 0), light.hardness)
        * actor.atlas.gloss
        * actor.person.shine
        * light.key.mean()
    )
    return diffuse.astype(np.float32), shine


def head(actor: Actor, state: State, light: Light) -> Layer:
    """Render the head."""
    reach = np.array([1.22, 1.45]) * state.scale
    x0, y0 = int(state.cx - reach[0]), int(state.cy - reach[1])
    columns, rows = (int(np.ceil(2 * r / CELL)) for r in reach)
    px, py = np.meshgrid(x0 - 0.5 + CELL * (np.arange(columns) + 0.5), y0 - 0.5 + CELL * (np.arange(rows) + 0.5))
    coarse = seen_at(actor, state, px.astype(np.float32), py.astype(np.float32))
    fine = (columns * CELL * SUPER, rows * CELL * SUPER)
    moved = anatomy.displacement(actor.person.geometry, state, *coarse)
    diffuse, shine = falling_light(actor, state, light)
    lit = _lit_texture(actor.atlas, diffuse, shine)
    u, v = (cv2.resize(((c - d) + REACH) * PER_UNIT - 0.5, fine) for c, d in zip(coarse, moved, strict=True))
    u, v = u.astype(np.float32), v.astype(np.float32)
    rgba = cv2.remap(lit, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    _features(rgba, actor, state, coarse, diffuse, CELL * SUPER, 1 / (SUPER * state.scale))
    return Layer(cv2.resize(rgba, (columns * CELL, rows * CELL), interpolation=cv2.INTER_AREA), x0, y0)


def _lit_texture(atlas: Atlas, diffuse: Array, shine: Array) -> Array:
    light = cv2.resize(diffuse, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
    gleam = cv2.resize(shine, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
    lit = np.empty((SIZE, SIZE, 4), np.float32)
    lit[..., :3] = (atlas.albedo * light + gleam[..., None]) * atlas.alpha[..., None]
    lit[..., 3] = atlas.alpha
    return lit


def _features(
    rgba: Array, actor: Actor, state: State, coarse: tuple[Array, Array], diffuse: Array, zoom: int, soft: float
):
    g, person = actor.person.geometry, actor.person
    boxes = [(side * g.eye_x, g.eye_y, 0.22, 0.14, side) for side in (-1, 1)] + [(0, g.mouth_y + 0.03, 0.36, 0.24, 0)]
    for cx, cy, half_width, half_height, side in boxes:
        near = (np.abs(coarse[0] - cx) < half_width) & (np.abs(coarse[1] - cy) < half_height)
        rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
        if len(rows) == 0:
            continue
        # a cell more on each side, so that interpolation inside the box knows its neighbours
        r0, r1, c0, c1 = max(rows[0] - 1, 0), rows[-1] + 2, max(columns[0] - 1, 0), columns[-1] + 2
        x, y = (_enlarge(axis[r0:r1, c0:c1], zoom) for axis in coarse)
        patch = rgba[r0 * zoom : r1 * zoom, c0 * zoom : c1 * zoom, :3]
        to_pixel = RELIEF / (2 * REACH)
        light = sample(diffuse, (x + REACH) * to_pixel - 0.5, (y + REACH) * to_pixel - 0.5)
        if side:
            draw_eye(patch, person, state, side, x, y, light, soft)
        else:
            draw_mouth(patch, person, state, x, y, light, soft)


def _enlarge(field: Array, zoom: int) -> Array:
    return cv2.resize(field, (field.shape[1] * zoom, field.shape[0] * zoom), interpolation=cv2.INTER_LINEAR)


def back_hair(actor: Actor, state: State, light: Light, size: int) -> Layer:
    """The hair behind the neck: turned and moved with the head, but flat."""
    c, s = state.scale * np.cos(state.roll * 0.6), state.scale * np.sin(state.roll * 0.6)
    centre = np.array([state.cx - 0.25 * state.scale * np.sin(state.yaw), state.cy])
    turn = np.array([[c, -s], [s, c]]) / PER_UNIT
    middle = SIZE / 2 - 0.5
    matrix = np.concatenate([turn, (centre - turn @ [middle, middle])[:, None]], 1).astype(np.float32)
    flat: Array = cv2.warpAffine(actor.atlas.back, matrix, (size, size), flags=cv2.INTER_LINEAR)
    flat[..., :3] *= 0.5 * light.key + 0.8 * light.sky
    return Layer(flat, 0, 0)


def develop(linear: Array) -> Array:
    """Linear light -> display values in 0 .. 1, with a soft shoulder and a 1/2.2 gamma."""
    exposed = linear * 1.36 / (linear + 0.62)
    return cv2.pow(np.minimum(np.maximum(exposed, 0), 1), 1 / 2.2)
