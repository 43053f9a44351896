"""The forgeries. A `Recipe` says where the new face comes from, what it passes through, and how it is put in.

Forging comes late, as in real life: the target's video has been filmed, and the forger pastes into its frames a face
that has no sensor noise of its own (rendered) or another video's (warped), on a grid that is not the frame's. Outside
the mask a fake is its real, pixel by pixel, until both are encoded alike.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from dfrepro.data.standin.camera import Camera, CameraModel, quantised
from dfrepro.data.standin.decoder import Decoder, face_box
from dfrepro.data.standin.motion import State, move
from dfrepro.data.standin.noise import Array, fractal
from dfrepro.data.standin.regions import JAW, landmark_warp, soft_mask
from dfrepro.data.standin.render import Actor, develop, head, landmarks
from dfrepro.data.standin.scene import LightModel, Scene, draw_scene

SEEN = 0.05  # a pixel with less of the forgery in it than this does not count as manipulated


@dataclass(frozen=True)
class Take:
    """One performance, filmed."""

    actor: Actor
    scene: Scene
    camera: Camera
    motion: list[State]
    behind: list[Array]  # linear light, without the head
    frames: list[Array]  # (S, S, 3) uint8 RGB
    points: list[Array]  # (81, 2) true landmarks


@dataclass(frozen=True)
class Recipe:
    """A forgery pipeline.

    `origin`: "swap" renders the source's face in the target's pose, light and expression; "paste" warps a still picture
    of the source by landmarks; "reenact" and "mouth" render the target again with the source's expression or mouth;
    "whole" keeps the picture and only decodes it. `region` and `feather` (pixels) say where it goes.
    `grid` is the resolution at which the face is made, as a share of the frame's (1: no resampling), `decoder` the
    network it passes through, `sharpen` the share of its detail that is added to it once more.
    `trace` is (low, high) of how strongly these three show in a video, 1 being what their numbers say; a rendered face
    that shows less of them has been given noise, by as much.
    `match` is the share of the target's colours it takes over, `mismatch` the spread of the colour error that remains.
    `polish` smooths the renderer's skin (texture pixels), `grain` gives it the renderer's own.
    """

    name: str
    origin: str
    region: str
    feather: float
    decoder: Decoder | None = None
    grid: float = 1.0
    sharpen: float = 0.0
    noise: float = 0.0  # share of the sensor's noise that a rendered face is given
    trace: tuple[float, float] = (0.6, 1.2)
    match: float = 1.0
    mismatch: float = 0.0
    polish: float = 0.0
    grain: float = 0.0
    strength: float = 1.0  # share of the forged face in the blend
    shake: float = 0.0  # tracking error, pixels

    def of(self, trace: float) -> "Recipe":
        """The recipe with its traces `trace` times as strong."""
        decoder, grid = self.decoder and self.decoder.of(trace), 1 - trace * (1 - self.grid)
        return replace(self, decoder=decoder, grid=grid, sharpen=trace * self.sharpen, noise=max(0.0, 1 - trace))


def perform(
    rng: np.random.Generator, actor: Actor, frames: int, size: int, light: LightModel, camera: CameraModel
) -> Take:
    """Let an actor move before a newly drawn scene and film it."""
    motion = move(rng, frames, size=size)
    scene = draw_scene(rng, actor, motion, size, light)
    behind = [scene.behind(actor, state, i) for i, state in enumerate(motion)]
    pictures = [develop(head(actor, state, scene.light).over(b)) for state, b in zip(motion, behind, strict=True)]
    owned = Camera.draw(rng, camera)
    points = [landmarks(actor, state) for state in motion]
    return Take(actor, scene, owned, motion, behind, owned.film(rng, pictures), points)


def forge(
    rng: np.random.Generator, recipe: Recipe, target: Take, source: Take
) -> tuple[list[Array], list[Array], list[Array]]:
    """Return frames (S, S, 3) uint8, alphas (S, S) and true landmarks (81, 2), one each a frame of `target`."""
    recipe = recipe.of(rng.uniform(*recipe.trace))
    faces, points = _faces(rng, recipe, target, source)
    lattice = rng.choice([-1, 1]) * rng.uniform(0.7, 1.3, 3)
    # brightness errs more than tint, and either way as often, so that no colour gives a fake away
    error = recipe.mismatch * (rng.choice([-1, 1]) * rng.uniform(0.6, 1.4) + 0.5 * rng.standard_normal(3))
    gain, offset = np.exp(error), 0.3 * recipe.mismatch * rng.standard_normal(3)
    frames, alphas = [], []
    for face, frame, true in zip(faces, target.frames, points, strict=True):
        where, real = true + recipe.shake * rng.standard_normal(2), _display(frame)
        face = _decoded(recipe, _resampled(recipe, face), where, lattice)
        alpha = _alpha(recipe, where, len(face))
        if recipe.origin != "whole":
            face = _colour(face, real, alpha, recipe.match, gain, offset)
        frames.append(quantised(real + (face - real) * alpha[..., None]))
        alphas.append(alpha)
    return frames, alphas, points


def _display(frame: Array) -> Array:
    return frame.astype(np.float32) / 255


def _resampled(recipe: Recipe, face: Array) -> Array:
    """The face as made on a coarser grid and enlarged again, then sharpened."""
    if recipe.grid < 1:
        size = face.shape[0]
        small = cv2.resize(face, (round(size * recipe.grid),) * 2, interpolation=cv2.INTER_AREA)
        face = cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)
    return face + recipe.sharpen * (face - cv2.GaussianBlur(face, (0, 0), 1.0)) if recipe.sharpen else face


def _decoded(recipe: Recipe, face: Array, where: Array, lattice: Array) -> Array:
    """The new face through the recipe's network, which sees a square around it, or the whole picture."""
    if recipe.decoder is None:
        return face
    cx, cy, side = face_box(where)
    if recipe.origin != "whole":
        return recipe.decoder(face, (cx, cy, side), lattice)
    size = len(face)
    cells = round(recipe.decoder.cells * size / side)  # as fine on the picture as on the face
    return replace(recipe.decoder, cells=cells)(face, (size / 2 - 0.5, size / 2 - 0.5, size), lattice)


def _alpha(recipe: Recipe, where: Array, size: int) -> Array:
    if recipe.origin == "whole":
        return np.ones((size, size), np.float32)
    return recipe.strength * soft_mask(recipe.region, where, size, recipe.feather * size / 224)


def _faces(rng: np.random.Generator, recipe: Recipe, target: Take, source: Take) -> tuple[list[Array], list[Array]]:
    """The new face in each frame, before decoding and blending, and its landmarks."""
    if recipe.origin == "whole":
        return [_display(frame) for frame in target.frames], target.points
    if recipe.origin == "paste":
        still = int(np.argmin([abs(state.yaw - target.motion[0].yaw) for state in source.motion]))
        picture = _display(source.frames[still])
        return [landmark_warp(picture, source.points[still], points) for points in target.points], target.points
    if recipe.origin == "swap":
        actor, states = source.actor, target.motion
    else:
        actor, expression = target.actor, State.with_mouth if recipe.origin == "mouth" else State.with_expression
        states = [expression(mine, other) for mine, other in zip(target.motion, source.motion, strict=True)]
    actor = _retouched(rng, actor, recipe)
    points = [landmarks(actor, state) for state in states]
    if recipe.origin == "swap":  # the outline of the head stays the target's
        points = [np.concatenate([mine[JAW], new[17:]]) for mine, new in zip(target.points, points, strict=True)]
    layers = [head(actor, state, target.scene.light) for state in states]
    seen = [target.camera.expose(develop(la.over(b))) for la, b in zip(layers, target.behind, strict=True)]
    noise = target.camera.noise_of(rng, len(seen[0]))
    return [face + recipe.noise * next(noise) for face in seen], points


def _retouched(rng: np.random.Generator, actor: Actor, recipe: Recipe) -> Actor:
    """The actor as the forger's renderer models it: skin smoothed, with the renderer's own grain."""
    if not recipe.polish and not recipe.grain:
        return actor
    albedo = actor.atlas.albedo
    if recipe.polish:
        albedo = cv2.GaussianBlur(albedo, (0, 0), recipe.polish)
    if recipe.grain:
        albedo = albedo * (1 + recipe.grain * fractal(rng, albedo.shape[:2], cells=(44, 44), octaves=1))[..., None]
    return replace(actor, atlas=replace(actor.atlas, albedo=np.maximum(albedo, 0.003).astype(np.float32)))


def _colour(face: Array, target: Array, alpha: Array, match: float, gain: Array, offset: Array) -> Array:
    """Reinhard transfer of mean and deviation towards the target under the mask, then the error that remains."""
    inside = (alpha > 0.5 * alpha.max()).astype(np.uint8)
    (mean, spread), (goal, wanted) = (cv2.meanStdDev(picture, mask=inside) for picture in (face, target))
    scale = (1 + match * (np.clip(wanted / (spread + 1e-3), 0.6, 1.6) - 1))[:, 0] * gain
    shift = (mean + match * (goal - mean))[:, 0] * gain + offset - mean[:, 0] * scale
    return face * scale.astype(np.float32) + shift.astype(np.float32)
