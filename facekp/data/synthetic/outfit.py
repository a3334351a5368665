"""What surrounds the face: background, back hair, neck, clothes, jewellery, glasses and hat."""

import numpy as np

from facekp.data.synthetic.canvas import ellipse, mirrored, smooth
from facekp.data.synthetic.head import DARK
from facekp.data.synthetic.portrait import Portrait

METALS = np.array([(0.85, 0.66, 0.28), (0.82, 0.83, 0.86)])  # gold and silver


def paint_background(face: Portrait) -> None:
    """Paint blurred discs, and the hair behind the neck."""
    rng = face.rng
    face.image[:] = face.any_colour()[:, None, None]
    for x, y, radius, blur, opacity in rng.uniform((-2, -2, 0.1, 0.02, 0.1), (2, 2, 1.5, 0.4, 0.6), (10, 5)):
        face.paint(ellipse(x + 1j * y, radius, radius), face.any_colour(), blur=blur, opacity=opacity)
    if face.style in ("long", "bob"):
        low = 2.8 if face.style == "long" else rng.uniform(0.9, 1.25)
        shape = mirrored([(0, -1.4), (0.8, -1.2), (1.02, -0.4), (1.15, 0.5), (1.1, low), (0, low)])
        face.paint(shape - 0.3 * face.yaw, face.hair * 0.5, "hair")


def paint_body(face: Portrait) -> None:
    """Paint the neck in the chin's shadow, and clothes with a round neckline or a collar."""
    rng, body, w = face.rng, -0.3 * face.yaw, 0.54 + 0.14 * face.male
    half = [(0, 0.6), (w, 0.7), (w, 1.3), (w + 0.06, 1.65), (w + 0.4, 1.85), (1.7, 2.05), (2.6, 2.6), (0, 2.8)]
    face.paint(mirrored(half) + body, face.skin * (0.9, 0.86, 0.85), "neck")
    chin = [(0, 0.8), (0.8, 0.9), (face.jaw + 0.15, 1.45), (0.3, face.chin + 0.2), (0, face.chin + 0.24)]
    face.paint(face.outline(mirrored(chin)), DARK, blur=0.09, opacity=0.45, inside="neck")
    collar, colour = rng.random() < 0.5, face.any_colour()
    side, dip = w + 0.05 + (0 if collar else rng.uniform(0, 0.5)), rng.uniform(1.75, 2.1) + 0.35 * collar
    rim = (
        np.array([1.68j - side, 1j * dip, 1.68j + side]) if collar else smooth([(-side, 1.68), (0, dip), (side, 1.68)])
    )
    out = smooth([(side, 1.68), (side + 0.3, 1.84), (1.75, 2.0), (2.6, 2.5), (3, 3.2)])
    face.paint(rim + body, DARK, width=0.09, blur=0.04, opacity=0.3)
    face.paint(np.concatenate([rim, out, -out[::-1].conj()]) + body, colour, "cloth")
    if rng.random() < 0.3:
        stripes = [[0.9 * x + 1.5j, x + 3j] for x in np.arange(-3, 3, rng.uniform(0.1, 0.3))]
        face.paint(stripes, face.any_colour(), width=rng.uniform(0.03, 0.1), opacity=0.4, inside="cloth")
    if collar:
        flap = np.array([side + 1.62j, 0.02 + 1j * dip, 0.34 + 1j * (dip + 0.2), side + 0.18 + 1.83j])
        face.paint(np.stack([flap, -flap.conj()]) + body + 0.03j, DARK, blur=0.03, opacity=0.3)
        face.paint(np.stack([flap, -flap.conj()]) + body, colour * 1.08, "cloth")


def paint_necklace(face: Portrait) -> None:
    """Paint beads around the neck."""
    rng, t = face.rng, np.linspace(-1, 1, 31)
    if rng.random() < (0.08 if face.male else 0.28):
        width, dip, metal = rng.uniform(0.045, 0.08), rng.uniform(1.72, 1.9), rng.choice(METALS)
        chain = (0.55 + 0.12 * face.male) * t - 0.3 * face.yaw + 1j * (dip - (dip - 1.5) * t**2)
        face.paint(chain + 0.04j, DARK, width=width, blur=0.03, opacity=0.3)
        face.paint(chain, metal * 0.6, "neck_l", width=width)
        face.paint([ellipse(bead, width * 0.36, width * 0.36) for bead in chain], metal)


def paint_glasses(face: Portrait) -> None:
    """Paint glasses: dark ones, or clear ones that show the eyes and brows behind them."""
    rng = face.rng
    if rng.random() < 0.17:
        dark, frame, thick = rng.random() < 0.33, face.any_colour() * rng.uniform(0.1, 0.7), rng.uniform(0.03, 0.07)
        width, height, power = rng.uniform((0.29, 0.2, 2.2), (0.34, 0.26, 4.5))
        rims = face.surface([ellipse(s * 0.45 + 0.04j, width, height, power) for s in (1, -1)], lift=0.12)
        if dark:
            face.paint(rims, (0.05, 0.045, 0.05), "eye_g", opacity=0.93)
        for behind in ("background", "skin", "nose"):
            face.paint(rims, (1, 1, 1), "eye_g", opacity=0.12, inside=behind)
        face.paint(rims + 0.04j, DARK, width=thick, blur=0.03, opacity=0.2)
        face.paint(rims, frame, "eye_g", width=thick)
        bridge = smooth([(width - 0.45, -0.02), (0, -0.07), (0.45 - width, -0.02)])
        face.paint(face.surface(bridge, lift=0.14), frame, "eye_g", width=thick)
        for s in (s for s in (1, -1) if s * face.yaw < 0.25):
            arm = face.surface(s * (0.45 + width) - 0.03j, lift=0.1), face.outline(s * 0.98 - 0.08j)
            face.paint(arm, frame, "eye_g", width=thick)


def paint_earrings(face: Portrait) -> None:
    """Paint hoops or drops below the lobes that the head's turn leaves visible."""
    metal, hoop = face.rng.choice(METALS) * 0.85, face.rng.random() < 0.5
    if face.rng.random() < (0.15 if face.male else 0.65):
        for lobe in (face.outline(s * (0.96 - 0.15 * s * face.yaw) + 0.52j) for s in (1, -1) if s * face.yaw < 0.22):
            if hoop:
                face.paint(ellipse(lobe + 0.15j, 0.1, 0.16), metal, "ear_r", width=0.045)
            else:
                face.paint([lobe, lobe + 0.22j], metal, "ear_r", width=0.03)
                face.paint(ellipse(lobe + 0.22j, 0.06, 0.1), metal, "ear_r")
                face.paint(ellipse(lobe - 0.02 + 0.19j, 0.018, 0.03), (1, 1, 1), blur=0.01, opacity=0.8)


def paint_hat(face: Portrait) -> None:
    """Paint a beanie with a ribbed cuff, or a hat with a brim."""
    if not face.hat:
        return
    colour, low, brimmed = face.any_colour(), 1j * face.rng.uniform(-0.72, -0.55), face.rng.random() < 0.5
    crown = [(0, -1.25), (0.6, -1.2), (1.0, -0.7), (1.14, -0.1), (1.1, 0.1), (0.6, -0.06), (0, -0.1)]
    brim = [(0, -0.2), (0.9, -0.14), (1.5, -0.02), (1.72, 0.1), (1.3, 0.2), (0.6, 0.18), (0, 0.17)]
    cuff = [(0, -0.42), (0.6, -0.38), (1.13, -0.28), (1.16, 0.12), (0.6, -0.02), (0, -0.06)]
    for half, tone in ((crown, 0.95), (brim if brimmed else cuff, 1.08)):
        shape = face.outline(mirrored(half) + low)
        face.paint(shape + 0.1j, DARK, blur=0.07, opacity=0.4)
        face.paint(shape, colour * tone, "hat")
    if not brimmed:
        ribs = [[x + low - 0.3j, x + low] for x in np.linspace(-1.1, 1.1, 30)]
        face.paint(face.outline(ribs), colour * 0.75, width=0.02, blur=0.01, inside="hat")
