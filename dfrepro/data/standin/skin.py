"""The still texture of a head: skin with its colour, age and pores, brows, beard, ears and hair.

A texture is a square of `SIZE` pixels over face coordinates -1.6 .. 1.6; `Atlas` holds it with the surface's height
and normals. Eyes and mouth move, so `features.py` draws them on top, frame by frame.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from dfrepro.data.standin.anatomy import brow_line
from dfrepro.data.standin.identity import EYE_LEVEL, Geometry, Identity
from dfrepro.data.standin.noise import Array, bump, fractal, smoothstep

SIZE, REACH = 360, 1.6  # pixels; half of the side in face units
PER_UNIT = SIZE / (2 * REACH)
RELIEF = 120  # side of the height and normal maps: shading is smooth
STRANDS = 420  # cells of noise across a head of hair


@dataclass(frozen=True)
class Atlas:
    """A head laid flat. Colours are linear RGB reflectances."""

    albedo: Array  # (SIZE, SIZE, 3)
    alpha: Array  # (SIZE, SIZE)
    gloss: Array  # (RELIEF, RELIEF): skin shines, hair less
    height: Array  # (RELIEF, RELIEF)
    normals: Array  # (RELIEF, RELIEF, 3)
    back: Array  # (SIZE, SIZE, 4): hair behind the neck, premultiplied


@lru_cache(maxsize=4)
def grid(size: int) -> tuple[Array, Array]:
    """Face coordinates (x, y) of the pixel centres of a texture with `size` pixels a side."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1) * REACH
    x, y = np.meshgrid(axis, axis)
    return x, y


def paint(person: Identity) -> Atlas:
    """Make the textures of a person; the same person always gets the same."""
    rng, g = np.random.default_rng(person.seed), person.geometry
    x, y = grid(SIZE)
    radius = g.radius(x, y)
    skin = _complexion(person, rng, x, y) * _hollows(g, x, y)[..., None]
    skin = _wrinkles(person, rng, skin, x, y)
    skin = _beard(person, rng, skin, x, y, radius)
    skin = _brows(person, rng, skin, x, y)
    edge = 1.5 / PER_UNIT
    face = smoothstep(1 + edge, 1 - edge, radius)
    albedo, ears = _ears(person, skin, x, y)
    albedo, hair = _hair(person, rng, albedo, x, y, radius)
    rx, ry = grid(RELIEF)
    small = cv2.resize(hair, (RELIEF, RELIEF), interpolation=cv2.INTER_AREA)
    return Atlas(
        albedo=np.clip(albedo, 0.004, 0.95).astype(np.float32),
        alpha=np.maximum.reduce([face, ears, hair]).astype(np.float32),
        gloss=((1 - small) * (0.6 + 0.8 * bump(rx, ry, 0, -0.1, 0.35, 0.8))).astype(np.float32),
        height=g.height(rx, ry).astype(np.float32),
        normals=_normals(g, small),
        back=_back_hair(person, rng, x, y),
    )


def _complexion(person: Identity, rng: np.random.Generator, x: Array, y: Array) -> Array:
    g = person.geometry
    mottle = fractal(rng, x.shape, cells=(10, 10), octaves=3, gain=0.8)
    pores = fractal(rng, x.shape, cells=(60, 60), octaves=3, gain=0.9)
    light = 1 + (0.045 + 0.03 * person.age) * mottle + 0.055 * pores
    blush = 0.8 * bump(np.abs(x), y, 0.42, 0.25, 0.22, 0.2) + 0.7 * bump(x, y, 0, g.nose_y - 0.05, 0.14, 0.14)
    blush += 0.4 * bump(x, y, 0, g.chin - 0.1, 0.2, 0.1) + 0.3 * fractal(rng, x.shape, cells=(5, 5), octaves=3)
    spots = smoothstep(1.6, 2.6, fractal(rng, x.shape, cells=(70, 70), octaves=1)) * bump(x, y, 0, 0.1, 0.6, 0.4)
    blood = np.stack([0.02 * blush, -0.11 * blush, -0.09 * blush], -1)
    freckles = 1 - person.freckles * 0.45 * spots[..., None] * [0.6, 0.9, 1.0]
    return person.skin * np.exp(blood) * light[..., None] * freckles


def _hollows(g: Geometry, x: Array, y: Array) -> Array:
    """Ambient occlusion: sockets, the sides and base of the nose, under the lip, towards the outline."""
    ax = np.abs(x)
    shade = 0.30 * bump(ax, y, g.eye_x - 0.04, g.eye_y - 0.05, 0.19, 0.11)
    shade += 0.22 * bump(ax, y, g.eye_x - 0.08, g.eye_y + 0.10, 0.14, 0.05)
    shade += 0.25 * bump(ax, y, g.nose_width + 0.03, g.nose_y - 0.02, 0.045, 0.09)
    shade += 0.38 * bump(x, y, 0, g.nose_y + 0.075, 1.1 * g.nose_width, 0.035)
    shade += 0.75 * bump(ax, y, 0.48 * g.nose_width, g.nose_y + 0.028, 0.036, 0.018)
    shade += 0.30 * bump(ax, y, 0.98 * g.nose_width, g.nose_y - 0.01, 0.018, 0.055)
    shade += 0.10 * bump(x, y, 0, 0.5 * (g.nose_y + g.mouth_y), 0.03, 0.06)
    shade += 0.22 * bump(x, y, 0, g.mouth_y + g.lip_lower + 0.07, 0.16, 0.035)
    shade += 0.22 * smoothstep(0.72, 1.05, g.radius(x, y))
    return 1 - np.clip(shade, 0, 0.85)


def _crease(x: Array, y: Array, points: Array, width: float) -> Array:
    """A soft dark line through `points` (N, 2), mirrored to both sides."""
    canvas = np.zeros(x.shape, np.uint8)
    for side in (-1, 1):
        path = ((points * [side, 1] + REACH) * PER_UNIT * 16).astype(np.int32)
        cv2.polylines(canvas, [path], False, 255, 1, cv2.LINE_AA, shift=4)
    sigma = width * PER_UNIT
    return np.minimum(cv2.GaussianBlur(canvas.astype(np.float32) / 255, (0, 0), sigma) * sigma * 2.2, 1)


def _wrinkles(person: Identity, rng: np.random.Generator, skin: Array, x: Array, y: Array) -> Array:
    g, t = person.geometry, np.linspace(0, 1, 12)
    fold = np.stack([g.nose_width + 0.03 + 0.19 * t**1.4, g.nose_y - 0.06 + (g.mouth_y - g.nose_y + 0.08) * t], 1)
    dark = (0.10 + 0.30 * person.age) * _crease(x, y, fold, 0.022)
    bag = np.stack([g.eye_x + 0.15 * (2 * t - 1), g.eye_y + 0.09 + 0.05 * np.sin(np.pi * t)], 1)
    dark += (0.06 + 0.22 * person.age) * _crease(x, y, bag, 0.018)
    for level in np.linspace(g.eye_y - g.brow_lift - 0.16, g.hairline + 0.16, 3):
        wave = level + 0.02 * np.sin(3 * t + rng.uniform(0, 6)) + 0.012 * rng.standard_normal(12).cumsum() / 3
        dark += 0.34 * max(person.age - 0.25, 0) * _crease(x, y, np.stack([0.42 * t, wave], 1), 0.012)
    for turn in (-0.5, 0.0, 0.5):
        foot = np.stack([g.eye_x + 0.19 + 0.10 * t, g.eye_y + 0.01 + turn * (0.03 + 0.08 * t)], 1)
        dark += 0.4 * max(person.age - 0.35, 0) * _crease(x, y, foot, 0.008)
    return skin * (1 - np.clip(dark, 0, 0.6)[..., None] * [0.8, 1.0, 1.0])


def _beard(person: Identity, rng: np.random.Generator, skin: Array, x: Array, y: Array, radius: Array) -> Array:
    if not person.beard:
        return skin
    g = person.geometry
    bare = bump(np.abs(x), y, 0.30, 0.30, 0.26, 0.26) + 0.9 * bump(x, y, 0, g.mouth_y, 0.20, 0.05)
    zone = smoothstep(g.nose_y + 0.02, g.nose_y + 0.2, y + 0.5 * np.maximum(np.abs(x) - 0.42, 0)) * (
        1 - np.clip(bare, 0, 1)
    )
    stubble = np.clip(0.62 + 0.4 * fractal(rng, x.shape, cells=(120, 180), octaves=1), 0, 1)
    cover = (person.beard * 0.9 * zone * stubble)[..., None]
    return skin * (1 - cover) + np.minimum(person.hair * 1.2, 0.3) * cover


def _brows(person: Identity, rng: np.random.Generator, skin: Array, x: Array, y: Array) -> Array:
    g = person.geometry
    p = (np.abs(x) - g.eye_x - 0.02) / g.brow_length
    off = (y - brow_line(g, p)) / (g.brow_thick * np.clip(1.1 - 0.35 * p, 0.3, 1.3))
    lean = 0.35 * off
    inside = smoothstep(1.15, 0.55, np.abs(off)) * smoothstep(1.12, 0.85, np.abs(p + lean * 0.15))
    strands = cv2.warpAffine(
        fractal(rng, x.shape, cells=(45, 150), octaves=2),
        np.array([[1, -0.6, 90], [0, 1, 0]], np.float32),
        x.shape[::-1],
        borderMode=cv2.BORDER_REFLECT,
    )
    cover = (inside * np.clip(0.86 + 0.2 * strands, 0.5, 1))[..., None]
    return skin * (1 - cover) + np.minimum(person.hair * 0.9, 0.12) * cover


def _ears(person: Identity, skin: Array, x: Array, y: Array) -> tuple[Array, Array]:
    g = person.geometry
    dx, dy = (np.abs(x) - g.width - 0.01) / 0.105, (y - 0.08) / 0.235
    r = np.sqrt(dx**2 + dy**2)
    rim = 1 - 0.45 * np.exp(-(((r - 0.62) / 0.2) ** 2))
    behind = smoothstep(g.width - 0.02, g.width + 0.01, np.abs(x))[..., None]
    ear = person.skin * [1.0, 0.86, 0.86] * (0.8 * rim)[..., None]
    return skin * (1 - behind) + ear * behind, smoothstep(1.06, 0.94, r)


def _strands(person: Identity, rng: np.random.Generator, across: Array, along: Array) -> Array:
    """Noise drawn out along the hair: fine in `across`, slow in `along` (both 0 .. 1)."""
    lock = fractal(rng, (512, 64), cells=(48, 4), octaves=4, gain=0.9)
    u, v = np.mod(along, 1) * 63, np.mod(across, 1) * 511
    return cv2.remap(lock, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def _hair(
    person: Identity, rng: np.random.Generator, albedo: Array, x: Array, y: Array, radius: Array
) -> tuple[Array, Array]:
    """Lay the front hair over the skin. Strands sweep from the parting along the skull."""
    volume = {"short": 1.09, "medium": 1.15, "long": 1.16, "receding": 1.04}[person.hair_style]
    angle = np.arctan2(x - person.parting * np.clip(-y, 0, 1), EYE_LEVEL - y + 0.35)
    across = 0.55 * radius + 0.10 * np.abs(angle) * np.sign(person.parting)
    noise = _strands(person, rng, across, 0.5 + angle / 7)
    tuft = fractal(rng, x.shape, cells=(14, 14), octaves=3)
    crown = 0.07 * np.clip(-0.4 - y, 0, 1)  # hair stands higher than it stands off
    outer = smoothstep(volume + 0.035, volume - 0.035, radius - crown + 0.012 * tuft + 0.008 * noise)
    line = _hairline(person, x) + 0.018 * tuft + 0.015 * noise
    cover = outer * smoothstep(0.035, -0.035, y - line)
    gleam = 0.55 * np.exp(-(((radius - 0.93) / 0.12) ** 2)) * np.clip(1 - y, 0, 1.4)
    tone = np.clip(0.85 + 0.27 * noise + gleam * (0.6 + 0.4 * noise), 0.25, 2.5)
    shadow = 1 - 0.42 * smoothstep(0.13, 0.0, y - line) * (radius < 1)  # the fringe shades the forehead
    skin = albedo * shadow[..., None]
    return skin * (1 - cover[..., None]) + person.hair * (tone * cover)[..., None], cover.astype(np.float32)


def _hairline(person: Identity, x: Array) -> Array:
    """y below which the hair ends: the forehead's arc, falling to sideburns at the temples."""
    g = person.geometry
    side = np.abs(x) / g.width
    temple = {"short": 0.05, "medium": 0.35, "long": 0.6, "receding": 0.0}[person.hair_style]
    fringe = 0.12 * np.clip(np.sign(person.parting) * x, -0.5, 0.5)
    back = 0.2 * bump(np.abs(x), np.zeros_like(x), 0.45, 0, 0.2, 1) if person.hair_style == "receding" else 0.0
    arc = g.hairline + fringe + 0.10 * side**2 - back
    return arc + (temple - g.hairline) * smoothstep(0.80, 1.0, side)


def _back_hair(person: Identity, rng: np.random.Generator, x: Array, y: Array) -> Array:
    """The hair behind head and neck, (SIZE, SIZE, 4) premultiplied; empty for short hair."""
    g = person.geometry
    length = {"short": 0.25, "medium": 0.85, "long": 1.5, "receding": 0.15}[person.hair_style]
    wave = 0.03 * np.sin(7 * y + 3 * person.parting)
    half = g.width * (1.12 + 0.1 * smoothstep(0.0, 1.2, y)) + wave
    tuft = fractal(rng, x.shape, cells=(8, 30), octaves=3)
    top = smoothstep(1.16, 1.10, g.radius(x, np.minimum(y, EYE_LEVEL)))
    cover = smoothstep(0.03, -0.03, np.abs(x) - half + 0.02 * tuft) * smoothstep(0.08, -0.08, y - length + 0.05 * tuft)
    cover = np.where(y < EYE_LEVEL, np.minimum(top, cover), cover)
    strands = _strands(person, rng, 0.5 + x / 3 + 0.02 * np.sin(5 * y), 0.5 + y / 3.5)
    tone = np.clip(0.55 + 0.25 * strands, 0.15, 1.5) * (1 - 0.3 * bump(x, y, 0, 0.7, 0.5, 0.6))
    return np.concatenate([person.hair * (tone * cover)[..., None], cover[..., None]], -1).astype(np.float32)


def _normals(g: Geometry, hair: Array) -> Array:
    """Unit normals for shading, from a rounder head than `Geometry.height` (which keeps its slopes bounded)."""
    x, y = grid(RELIEF)
    dome: Array = 0.62 * np.sqrt(np.clip(1 - g.radius(x, y) ** 2.2, 0.02, 1))
    dome += g.height(x, y) - 0.55 * (1 - np.minimum(g.radius(x, y), 1.35) ** 2)  # nose, lips, chin
    dome += g.cheek * bump(np.abs(x), y, 0.42, 0.17, 0.2, 0.16) - 0.05 * bump(np.abs(x), y, g.eye_x, g.eye_y, 0.17, 0.1)
    dome += 0.035 * bump(np.abs(x), y, g.eye_x - 0.02, g.eye_y - g.brow_lift + 0.03, 0.26, 0.07)
    dome += 0.03 * bump(np.abs(x), y, g.nose_width * 0.8, g.nose_y - 0.02, 0.05, 0.05)
    dome = cv2.GaussianBlur(dome.astype(np.float32), (0, 0), 1.2)
    step = 2 * REACH / RELIEF
    dy, dx = np.gradient(dome, step)
    normals = np.stack([-dx, -dy, np.ones_like(dx)], -1)
    return (normals / np.linalg.norm(normals, axis=-1, keepdims=True)).astype(np.float32)
