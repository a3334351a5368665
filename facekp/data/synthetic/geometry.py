"""Who is drawn: the proportions, colours and pose of one face, taken from a random generator."""

import math
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from facekp.data.synthetic.canvas import FloatArray, Points

Colour = FloatArray
"""(3,) RGB, 0..1."""
T = TypeVar("T")
HairStyle = Literal["bald", "buzz", "short", "curly", "tied", "bob", "long"]
HatStyle = Literal["beanie", "cap", "brimmed"]
GlassesStyle = Literal["clear", "sun"]
HATS: tuple[HatStyle, ...] = ("beanie", "cap", "brimmed")
GLASSES: tuple[GlassesStyle, ...] = ("clear", "clear", "sun")
MALE_HAIR: tuple[HairStyle, ...] = ("bald", "buzz", "short", "short", "short", "short", "curly", "bob")
FEMALE_HAIR: tuple[HairStyle, ...] = ("short", "curly", "tied", "tied", "bob", "long", "long", "long", "long")

SKIN_TONES = ((0.97, 0.83, 0.74), (0.94, 0.74, 0.64), (0.83, 0.61, 0.49), (0.64, 0.43, 0.33), (0.41, 0.27, 0.21))
HAIR_TONES = (
    (0.07, 0.06, 0.06),
    (0.16, 0.10, 0.07),
    (0.30, 0.18, 0.11),
    (0.48, 0.25, 0.13),
    (0.72, 0.54, 0.32),
    (0.86, 0.74, 0.52),
    (0.62, 0.61, 0.60),
)
IRIS_TONES = ((0.20, 0.11, 0.06), (0.33, 0.20, 0.09), (0.30, 0.36, 0.20), (0.28, 0.45, 0.60), (0.42, 0.48, 0.52))

HEAD_DEPTH = 0.85
"""How far the middle of the face lies before the plane of the ears."""


@dataclass(frozen=True)
class Face:
    """One person in one pose; lengths in face units, colours RGB 0..1."""

    masculine: bool
    yaw: float
    """Sine of the turn of the head; positive looks to the right of the image."""
    pitch: float
    light: FloatArray
    """Unit vector towards the light; x right, y down, z towards the camera."""
    jaw: float
    chin: float
    eye_x: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    gaze: tuple[float, float]
    brow_y: float
    brow_width: float
    brow_arch: float
    nose_width: float
    nose_y: float
    mouth_y: float
    mouth_width: float
    lips: tuple[float, float]
    """Height of the upper and of the lower lip."""
    smile: float
    gap: float
    """Height of the open mouth, 0 when it is shut."""
    skin: Colour
    hair: Colour
    lip: Colour
    iris: Colour
    beard: float
    hair_style: HairStyle
    fringe: bool
    hat: HatStyle | None
    glasses: GlassesStyle | None
    earrings: bool
    necklace: bool

    def surface(self, points: Points, lift: float = 0.0) -> FloatArray:
        """Turn points (n, 2) of the frontal face, lying `lift` above its surface, with the head."""
        x, y = np.moveaxis(np.asarray(points, np.float32), -1, 0)
        depth = HEAD_DEPTH * np.sqrt(np.clip(1 - x**2, 0, 1)) + lift
        return self._turned(x * math.sqrt(1 - self.yaw**2), y, depth)

    def outline(self, points: Points) -> FloatArray:
        """Turn points (n, 2) of the head's silhouette: only the chin comes forward."""
        x, y = np.moveaxis(np.asarray(points, np.float32), -1, 0)
        depth = 0.5 * np.clip((y - 0.4) / (self.chin - 0.4), 0, 1) * np.clip(1.2 - np.abs(x), 0, 1)
        return self._turned(x, y, depth)

    def _turned(self, x: FloatArray, y: FloatArray, depth: FloatArray) -> FloatArray:
        # The features stay in the middle of the picture, as in CelebA-HQ, and the head moves against them.
        middle = 0.75 * HEAD_DEPTH
        return np.stack([x + self.yaw * (depth - middle), y + self.pitch * (depth - middle)], axis=-1)


def sample_face(rng: np.random.Generator) -> Face:
    """Take one face from the generator."""
    masculine = bool(rng.random() < 0.45)
    smile = max(0.0, rng.normal(0.4, 0.5))
    skin = _between(SKIN_TONES, rng.beta(1.1, 1.6)) * rng.uniform(0.94, 1.04)
    red = np.array((0.72, 0.25, 0.28) if masculine else (rng.uniform(0.6, 0.85), 0.16, rng.uniform(0.2, 0.32)))
    light = np.array([rng.uniform(-0.75, 0.75), rng.uniform(-0.7, -0.15), 1.0])
    hair_style, fringe = _hair(rng, masculine)
    hat = _maybe(rng, 0.13, HATS)
    return Face(
        masculine=masculine,
        yaw=float(np.clip(rng.normal(0, 0.2), -0.42, 0.42)),
        pitch=float(rng.normal(0, 0.05)),
        light=(light / np.linalg.norm(light)).astype(np.float32),
        jaw=rng.uniform(0.5, 0.66) if masculine else rng.uniform(0.43, 0.56),
        chin=rng.uniform(1.5, 1.64) if masculine else rng.uniform(1.42, 1.56),
        eye_x=rng.uniform(0.42, 0.47),
        eye_width=rng.uniform(0.19, 0.22),
        eye_height=rng.uniform(0.065, 0.092) * (1 if masculine else 1.15) * (1 - 0.15 * min(smile, 1)),
        eye_tilt=rng.normal(0.02, 0.02),
        gaze=(float(rng.normal(0, 0.15)), float(rng.normal(0, 0.08))),
        brow_y=rng.normal(-0.29, 0.025),
        brow_width=rng.uniform(0.045, 0.065) if masculine else rng.uniform(0.028, 0.045),
        brow_arch=rng.uniform(0.0, 0.05) if masculine else rng.uniform(0.02, 0.09),
        nose_width=rng.uniform(0.21, 0.29) if masculine else rng.uniform(0.19, 0.25),
        nose_y=rng.uniform(0.52, 0.6),
        mouth_y=rng.uniform(0.93, 1.0),
        mouth_width=rng.uniform(0.31, 0.37) + 0.07 * min(smile, 1.2),
        lips=(rng.uniform(0.04, 0.075) if masculine else rng.uniform(0.055, 0.1), rng.uniform(0.07, 0.14)),
        smile=smile,
        gap=rng.uniform(0.05, 0.15) if rng.random() < 0.25 + 0.4 * min(smile, 1) else 0.0,
        skin=_colour(skin),
        hair=_colour(_between(HAIR_TONES, rng.random()) * rng.uniform(0.85, 1.1)),
        lip=_colour(skin * 0.45 + red * rng.uniform(0.4, 0.55) * (0.55 + 0.45 * skin[0])),
        iris=_colour(_between(IRIS_TONES, rng.random())),
        beard=rng.uniform(0.15, 0.85) if masculine and rng.random() < 0.5 else 0.0,
        hair_style=hair_style,
        fringe=fringe and hat is None,
        hat=hat,
        glasses=_maybe(rng, 0.17, GLASSES),
        earrings=bool(rng.random() < (0.15 if masculine else 0.65)),
        necklace=bool(rng.random() < (0.08 if masculine else 0.28)),
    )


def _hair(rng: np.random.Generator, masculine: bool) -> tuple[HairStyle, bool]:
    styles = MALE_HAIR if masculine else FEMALE_HAIR
    style = styles[int(rng.integers(len(styles)))]
    return style, bool(rng.random() < 0.3) and style not in ("bald", "buzz")


def _maybe(rng: np.random.Generator, chance: float, kinds: tuple[T, ...]) -> T | None:
    drawn, kind = rng.random() < chance, kinds[int(rng.integers(len(kinds)))]
    return kind if drawn else None


def _colour(channels: npt.ArrayLike) -> Colour:
    return np.clip(np.asarray(channels, np.float32), 0, 1)


def _between(tones: tuple[tuple[float, float, float], ...], place: float) -> npt.NDArray[np.float64]:
    """Return the colour at `place`, 0..1, along a row of tones."""
    ticks = np.linspace(0, 1, len(tones))
    return np.array([np.interp(place, ticks, channel) for channel in zip(*tones, strict=True)])
