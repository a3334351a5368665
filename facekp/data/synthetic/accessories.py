"""Accessories: earrings, glasses and hats."""

import numpy as np

from facekp.data.synthetic.canvas import Canvas, FloatArray, mirrored, noise, shifted, smooth
from facekp.data.synthetic.clothes import GOLD, SILVER, any_colour
from facekp.data.synthetic.features import SIDES
from facekp.data.synthetic.geometry import Colour, Face


def paint_earrings(canvas: Canvas, face: Face, rng: np.random.Generator) -> None:
    """Paint an earring below each lobe that the turn of the head leaves to be seen."""
    metal = (GOLD, SILVER, any_colour(rng))[int(rng.integers(3))]
    kind = ("stud", "hoop", "drop")[int(rng.integers(3))]
    for side, _ in SIDES:
        if side * face.yaw > 0.22:
            continue
        lobe = face.outline([(side * (0.96 - 0.15 * side * face.yaw), 0.52)])[0]
        if kind == "hoop":
            angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
            ring = lobe + np.stack([0.1 * np.cos(angle), 0.15 + 0.16 * np.sin(angle)], axis=1)
            canvas.paint(canvas.stroke([ring], 0.045, closed=True), metal * 0.85, part="ear_r")
            canvas.paint(canvas.stroke([ring[3:9]], 0.015), (1, 1, 0.95), opacity=0.6)
            continue
        size = np.array([0.055, 0.055]) if kind == "stud" else np.array([0.06, 0.1])
        low = (0, 0.0) if kind == "stud" else (0, 0.22)
        if kind == "drop":
            canvas.paint(canvas.stroke([[lobe, lobe + low]], 0.03), metal * 0.7, part="ear_r")
        canvas.paint(canvas.dot(lobe + low, size), metal * 0.8, part="ear_r")
        canvas.paint(canvas.dot(lobe + low - size * 0.3, size * 0.3, blur=0.01), (1, 1, 0.97), opacity=0.8)


def paint_glasses(canvas: Canvas, face: Face, rng: np.random.Generator) -> None:
    """Paint glasses. Lenses and frame count as `eye_g`; clear lenses show the eyes and brows behind them."""
    dark = face.glasses == "sun"
    frame = np.clip(any_colour(rng) * rng.uniform(0.1, 0.7), 0, 1)
    width, height = rng.uniform(0.29, 0.34), rng.uniform(0.2, 0.26) * (1.1 if dark else 1)
    power = rng.uniform(2.2, 4.5)
    thick = rng.uniform(0.03, 0.07)
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    curve = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    rounded = np.sign(curve) * np.abs(curve) ** (2 / power) * (width, height)
    rims = [face.surface(shifted(rounded, side * face.eye_x, 0.04), lift=0.12) for side in (1, -1)]
    for rim in rims:
        lens = canvas.fill(rim)
        canvas.mark(lens, "eye_g", through=() if dark else ("l_eye", "r_eye", "l_brow", "r_brow"))
        canvas.paint(lens, (0.05, 0.045, 0.05) if dark else (0.85, 0.9, 0.95), opacity=0.93 if dark else 0.08)
        glare = canvas.fill(np.array([(-0.25, -0.3), (0.0, -0.3), (-0.12, 0.3), (-0.35, 0.3)]) + rim.mean(axis=0), 0.03)
        canvas.paint(glare.within(lens), (1, 1, 1), opacity=0.14)
    canvas.tint(canvas.stroke([shifted(rim, y=0.04) for rim in rims], thick, blur=0.03, closed=True), 0.8)
    inner = face.eye_x - width
    bridge = face.surface(smooth([(-inner, -0.02), (0, -0.07), (inner, -0.02)]), lift=0.14)
    arms = []
    for side in (1, -1):
        if side * face.yaw < 0.25:
            hinge = face.surface([(side * (face.eye_x + width), -0.03)], lift=0.1)[0]
            arms.append(np.stack([hinge, face.outline([(side * (1.0 - 0.2 * side * face.yaw), -0.08)])[0]]))
    for stencil in (canvas.stroke(rims, thick, closed=True), canvas.stroke([bridge, *arms], thick)):
        canvas.paint(stencil, frame, part="eye_g")
    canvas.paint(canvas.stroke([rim[22:30] for rim in rims], thick * 0.3, blur=0.005), (1, 1, 1), opacity=0.35)


def paint_hat(canvas: Canvas, face: Face, rng: np.random.Generator, glow: FloatArray) -> None:
    """Paint a beanie, a cap or a hat with a brim."""
    colour = any_colour(rng)
    tone = glow * (1 + 0.05 * noise(rng, canvas.size, 40))
    low = rng.uniform(-0.72, -0.55)
    tall = {"beanie": 1.95, "cap": 1.75, "brimmed": 1.9}[face.hat or "cap"]
    crown = [(0, -tall), (0.6, -tall + 0.08), (1.0, -1.3), (1.14, low - 0.1), (1.1, low + 0.1), (0.6, low - 0.06),
             (0, low - 0.1)]  # fmt: skip
    shape = face.outline(mirrored(crown))
    canvas.tint(canvas.fill(shifted(shape, y=0.09), blur=0.07), (0.6, 0.54, 0.52))
    canvas.paint(canvas.fill(shape), colour, part="hat", tone=tone)
    if face.hat == "beanie":
        _paint_ribs(canvas, face, colour, tone, low)
    elif face.hat == "cap":
        _paint_visor(canvas, face, colour, tone, low)
    else:
        _paint_brim(canvas, face, colour, tone, low, any_colour(rng))


def _paint_ribs(canvas: Canvas, face: Face, colour: Colour, tone: FloatArray, low: float) -> None:
    half = [(0, low - 0.42), (0.6, low - 0.38), (1.13, low - 0.28), (1.16, low + 0.12), (0.6, low - 0.02),
            (0, low - 0.06)]  # fmt: skip
    band = face.outline(mirrored(half))
    stencil = canvas.fill(band)
    canvas.tint(canvas.fill(shifted(band, y=-0.04), blur=0.03), 0.85)
    canvas.paint(stencil, colour * 1.08, part="hat", tone=tone)
    ribs = [face.outline([(x, low - 0.5), (x * 1.02, low + 0.2)]) for x in np.sin(np.linspace(-1.5, 1.5, 36)) * 1.14]
    canvas.tint(canvas.stroke(ribs, 0.02, blur=0.01).within(stencil), 0.72)


def _paint_visor(canvas: Canvas, face: Face, colour: Colour, tone: FloatArray, low: float) -> None:
    seams = [smooth(face.outline([(0, -1.72), (0.55 * x, -1.4), (x, low)])) for x in (-0.8, -0.3, 0.3, 0.8)]
    canvas.tint(canvas.stroke(seams, 0.015, blur=0.01), 0.75)
    lean = 0.35 * face.yaw
    visor = smooth([(-0.95, low + 0.06), (-0.5, low - 0.13), (0, low - 0.19), (0.5, low - 0.13), (0.95, low + 0.06),
                    (0.75 + lean, low + 0.2), (lean, low + 0.27), (-0.75 + lean, low + 0.2)], closed=True)  # fmt: skip
    canvas.tint(canvas.fill(shifted(face.outline(visor), y=0.1), blur=0.06), (0.62, 0.55, 0.53))
    canvas.paint(canvas.fill(face.outline(visor)), colour * 0.8, part="hat", tone=tone)
    edge = shifted(visor[32:57], y=-0.03)
    canvas.tint(canvas.stroke([face.outline(edge)], 0.012, blur=0.01), 1.25)


def _paint_brim(canvas: Canvas, face: Face, colour: Colour, tone: FloatArray, low: float, ribbon: Colour) -> None:
    band = [(0, low - 0.38), (0.7, low - 0.34), (1.13, low - 0.24), (1.14, low), (0.6, low - 0.1), (0, low - 0.12)]
    canvas.paint(canvas.fill(face.outline(mirrored(band))), ribbon, part="hat")
    brim = [(0, low - 0.2), (0.9, low - 0.14), (1.5, low - 0.02), (1.72, low + 0.1), (1.3, low + 0.2),
            (0.6, low + 0.18), (0, low + 0.17)]  # fmt: skip
    shape = face.outline(mirrored(brim))
    canvas.tint(canvas.fill(shifted(shape, y=0.12), blur=0.08), (0.62, 0.55, 0.53))
    canvas.paint(canvas.fill(shape), colour * 0.92, part="hat", tone=tone)
    canvas.tint(canvas.stroke([shape], 0.02, blur=0.015, closed=True), 0.85)
