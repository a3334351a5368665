"""Hair: strands between guide curves, in front of the face and behind the neck."""

from collections.abc import Sequence

import numpy as np

from facekp.data.synthetic.canvas import Canvas, FloatArray, noise, shifted, smooth
from facekp.data.synthetic.geometry import Face

HAIRLINE = [(-0.97, 0.2), (-0.93, -0.2), (-0.84, -0.55), (-0.56, -0.86), (0, -0.95), (0.56, -0.86), (0.84, -0.55),
            (0.93, -0.2), (0.97, 0.2)]  # fmt: skip
SKULL = [(-0.98, 0.25), (-1.04, -0.3), (-0.96, -0.88), (-0.6, -1.38), (0, -1.56), (0.6, -1.38), (0.96, -0.88),
         (1.04, -0.3), (0.98, 0.25)]  # fmt: skip
STRANDS = 220


def paint_back_hair(canvas: Canvas, face: Face, rng: np.random.Generator, glow: FloatArray) -> None:
    """Paint the hair that lies behind the neck."""
    if face.hair_style not in ("long", "bob", "tied"):
        return
    loose = face.hair_style != "tied"
    if not loose and rng.random() < 0.4:
        return
    low = rng.uniform(0.9, 1.25) if face.hair_style == "bob" else 2.6
    wide = rng.uniform(1.15, 1.35) if loose else rng.uniform(0.95, 1.1)
    guides = [
        smooth([(0.2 * s, -1.4), (0.8 * s, -1.2), (1.02 * s, -0.4), (wide * s, 0.5), (wide * s * 0.97, low)], steps=5)
        for s in np.linspace(-1, 1, 7)
    ]
    _paint_strands(canvas, face, rng, guides, 0.62 * glow, wave=rng.uniform(0, 0.03))


def paint_front_hair(canvas: Canvas, face: Face, rng: np.random.Generator, glow: FloatArray) -> None:
    """Paint the hair over the forehead, beside the face and over the shoulders."""
    if face.hair_style == "bald":
        return
    wave = rng.uniform(0, 0.035)
    if face.hair_style in ("long", "bob"):
        _paint_curtains(canvas, face, rng, glow, wave)
    else:
        _paint_cap(canvas, face, rng, glow)
    if face.fringe:
        _paint_fringe(canvas, face, rng, glow)


def _paint_cap(canvas: Canvas, face: Face, rng: np.random.Generator, glow: FloatArray) -> None:
    """Paint short hair, combed from the hairline to the outline of the skull."""
    fixed = {"buzz": 0.03, "tied": 0.08, "curly": rng.uniform(0.25, 0.45)}
    volume = fixed.get(face.hair_style, rng.uniform(0.08, 0.24))
    if face.hat:
        volume = min(volume, 0.07)
    recede = rng.uniform(-0.1, 0.06) if face.masculine else rng.uniform(-0.04, 0.05)
    root = smooth(HAIRLINE) + rng.normal(0, 0.012, (65, 2))
    root[:, 1] += recede * np.exp(-(root[:, 0] ** 2) / 0.5)
    tip = smooth(SKULL)
    away = tip - (0, -0.3)
    crown = np.clip(-tip[:, 1:] + 0.1, 0, 1.2)
    tip += volume * crown * away / np.linalg.norm(away, axis=1, keepdims=True)
    # Combing to one side moves the tips along the outline.
    sweep = rng.uniform(-0.12, 0.12) if face.hair_style == "short" else 0.0
    place = np.linspace(0, 1, 65)
    combed = np.clip(place + sweep * np.sin(np.pi * place), 0, 1)
    tip = np.stack([np.interp(combed, place, axis) for axis in tip.T], axis=1).astype(np.float32)
    along = np.linspace(0, 1, 12)[None, :, None]
    guides = face.outline(root[:, None] * (1 - along) + tip[:, None] * along)
    wave = {"curly": 0.06, "buzz": 0.0}.get(face.hair_style, 0.012)
    _paint_strands(canvas, face, rng, list(guides), glow, wave, stubble=face.hair_style == "buzz")


def _paint_curtains(canvas: Canvas, face: Face, rng: np.random.Generator, glow: FloatArray, wave: float) -> None:
    """Paint two falls of hair from the parting, down beside the face."""
    low = 2.7 if face.hair_style == "long" else rng.uniform(1.05, 1.4)
    part = rng.uniform(-0.4, 0.4)
    volume = 0.04 if face.hat else rng.uniform(0.06, 0.2)
    cover = rng.uniform(-0.08, 0.1)
    for side in (-1, 1):
        behind = rng.random() < 0.25
        last = 1.12 if behind else 0.9 + cover
        inner = [(part, -1.2), (side * 0.45 + part * 0.5, -0.98), (side * 0.84, -0.5),
                 (side * (0.96 - cover), 0.1), (side * (0.98 - cover), 0.7), (side * last, 1.2),
                 (side * last, 1.9), (side * (last + 0.1), 2.7)]  # fmt: skip
        wide = 1.12 + volume
        outer = [(part, -1.55 - volume), (side * 0.66 + part * 0.3, -1.42 - volume), (side * (wide - 0.02), -0.85),
                 (side * (wide + 0.06), -0.2), (side * (wide + 0.12), 0.6), (side * (wide + 0.2), 1.2),
                 (side * (wide + 0.22), 1.9), (side * (wide + 0.15), 2.7)]  # fmt: skip
        guides = []
        for mix in np.linspace(0, 1, 7):
            guide = face.outline(np.array(inner) * (1 - mix) + np.array(outer) * mix)
            guide[:, 1] = np.minimum(guide[:, 1], low + rng.normal(0, 0.03))
            guides.append(smooth(guide, steps=4))
        canvas.tint(canvas.stroke([guides[0][4:]], 0.06, blur=0.06), (0.72, 0.66, 0.64))
        _paint_strands(canvas, face, rng, guides, glow, wave)


def _paint_fringe(canvas: Canvas, face: Face, rng: np.random.Generator, glow: FloatArray) -> None:
    """Paint locks that fall over the forehead."""
    sweep, end = rng.normal(0, 0.2), rng.uniform(-0.6, -0.36)
    guides = []
    for s in np.linspace(-1, 1, 9):
        tip = (0.92 * s + sweep * (1 - abs(s)), end + 0.25 * s * sweep + 0.12 * s**2 + rng.normal(0, 0.025))
        bulge = (0.9 * s + 0.3 * sweep * (1 - abs(s)), -0.98 + 0.12 * s**2)
        guides.append(smooth(face.outline([(0.62 * s, -1.42 + 0.15 * s**2), bulge, tip])))
    lower_edge = np.stack([guides[0][0], *(guide[-1] for guide in guides), guides[-1][0]])
    canvas.tint(canvas.fill(shifted(lower_edge, y=0.05), blur=0.06), (0.75, 0.7, 0.68))
    _paint_strands(canvas, face, rng, guides, glow, wave=0.008)


def _paint_strands(
    canvas: Canvas,
    face: Face,
    rng: np.random.Generator,
    guides: Sequence[FloatArray],
    glow: FloatArray,
    wave: float,
    stubble: bool = False,
) -> None:
    """Fill the surface between guide curves (all of one length) with hair and paint single strands over it."""
    strands = _strands(rng, np.stack(guides).astype(np.float32), STRANDS, wave)
    tips, roots = [guide[-1] for guide in guides], [guide[0] for guide in guides]
    edge = np.stack([*guides[0], *tips, *guides[-1][::-1], *roots[::-1]])
    body = canvas.fill(edge, blur=0.03 if stubble else 0.0)
    tone = glow * (1 + 0.06 * noise(rng, canvas.size, 9))
    canvas.paint(body, face.hair * 0.75, opacity=0.8 if stubble else 1.0, part="hair", tone=tone)
    if stubble:
        return
    bright = canvas.stroke(rng.permutation(strands), 0.014, levels=rng.uniform(0.0, 0.9, len(strands)).tolist())
    canvas.paint(bright, face.hair * 1.2 + 0.03, opacity=0.75, tone=tone)


def _strands(rng: np.random.Generator, guides: FloatArray, count: int, wave: float) -> FloatArray:
    """Return `count` curves, (count, P, 2), between neighbouring guides (G, P, 2)."""
    place = np.sort(rng.uniform(0, len(guides) - 1, count))
    index = np.minimum(place.astype(int), len(guides) - 2)
    mix = (place - index).astype(np.float32)[:, None, None]
    strands: FloatArray = guides[index] * (1 - mix) + guides[index + 1] * mix
    along = np.linspace(0, 1, guides.shape[1])
    phase = rng.uniform(0, 2 * np.pi, (count, 1)) * 0.3 + place[:, None]
    ripple = wave * np.sin(phase + along * 20) * along
    strands[..., 0] += ripple
    strands += rng.normal(0, 0.012, (count, 1, 2))
    return strands
