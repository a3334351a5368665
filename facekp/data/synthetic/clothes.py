"""What is below and behind a face: the background, the neck, clothes and a necklace."""

import numpy as np

from facekp.data.synthetic.canvas import Canvas, FloatArray, dye, mirrored, noise, shifted, smooth
from facekp.data.synthetic.geometry import Colour, Face
from facekp.data.synthetic.light import GRID, enlarged

GOLD, SILVER = np.array([0.85, 0.66, 0.28]), np.array([0.82, 0.83, 0.86])


def any_colour(rng: np.random.Generator) -> Colour:
    """Return a colour of cloth or of plastic, more often muted than bright."""
    grey = rng.uniform(0.08, 0.9)
    return np.clip(grey + rng.normal(0, 0.14, 3), 0.03, 0.97).astype(np.float32)


def _body(face: Face) -> float:
    """Return where the middle of the neck is: the head turns before it, against the way that it looks."""
    return -0.3 * face.yaw


def paint_background(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint a gradient with blurred blobs and, at times, discs of light."""
    low, high = any_colour(rng), any_colour(rng)
    x, y = canvas.grid(GRID)
    angle = rng.uniform(0, 2 * np.pi)
    mix = np.clip(0.5 + 0.25 * (x * np.cos(angle) + y * np.sin(angle)) + 0.2 * noise(rng, GRID, 5), 0, 1)
    canvas.image[:] = enlarged(dye(low, 1 - mix) + dye(high, mix), canvas.size)
    for _ in range(int(rng.integers(0, 9))):
        centre, radius = rng.uniform(-2, 2, 2), rng.uniform(0.1, 0.7)
        disc = canvas.dot(centre, radius, blur=rng.uniform(0.02, 0.2))
        canvas.paint(disc, any_colour(rng), opacity=rng.uniform(0.1, 0.6))


def paint_neck(canvas: Canvas, face: Face, glow: FloatArray) -> None:
    """Paint the neck and what a wide collar leaves bare, in the shadow of the chin."""
    w = 0.68 if face.masculine else 0.54
    half = [(0, 0.6), (w, 0.7), (w, 1.3), (w + 0.06, 1.65), (w + 0.4, 1.85), (1.7, 2.05), (2.6, 2.6), (0, 2.8)]
    neck = canvas.fill(shifted(mirrored(half), x=_body(face)))
    canvas.paint(neck, face.skin * (0.9, 0.86, 0.85), part="neck", tone=glow)
    chin = [(0, 0.8), (0.8, 0.9), (face.jaw + 0.15, 1.45), (0.3, face.chin + 0.2), (0, face.chin + 0.24)]
    canvas.tint(canvas.fill(face.outline(mirrored(chin)), blur=0.09).within(neck), (0.62, 0.52, 0.5))
    for side in (1, -1):
        tendon = smooth([(side * w * 0.85, 1.4), (side * w * 0.55, 1.75), (side * 0.12, 2.02)])
        canvas.tint(canvas.stroke([tendon], 0.05, blur=0.05).within(neck), (0.9, 0.86, 0.86))


def paint_cloth(canvas: Canvas, face: Face, rng: np.random.Generator, glow: FloatArray) -> None:
    """Paint clothes with one of several collars."""
    colour = any_colour(rng)
    kinds = ("crew", "v", "wide", "shirt", "suit") + (() if face.necklace else ("turtleneck", "hood"))
    kind = kinds[int(rng.integers(len(kinds)))]
    w = 0.72 if face.masculine else 0.6
    # Where the collar leaves the neck, and how far it dips in front.
    side, dip = {
        "crew": ((w, 1.68), 1.98), "v": ((w + 0.02, 1.68), 2.5), "wide": ((1.25, 1.9), 2.15),
        "shirt": ((w - 0.04, 1.56), 2.0), "suit": ((w, 1.62), 2.6), "turtleneck": ((w - 0.05, 1.42), 1.62),
        "hood": ((w + 0.1, 1.45), 1.9),
    }[kind]  # fmt: skip
    dip -= rng.uniform(0, 0.12)
    rim = [(-side[0], side[1]), (0.0, dip), side]
    if kind not in ("v", "shirt", "suit"):
        rim = smooth([rim[0], (-0.6 * side[0], dip - 0.12), rim[1], (0.6 * side[0], dip - 0.12), rim[2]]).tolist()
    out = smooth([side, (side[0] + 0.3, side[1] + 0.16), (1.75, 2.0), (2.6, 2.5), (3, 3.2)])
    body = shifted(np.concatenate([rim, out, (out * (-1, 1))[::-1]]), x=_body(face))
    folds = glow * (1 + 0.07 * noise(rng, canvas.size, (5, 14)) + 0.03 * noise(rng, canvas.size, 60))
    if rng.random() < 0.25:
        x, y = canvas.grid()
        stripe = np.sin((x if rng.random() < 0.5 else y) * rng.uniform(20, 60))
        folds = folds * (1 + 0.18 * np.tanh(3 * stripe))
    if kind == "suit":
        _paint_shirt_and_tie(canvas, face, rng, glow, w)
    canvas.tint(canvas.stroke([shifted(rim, _body(face), 0.02)], 0.05, blur=0.04), 0.72)
    canvas.paint(canvas.fill(body), colour, part="cloth", tone=folds)
    if kind in ("shirt", "suit", "hood"):
        _paint_collar(canvas, face, colour, folds * np.float32(0.9 if kind == "suit" else 1.06), side, dip)
    else:
        canvas.tint(canvas.stroke([shifted(rim, _body(face), 0.05)], 0.015, blur=0.008), 0.75)


def _paint_shirt_and_tie(canvas: Canvas, face: Face, rng: np.random.Generator, glow: FloatArray, w: float) -> None:
    front = [(-w, 1.58), (-0.12, 1.95), (0, 2.9), (0.12, 1.95), (w, 1.58), (1.2, 3), (-1.2, 3)]
    inside = canvas.fill(shifted(front, x=_body(face)))
    canvas.paint(inside, np.full(3, rng.uniform(0.75, 0.95)), part="cloth", tone=glow)
    tie = canvas.fill(shifted([(-0.1, 1.9), (0.1, 1.9), (0.16, 2.8), (-0.16, 2.8)], x=_body(face)))
    canvas.paint(tie, any_colour(rng), part="cloth")


def _paint_collar(
    canvas: Canvas, face: Face, colour: Colour, tone: FloatArray, side: tuple[float, float], dip: float
) -> None:
    """Paint two flaps that meet in front."""
    for s in (1, -1):
        x, y = side
        corners = [(s * x, y - 0.03), (s * 0.02, dip), (s * 0.34, dip + 0.22), (s * (x + 0.18), y + 0.18)]
        flap = shifted(corners, x=_body(face))
        canvas.tint(canvas.fill(shifted(flap, y=0.03), blur=0.03), 0.7)
        canvas.paint(canvas.fill(flap), colour, part="cloth", tone=tone)


def paint_necklace(canvas: Canvas, face: Face, rng: np.random.Generator) -> None:
    """Paint a chain or beads round the neck, at times with a pendant."""
    metal = GOLD if rng.random() < 0.5 else SILVER
    t = np.linspace(-1, 1, 31)
    dip = rng.uniform(1.78, 1.95)
    w = 0.72 if face.masculine else 0.6
    chain = np.stack([w * t + _body(face), dip - (dip - 1.55) * t**2], axis=1)
    width = rng.uniform(0.045, 0.08)
    canvas.tint(canvas.stroke([shifted(chain, y=0.04)], width, blur=0.03), 0.7)
    canvas.paint(canvas.stroke([chain], width), metal * 0.6, part="neck_l")
    for bead in chain:
        canvas.paint(canvas.dot(bead, width * 0.36), metal, opacity=0.9)
        canvas.paint(canvas.dot(bead - 0.2 * width, width * 0.14), (1, 1, 0.95), opacity=0.8)
    if rng.random() < 0.5:
        canvas.paint(canvas.dot(chain[15] + (0, 0.09), (0.06, 0.08)), metal * 0.9, part="neck_l")
