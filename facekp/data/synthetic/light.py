"""How light falls on a face: a height field of the head, lit by one lamp."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from facekp.data.synthetic.canvas import Canvas, FloatArray, dye, noise
from facekp.data.synthetic.geometry import HEAD_DEPTH, Face

# Shading is smooth, so it is worked out on a coarse grid whatever the size of the picture.
GRID = 112
AMBIENT = 0.5
SHADOW_TINT = np.array([1.0, 1.12, 1.2], np.float32)
"""Light under the skin reddens shadows: red falls off least."""


@dataclass(frozen=True)
class Bump:
    """A rise (or a hollow, `height` < 0) of the face, Gaussian in x and y; `paired` ones lie on both sides."""

    centre: tuple[float, float]
    spread: tuple[float, float]
    height: float
    paired: bool = False


def paint_light(canvas: Canvas, face: Face, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Work out the colours of skin and of the light on everything else.

    Returns:
        skin: (S, S, 3) colours of the lit face.
        glow: (S, S) factor near 1 for round things such as hair, hats and necks.
    """
    x, y = canvas.grid(GRID)
    height = _relief(face, x, y)
    step = float(x[0, 1] - x[0, 0])
    slope_y, slope_x = np.gradient(height, step)
    normal = np.stack([-slope_x, -slope_y, np.ones_like(height)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)

    diffuse = np.clip(normal @ face.light, 0, None)
    shade = AMBIENT + (1.12 - AMBIENT) * diffuse
    half = face.light + np.array((0, 0, 1), np.float32)
    gloss = np.clip(normal @ (half / np.linalg.norm(half)), 0, 1) ** 40 * rng.uniform(0.04, 0.16)
    albedo = face.skin * (1 + dye((0.01, 0.025, 0.025), noise(rng, GRID, 10)))
    albedo *= 1 - rng.uniform(0.04, 0.16) * dye((0.2, 1, 0.9), _flush(face, x, y))
    skin = albedo * shade[..., None] ** SHADOW_TINT + gloss[..., None]

    side = x * face.light[0] / 1.4 + (y + 0.3) * face.light[1] / 2.0
    glow = 1 + 0.3 * np.clip(side, -1, 1) - 0.12 * np.clip(np.abs(x), 0, 1.5) ** 2
    return enlarged(skin, canvas.size), enlarged(glow, canvas.size)


def _relief(face: Face, x: FloatArray, y: FloatArray) -> FloatArray:
    round_off = ((x + 0.2 * face.yaw) / 1.12) ** 2 + ((y - 0.05) / 1.75) ** 2
    height = HEAD_DEPTH * np.sqrt(np.clip(1.08 - round_off, 0.03, None))
    # Turning the head tilts its middle towards the side that it looks to.
    height += 0.35 * face.yaw * x
    for bump in _bumps(face):
        for side in (1, -1) if bump.paired else (1,):
            centre = (bump.centre[0] * side, bump.centre[1])
            cx, cy = face.surface([centre], lift=max(0.0, bump.height))[0]
            height += bump.height * np.exp(-(((x - cx) / bump.spread[0]) ** 2) - ((y - cy) / bump.spread[1]) ** 2)
    return height.astype(np.float32)


def _bumps(face: Face) -> list[Bump]:
    w, nose, mouth = face.nose_width, face.nose_y, face.mouth_y
    return [
        Bump((0, 0.05), (0.10, 0.30), 0.10),
        Bump((0, nose - 0.18), (0.12, 0.22), 0.09),
        Bump((0, nose - 0.01), (0.14, 0.13), 0.17),
        Bump((0.72 * w, nose + 0.03), (0.08, 0.08), 0.07, paired=True),
        Bump((face.eye_x - 0.03, -0.02), (0.24, 0.14), -0.13, paired=True),
        Bump((face.eye_x, 0.0), (0.17, 0.10), 0.06, paired=True),
        Bump((face.eye_x, face.brow_y + 0.02), (0.30, 0.09), 0.05 if face.masculine else 0.03, paired=True),
        Bump((0.60, 0.40), (0.25, 0.22), 0.06 + 0.03 * face.smile, paired=True),
        Bump((0.33, 0.78), (0.07, 0.18), -0.03 - 0.02 * face.smile, paired=True),
        Bump((0, mouth - 0.18), (0.03, 0.07), -0.02),
        Bump((0, mouth), (0.30, 0.10), 0.05),
        Bump((0, mouth + 0.2), (0.20, 0.06), -0.045),
        Bump((0, face.chin - 0.2), (0.22, 0.15), 0.10),
        Bump((0, -0.62), (0.6, 0.4), 0.04),
    ]


def _flush(face: Face, x: FloatArray, y: FloatArray) -> FloatArray:
    """Return how red the skin is, 0..1: cheeks and the tip of the nose."""
    flush = np.zeros_like(x)
    for centre, spread in (((0.6, 0.45), 0.3), ((-0.6, 0.45), 0.3), ((0.0, face.nose_y), 0.16)):
        cx, cy = face.surface([centre])[0]
        flush += np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / spread**2)
    return flush


def enlarged(field: npt.NDArray[np.floating], size: int) -> FloatArray:
    """Return a coarse field, (g, g) or (g, g, 3), at `size` pixels a side."""
    return np.asarray(cv2.resize(field.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC), np.float32)
