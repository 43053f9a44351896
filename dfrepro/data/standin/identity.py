"""Who somebody is: the geometry, the colours and the traits that stay the same in every video of an identity.

Face coordinates: x to the viewer's right, y down, z towards the viewer. The unit is about the distance from the eye
line to the chin, so the 68-landmark box is about 1.5 units wide and 1.4 high.
"""

from dataclasses import dataclass, fields

import numpy as np

from dfrepro.data.standin.noise import bump

# name: (mean, standard deviation) of each measure; proportions after the usual drawing canon
MEASURES = {
    "width": (0.73, 0.028),  # half width of the face at the ears
    "square": (0.74, 0.06),  # exponent of the jaw line: smaller is squarer
    "chin": (0.99, 0.035),
    "skull": (-1.20, 0.03),  # top of the head under the hair
    "hairline": (-0.80, 0.05),
    "eye_x": (0.325, 0.014),
    "eye_y": (-0.10, 0.015),
    "eye_width": (0.150, 0.009),  # half width
    "eye_open": (0.40, 0.05),  # half height / half width
    "eye_tilt": (-0.06, 0.05),
    "brow_lift": (0.235, 0.022),  # above the eye line
    "brow_length": (0.21, 0.015),  # half length
    "brow_arch": (0.060, 0.015),
    "brow_tilt": (0.02, 0.05),
    "brow_thick": (0.042, 0.009),
    "nose_y": (0.345, 0.022),  # base
    "nose_width": (0.130, 0.014),  # half width at the wings
    "nose_height": (0.22, 0.03),
    "mouth_y": (0.590, 0.020),
    "mouth_width": (0.265, 0.020),  # half width
    "lip_upper": (0.050, 0.010),
    "lip_lower": (0.072, 0.012),
    "cheek": (0.05, 0.02),
}
EYE_LEVEL = -0.08  # where the jaw line begins (landmarks 0 and 16)
LIGHT_SKIN, DARK_SKIN = np.log([0.80, 0.57, 0.46]), np.log([0.17, 0.095, 0.065])  # linear RGB reflectance
HAIR = np.array(
    [[0.015, 0.012, 0.010], [0.045, 0.026, 0.016], [0.12, 0.065, 0.03], [0.32, 0.20, 0.09], [0.22, 0.07, 0.03]]
)
GREY_HAIR = np.array([0.38, 0.37, 0.36])
IRIS = np.array([[0.10, 0.045, 0.02], [0.16, 0.085, 0.03], [0.12, 0.19, 0.28], [0.13, 0.20, 0.12], [0.22, 0.24, 0.25]])


@dataclass(frozen=True)
class Geometry:
    """The measures of one face; see `MEASURES` for their meaning."""

    width: float
    square: float
    chin: float
    skull: float
    hairline: float
    eye_x: float
    eye_y: float
    eye_width: float
    eye_open: float
    eye_tilt: float
    brow_lift: float
    brow_length: float
    brow_arch: float
    brow_tilt: float
    brow_thick: float
    nose_y: float
    nose_width: float
    nose_height: float
    mouth_y: float
    mouth_width: float
    lip_upper: float
    lip_lower: float
    cheek: float

    def radius(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """1 on the outline of the head, less inside; the jaw below the eye level, the skull above."""
        drop = y - EYE_LEVEL
        span = np.where(drop > 0, self.chin - EYE_LEVEL, EYE_LEVEL - self.skull)
        power = np.where(drop > 0, 1 / self.square, 1.2)
        return (np.abs(x / self.width) ** (2 * power) + np.abs(drop / span) ** (2 * power)) ** (0.5 / power)

    def height(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """z of the surface. A paraboloid with a nose, so that its slope stays bounded at the outline."""
        r = np.minimum(self.radius(x, y), 1.35)
        nose = np.clip((y + 0.2) / (self.nose_y - 0.02 + 0.2), 0, 1) * (y < self.nose_y + 0.08)
        ridge = self.nose_height * nose**1.3 * np.exp(-((x / (0.085 + 0.05 * nose)) ** 2))
        lips = 0.05 * bump(x, y, 0, self.mouth_y, 0.24, 0.13)
        chin = 0.05 * bump(x, y, 0, self.chin - 0.13, 0.2, 0.12)
        return 0.55 * (1 - r**2) + ridge * np.clip((self.nose_y + 0.08 - y) / 0.12, 0, 1) + lips + chin


@dataclass(frozen=True)
class Identity:
    """A person: geometry, colours (linear RGB reflectance) and traits in [0, 1]; `seed` makes the textures."""

    geometry: Geometry
    skin: np.ndarray  # (3,)
    hair: np.ndarray  # (3,)
    iris: np.ndarray  # (3,)
    age: float
    beard: float
    freckles: float
    hair_style: str  # "short" | "medium" | "long" | "receding"
    parting: float  # x of the parting, -0.4 .. 0.4
    shine: float  # strength of the skin's highlight
    seed: int


def draw_identity(rng: np.random.Generator) -> Identity:
    """Draw a person. Measures are normal, cut at two standard deviations so that no face is a monster."""
    measures = {name: mean + sd * np.clip(rng.standard_normal(), -2, 2) for name, (mean, sd) in MEASURES.items()}
    melanin, age = rng.beta(1.1, 1.5), rng.beta(1.3, 1.8)
    skin = np.exp(LIGHT_SKIN + melanin * (DARK_SKIN - LIGHT_SKIN) + 0.05 * rng.standard_normal(3))
    shade = rng.choice(len(HAIR), p=[0.3, 0.3, 0.2, 0.12, 0.08]) if melanin < 0.5 else rng.choice(2)
    grey = np.clip(1.6 * age - 0.75 + 0.15 * rng.standard_normal(), 0, 0.9)
    bearded = rng.random() < 0.4
    style = rng.choice(["short", "receding"], p=[0.8, 0.2]) if bearded else rng.choice(["short", "medium", "long"])
    return Identity(
        geometry=Geometry(**{field.name: float(measures[field.name]) for field in fields(Geometry)}),
        skin=skin,
        hair=HAIR[shade] * np.exp(0.2 * rng.standard_normal()) * (1 - grey) + GREY_HAIR * grey,
        iris=IRIS[rng.choice(len(IRIS))] if melanin < 0.5 else IRIS[rng.choice(2)],
        age=float(age),
        beard=float(rng.uniform(0.25, 1)) if bearded else 0.0,
        freckles=float(rng.beta(0.6, 2) * (1 - melanin)),
        hair_style=str(style),
        parting=float(rng.uniform(-0.4, 0.4)),
        shine=float(rng.uniform(0.02, 0.08)),
        seed=int(rng.integers(2**62)),
    )
