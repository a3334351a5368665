"""The parts of a face: skin, ears, nose, eyes, brows and mouth, each painted and marked on the canvas."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from facekp.data.synthetic.canvas import Canvas, FloatArray, mirrored, shifted, smooth
from facekp.data.synthetic.geometry import Face

Curve = npt.NDArray[np.floating[Any]]
SIDES: tuple[tuple[Literal[1, -1], str], ...] = ((1, "l"), (-1, "r"))
"""The subject's left lies at x > 0, on the right of the image."""


def paint_skin(canvas: Canvas, face: Face, skin: FloatArray, rng: np.random.Generator) -> None:
    """Paint the head without its features, and a beard, which counts as skin."""
    chin, jaw = face.chin, face.jaw
    half = [(0, -1.5), (0.46, -1.38), (0.8, -0.95), (0.94, -0.4), (0.95, 0.1), (0.89, 0.6), (jaw + 0.19, 1.02),
            (jaw - 0.03, chin - 0.2), (0.23, chin - 0.03), (0, chin + 0.015)]  # fmt: skip
    head = canvas.fill(face.outline(mirrored(half)))
    canvas.paint(head, skin, part="skin")
    if face.beard:
        _paint_beard(canvas, face, rng)


def _paint_beard(canvas: Canvas, face: Face, rng: np.random.Generator) -> None:
    chin, mouth = face.chin, face.mouth_y
    half = [(0, mouth - 0.25), (0.4, mouth - 0.16), (0.62, 0.9), (0.9, 0.45), (0.92, 0.75), (0.72, 1.2),
            (face.jaw - 0.05, chin - 0.12), (0.2, chin), (0, chin)]  # fmt: skip
    beard = canvas.fill(face.outline(mirrored(half)), blur=0.06)
    dark = face.hair * 0.7 + face.skin * 0.12
    canvas.paint(beard, dark, opacity=0.15 + 0.5 * face.beard)
    roots = rng.uniform((-1, 0.4), (1, chin), (int(900 * face.beard), 2))
    tips = roots + rng.normal((0, 0.07), 0.02, roots.shape) + roots * (0.02, 0)
    hairs = canvas.stroke(np.stack([roots, tips], axis=1).astype(np.float32), width=0.01)
    canvas.paint(hairs.within(beard), dark, opacity=0.45)


def paint_ears(canvas: Canvas, face: Face, glow: FloatArray) -> None:
    """Paint the ears that the head's turn leaves to be seen; they lie behind the skin."""
    for side, letter in SIDES:
        width = 0.17 * (1 - 2.6 * side * face.yaw)
        if width < 0.06:
            continue
        root = np.array((0.9 * side, 0.0))
        rim = smooth([(0, -0.15), (0.75, -0.24), (1.05, -0.08), (0.95, 0.2), (0.6, 0.48), (0.2, 0.56), (0, 0.4)], True)
        ear = canvas.fill(face.outline(root + rim * (side * width, 1)))
        canvas.paint(ear, face.skin * (0.86, 0.78, 0.76), part=f"{letter}_ear", tone=glow)
        inner = smooth([(0.35, -0.1), (0.75, -0.12), (0.75, 0.1), (0.45, 0.3), (0.3, 0.15)], True)
        hollow = canvas.fill(face.outline(root + inner * (side * width, 1)), blur=0.03)
        canvas.tint(hollow.within(ear), (0.72, 0.6, 0.58))


def paint_nose(canvas: Canvas, face: Face) -> None:
    """Mark the nose, which the light has shaped already, and add nostrils, wings and the shadow beneath."""
    w, y = face.nose_width, face.nose_y
    half = [(0, -0.12), (0.075, -0.1), (0.085, 0.1), (0.12, y - 0.2), (w * 0.93, y - 0.06), (w, y + 0.03),
            (w * 0.85, y + 0.1), (0.1, y + 0.125), (0, y + 0.14)]  # fmt: skip
    canvas.mark(canvas.fill(face.surface(mirrored(half), lift=0.06)), "nose")
    side = -float(np.sign(face.light[0]))
    shadow = smooth([(0.02 * side, y), (w * side, y + 0.05), (w * 1.15 * side, y + 0.16), (0, y + 0.2)], closed=True)
    canvas.tint(canvas.fill(face.surface(shadow, lift=0.02), blur=0.06), (0.8, 0.74, 0.72))
    for s in (1, -1):
        wing = smooth([(s * w * 0.8, y - 0.08), (s * w * 1.0, y + 0.02), (s * w * 0.86, y + 0.1)])
        canvas.tint(canvas.stroke([face.surface(wing, lift=0.05)], 0.025, blur=0.018), (0.55, 0.45, 0.43))
        nostril = face.surface([(s * w * 0.45, y + 0.085)], lift=0.12)[0]
        canvas.tint(canvas.dot(nostril, (w * 0.28, 0.028), blur=0.012), (0.3, 0.18, 0.17))


def paint_eyes(canvas: Canvas, face: Face, rng: np.random.Generator) -> None:
    """Paint both eyes with their lids and lashes."""
    made_up = not face.masculine and rng.random() < 0.6
    for side, letter in SIDES:
        upper, lower = _lids(face, side)
        socket = canvas.fill(shifted(upper, y=-0.05), blur=0.06)
        canvas.tint(socket, (0.72, 0.62, 0.6) if made_up else (0.86, 0.8, 0.79))
        canvas.tint(canvas.stroke([shifted(upper, y=-0.055)[2:-1]], 0.018, blur=0.012), (0.62, 0.5, 0.47))
        canvas.tint(canvas.stroke([shifted(lower, y=0.05)], 0.02, blur=0.025), (0.86, 0.8, 0.8))
        _paint_eyeball(canvas, face, side, np.concatenate([upper, lower[::-1]]), f"{letter}_eye")
        canvas.paint(canvas.stroke([lower], 0.012, blur=0.006), face.skin * (0.5, 0.35, 0.33), opacity=0.7)
        lash = (0.06, 0.04, 0.04)
        canvas.paint(canvas.stroke([upper], 0.04 if made_up else 0.024, blur=0.006), lash, opacity=0.9)
        roots = upper[3:-2] if face.masculine else upper[2:]
        outwards = np.stack([0.5 * (roots[:, 0] - roots.mean(axis=0)[0]), np.full(len(roots), -0.055)], axis=1)
        lashes = np.stack([roots, roots + outwards * (1.0 if made_up else 0.6)], axis=1)
        canvas.paint(canvas.stroke(lashes, 0.008), lash, opacity=0.6)


def _lids(face: Face, side: int) -> tuple[FloatArray, FloatArray]:
    """Return the upper and the lower lid, (17, 2) each, from the inner to the outer corner."""
    t = np.linspace(-1, 1, 17)
    x = side * (face.eye_x + face.eye_width * t)
    # The upper lid peaks towards the nose, the lower one away from it.
    arch_up = (1 - np.abs(t) ** 2.2) * (1 - 0.15 * t)
    arch_down = (1 - np.abs(t) ** 2.0) * (1 + 0.25 * t)
    tilt = -face.eye_tilt * t
    upper = np.stack([x, tilt - 1.25 * face.eye_height * arch_up], axis=1)
    lower = np.stack([x, tilt + 0.85 * face.eye_height * arch_down], axis=1)
    return face.surface(upper), face.surface(lower)


def _paint_eyeball(canvas: Canvas, face: Face, side: int, outline: FloatArray, part: str) -> None:
    eye = canvas.fill(outline)
    white = np.array([0.9, 0.87, 0.85]) * (0.75 + 0.25 * face.skin[0])
    canvas.paint(eye, white, part=part)
    centre = face.surface([(side * face.eye_x, -0.012)])[0] + np.array(face.gaze) * (face.eye_width, face.eye_height)
    radius = 0.1
    for scale, colour in ((1.0, face.iris * 0.45), (0.86, face.iris * 1.1), (0.42, np.full(3, 0.02))):
        canvas.paint(canvas.dot(centre, radius * scale, blur=0.008).within(eye), colour)
    glint = centre + 0.4 * radius * np.array([np.sign(face.light[0]), -1])
    canvas.paint(canvas.dot(glint, 0.02, blur=0.005).within(eye), (1, 1, 1), opacity=0.95)
    # The upper lid shades the ball; the corners are pinker and darker.
    lid = canvas.stroke([outline[: len(outline) // 2]], 0.05, blur=0.02)
    canvas.tint(lid.within(eye), (0.6, 0.56, 0.56))


def paint_brows(canvas: Canvas, face: Face, rng: np.random.Generator) -> None:
    """Paint both brows: a soft ground and single hairs."""
    colour = face.hair * 0.65 + face.skin * 0.08 if face.hair.mean() > 0.12 else face.hair
    for side, letter in SIDES:
        t = np.linspace(0, 1, 14)
        x = side * (0.17 + 0.58 * t)
        ridge = face.brow_y - face.brow_arch * np.sin(np.pi * np.clip(t * 0.9, 0, 1) ** 1.5) + 0.07 * t**3
        half = face.brow_width * np.clip(np.minimum(0.75 + 3 * t, 2.2 - 2 * t), 0.12, 1)
        top, bottom = np.stack([x, ridge - half], axis=1), np.stack([x, ridge + half], axis=1)
        ends = face.surface(np.concatenate([top, bottom[::-1]]))
        brow = canvas.fill(ends, blur=0.014)
        canvas.paint(brow, colour, opacity=0.62, part=f"{letter}_brow")
        place, across = rng.uniform(0, 12, 70), rng.uniform(-1, 1, 70)
        roots = np.stack([np.interp(place, np.arange(14), x), np.interp(place, np.arange(14), ridge)], axis=1)
        roots[:, 1] += across * np.interp(place, np.arange(14), half)
        lean = np.stack([side * rng.uniform(0.03, 0.07, 70), -0.035 * (1 - place / 8) - 0.01 * across], axis=1)
        hairs = np.stack([face.surface(roots), face.surface(roots + lean)], axis=1)
        canvas.paint(canvas.stroke(hairs, 0.01).within(canvas.fill(ends, blur=0.03)), colour, opacity=0.75)


def paint_mouth(canvas: Canvas, face: Face, glow: FloatArray) -> None:
    """Paint the lips and, where they are open, the inside of the mouth with the teeth."""
    t = np.linspace(-1, 1, 25)
    x = face.mouth_width * t
    middle = face.mouth_y - 0.07 * face.smile * t**2 + 0.01 * np.cos(3 * np.pi * t) * (1 - t**2)
    opening = face.gap * (1 - t**2)
    upper_edge, lower_edge = middle - 0.35 * opening, middle + 0.65 * opening
    # Cupid's bow: two peaks beside a dip.
    bow = (1 - np.abs(t) ** 1.6) * (1 - 0.3 * np.exp(-((t / 0.14) ** 2)))
    top = upper_edge - face.lips[0] * 1.15 * bow
    bottom = lower_edge + face.lips[1] * (1 - t**2) ** 0.8

    def band(above: Curve, below: Curve) -> FloatArray:
        line = np.concatenate([np.stack([x, above], axis=1), np.stack([x, below], axis=1)[::-1]])
        return face.surface(line, lift=0.03)

    canvas.tint(canvas.fill(band(bottom, bottom + 0.05), blur=0.04), (0.84, 0.78, 0.77))
    if face.gap:
        _paint_inside(canvas, face, band(upper_edge, lower_edge), band(upper_edge, upper_edge + 0.75 * opening))
    canvas.paint(canvas.fill(band(top, upper_edge), blur=0.006), face.lip * 0.82, part="u_lip", tone=glow)
    lower = canvas.fill(band(lower_edge, bottom), blur=0.006)
    canvas.paint(lower, face.lip, part="l_lip", tone=glow)
    fullness = bottom - lower_edge
    shine = canvas.fill(band(lower_edge + 0.3 * fullness, lower_edge + 0.6 * fullness)[6:-6], blur=0.025)
    canvas.paint(shine.within(lower), (1, 0.85, 0.82), opacity=0.12 if face.masculine else 0.28)
    seam = [face.surface(np.stack([x, edge], axis=1), lift=0.03) for edge in (upper_edge, lower_edge)]
    canvas.tint(canvas.stroke(seam[: 2 if face.gap else 1], 0.02, blur=0.01), (0.4, 0.28, 0.28))
    for corner in (seam[0][0], seam[0][-1]):
        canvas.tint(canvas.dot(corner, 0.03, blur=0.025), (0.7, 0.6, 0.6))


def _paint_inside(canvas: Canvas, face: Face, inside: FloatArray, teeth: FloatArray) -> None:
    mouth = canvas.fill(inside)
    canvas.paint(mouth, (0.24, 0.07, 0.07), part="mouth")
    if face.smile > 0.1:
        row = canvas.fill(teeth, blur=0.01).within(mouth)
        canvas.paint(row, (0.93, 0.9, 0.85), opacity=0.95)
        y = face.mouth_y
        gaps = [face.surface([(x, y - 0.1), (x, y + 0.15)], lift=0.03) for x in np.linspace(-0.3, 0.3, 9)]
        canvas.tint(canvas.stroke(gaps, 0.008, blur=0.006).within(row), 0.86)
    rim = canvas.stroke([inside], 0.03, blur=0.02, closed=True)
    canvas.tint(rim.within(mouth), (0.7, 0.62, 0.62))
