"""Everything around the head: light, background, neck and clothes."""

from dataclasses import dataclass

import cv2
import numpy as np

from dfrepro.data.standin.motion import State
from dfrepro.data.standin.noise import Array, bump, fractal, smoothstep
from dfrepro.data.standin.render import Actor, Layer, Light, back_hair

MARGIN = 12  # pixels of background and body beyond the frame, for movement


@dataclass(frozen=True)
class Scene:
    """Where a video is shot. `backdrop` and `body` are `MARGIN` larger than the frame on every side."""

    size: int
    light: Light
    backdrop: Array  # (S, S, 3) linear light
    body: Array  # (S, S, 4) premultiplied linear light
    home: tuple[float, float]  # the head's usual place
    sway: Array  # (F, 2) pixels: the camera in somebody's hand

    def behind(self, actor: Actor, state: State, frame: int) -> Array:
        """All that is behind the head at this moment, (size, size, 3) linear light."""
        picture = _shifted(self.backdrop, self.sway[frame], self.size)
        if actor.person.hair_style in ("medium", "long"):
            picture = back_hair(actor, state, self.light, self.size).over(picture)
        drift = 0.7 * (np.array([state.cx, state.cy]) - self.home)
        return Layer(_shifted(self.body, np.clip(drift, -MARGIN, MARGIN), self.size), 0, 0).over(picture)


def _shifted(picture: Array, by: Array, size: int) -> Array:
    matrix = np.array([[1, 0, by[0] - MARGIN], [0, 1, by[1] - MARGIN]], np.float32)
    return cv2.warpAffine(picture, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


@dataclass(frozen=True)
class LightModel:
    """The light of a dataset: (low, high) of each measure, angles in radians, strengths in linear light."""

    azimuth: tuple[float, float] = (-1.05, 1.05)
    elevation: tuple[float, float] = (0.15, 0.9)
    key: tuple[float, float] = (0.55, 0.95)
    sky: tuple[float, float] = (0.16, 0.45)


def draw_light(rng: np.random.Generator, model: LightModel) -> Light:
    azimuth, elevation = rng.uniform(*model.azimuth), rng.uniform(*model.elevation)
    towards = np.array([np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
    warmth = rng.normal(0, 0.07)
    tint = np.array([1 + warmth, 1.0, 1 - 1.4 * warmth])
    sky = np.array([1 - 0.6 * warmth, 1.0, 1 + 0.8 * warmth]) * rng.uniform(*model.sky)
    key = tint * rng.uniform(*model.key)
    return Light(towards, key.astype(np.float32), sky.astype(np.float32), float(rng.uniform(10, 26)))


def draw_scene(rng: np.random.Generator, actor: Actor, motion: list[State], size: int, model: LightModel) -> Scene:
    """Draw the place of a video of this person; the neck takes the person's skin."""
    light = draw_light(rng, model)
    side = size + 2 * MARGIN
    first = motion[0]
    home = (float(np.mean([s.cx for s in motion])), float(np.mean([s.cy for s in motion])))
    sway = np.cumsum(rng.normal(0, 0.25, (len(motion), 2)), 0).clip(-MARGIN, MARGIN)
    return Scene(size, light, _backdrop(rng, side, light), _body(rng, actor, first, home, side, light), home, sway)


def _backdrop(rng: np.random.Generator, side: int, light: Light) -> Array:
    """A wall or a street out of focus: gradient, large shapes, small lamps, dust."""
    x, y = np.meshgrid(np.linspace(-1, 1, side, dtype=np.float32), np.linspace(-1, 1, side, dtype=np.float32))
    tones = rng.beta(1.2, 2.0, (2, 1)) * 0.5 * np.exp(rng.normal(0, 0.22, (2, 3)))
    angle = rng.uniform(0, np.pi)
    ramp = smoothstep(-1, 1, x * np.cos(angle) + y * np.sin(angle))[..., None]
    wall = tones[0] * (1 - ramp) + tones[1] * ramp
    for _ in range(rng.integers(2, 9)):
        wall = _shape(rng, wall, x, y)
    defocus = float(rng.uniform(0.8, 6.0))
    grain = fractal(rng, (side, side), cells=(12, 12), octaves=5, gain=0.75)[..., None]
    wall *= 1 + rng.uniform(0.05, 0.2) * grain
    wall = cv2.GaussianBlur(wall.astype(np.float32), (0, 0), defocus)
    return (np.clip(wall, 0.003, 2) * (0.5 * light.key + 1.1 * light.sky)).astype(np.float32)


def _shape(rng: np.random.Generator, wall: Array, x: Array, y: Array) -> Array:
    colour = rng.beta(1.2, 1.8) * 0.7 * np.exp(rng.normal(0, 0.3, 3))
    cx, cy, half_width, half_height = *rng.uniform(-1, 1, 2), *rng.uniform(0.05, 0.6, 2)
    if rng.random() < 0.3:  # a lamp
        cover = smoothstep(1.1, 0.9, np.hypot((x - cx), (y - cy)) / (0.4 * min(half_width, half_height) + 0.02))
        colour = colour * 2.5
    else:
        turn = rng.normal(0, 0.1)
        u, v = (x - cx) + turn * (y - cy), (y - cy) - turn * (x - cx)
        cover = smoothstep(1.02, 0.98, np.maximum(np.abs(u) / half_width, np.abs(v) / half_height))
    return wall + (colour - wall) * (cover * rng.uniform(0.3, 1))[..., None]


def _body(
    rng: np.random.Generator, actor: Actor, first: State, home: tuple[float, float], side: int, light: Light
) -> Array:
    """Neck, shoulders and clothes around `home`, (side, side, 4) premultiplied."""
    g = actor.person.geometry
    axis = np.arange(side, dtype=np.float32) - MARGIN
    x, y = np.meshgrid((axis - home[0]) / first.scale, (axis - home[1]) / first.scale)
    ax, soft = np.abs(x), 1 / first.scale
    neck = smoothstep(soft, -soft, ax - (0.44 + 0.10 * smoothstep(1.0, 1.5, y))) * (y > 0.5)
    slope = 1.32 + 0.12 * rng.uniform(0.5, 1.6) * np.maximum(ax - 0.45, 0) + 0.5 * np.maximum(ax - 1.25, 0) ** 2
    cloth = smoothstep(-soft, soft, y - slope) * smoothstep(-soft, soft, _collar(rng, ax, y, g.chin))
    round_ = np.sqrt(np.clip(1 - (x / 0.56) ** 2, 0.03, 1))
    side_light = 0.75 + 0.35 * np.clip(x * np.sign(light.towards[0]), -1, 1)
    under_chin = 1 - 0.6 * bump(x, y, 0, g.chin + 0.02, 0.6, 0.28)
    tone = (light.sky + light.key * 0.55 * side_light[..., None]) * (round_ * under_chin)[..., None]
    skin = actor.person.skin * tone * (1 + 0.03 * fractal(rng, x.shape, cells=(30, 30), octaves=3))[..., None]
    fabric = _fabric(rng, x, y) * (light.sky + light.key * 0.6 * side_light[..., None])
    cover = np.maximum(neck, cloth)
    colour = skin * (1 - cloth[..., None]) + fabric * cloth[..., None]
    return np.concatenate([colour * cover[..., None], cover[..., None]], -1).astype(np.float32)


def _collar(rng: np.random.Generator, ax: Array, y: Array, chin: float) -> Array:
    """Positive where there is cloth: a round neck or a V."""
    if rng.random() < 0.5:
        return np.hypot(ax / 1.15, y - chin - 0.12) - 0.43
    return y - (chin + rng.uniform(0.5, 0.75)) + 0.9 * ax


def _fabric(rng: np.random.Generator, x: Array, y: Array) -> Array:
    colour = rng.beta(0.9, 1.8) * 0.7 * np.exp(rng.normal(0, 0.35, 3)) + 0.01
    folds = 1 + 0.22 * fractal(rng, x.shape, cells=(4, 9), octaves=3)
    weave = 1 + 0.06 * fractal(rng, x.shape, cells=(90, 90), octaves=2)
    pattern: Array = np.ones_like(x)
    if rng.random() < 0.3:
        pattern = 1 - rng.uniform(0.2, 0.6) * (np.sin(rng.uniform(12, 40) * (x if rng.random() < 0.5 else y)) > 0.3)
    return colour * (np.clip(folds, 0.4, 1.6) * weave * pattern)[..., None]
