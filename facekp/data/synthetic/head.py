"""The head: skin, ears, nose, mouth, eyes, brows and hair."""

import numpy as np

from facekp.data.synthetic.canvas import Points, ellipse, mirrored, smooth
from facekp.data.synthetic.portrait import Portrait, Reals

SIDES = ((1, "l"), (-1, "r"))  # the subject's left lies on the right of the image
DARK = np.array((0.12, 0.03, 0.02))  # shadows on skin


def paint_skin(face: Portrait) -> None:
    """Paint the ears and the head without its features; a beard counts as skin."""
    chin, jaw, mouth, rng = face.chin, face.jaw, face.mouth, face.rng
    for side, letter in SIDES:
        if (width := 0.17 * (1 - 2.6 * side * face.yaw)) > 0.06:
            rim = smooth([(0, -0.15), (0.75, -0.24), (1.05, -0.08), (0.95, 0.2), (0.6, 0.48), (0, 0.5)], closed=True)
            ear = face.outline(side * (0.9 + width * rim.real) + 1j * rim.imag)
            face.paint(ear, face.skin * (0.86, 0.78, 0.76), f"{letter}_ear")
            face.paint(0.5 * (ear + ear.mean()), DARK, blur=0.03, opacity=0.3)
    half = [(0, -1.5), (0.46, -1.38), (0.8, -0.95), (0.94, -0.4), (0.95, 0.1), (0.89, 0.6), (jaw + 0.19, 1.02),
            (jaw - 0.03, chin - 0.2), (0.23, chin - 0.03), (0, chin + 0.015)]  # fmt: skip
    face.paint(face.outline(mirrored(half)), face.skin, "skin")
    if face.male and rng.random() < 0.5:
        half = [(0, mouth - 0.25), (0.4, mouth - 0.16), (0.62, 0.9), (0.9, 0.45), (0.92, 0.75), (0.72, 1.2), (0, chin)]
        beard = face.outline(mirrored(half))
        face.paint(beard, face.hair * 0.8, blur=0.06, opacity=rng.uniform(0.2, 0.6), inside="skin")
    # Shadows, highlights and flushed cheeks: centre, half axes, colour, opacity.
    dark, white, far = DARK, (1, 1, 1), -float(np.sign(face.lamp))
    for x, y, width, height, colour, opacity in (
        (far * 0.8, 0.5, 0.3, 1.1, dark, 0.3), (0, -0.6, 0.5, 0.3, white, 0.12), (0, chin - 0.18, 0.2, 0.1, white, 0.1),
        (-0.6, 0.45, 0.28, 0.25, (0.9, 0.2, 0.15), 0.15), (0.6, 0.45, 0.28, 0.25, (0.9, 0.2, 0.15), 0.15),
        (-0.55, 0.28, 0.2, 0.1, white, 0.15), (0.55, 0.28, 0.2, 0.1, white, 0.15), (0, chin, 0.6, 0.1, dark, 0.25),
        (-0.42, -0.05, 0.26, 0.2, dark, 0.2), (0.42, -0.05, 0.26, 0.2, dark, 0.2),
        (0, mouth + 0.22, 0.2, 0.04, dark, 0.25), (far * 0.14, 0.2, 0.07, 0.4, dark, 0.3),
        (0, face.nose + 0.17, 0.22, 0.07, dark, 0.35), (0, 0.2, 0.03, 0.4, white, 0.2),
    ):  # fmt: skip
        blob = ellipse(complex(x, y), width, height)
        face.paint(face.surface(blob), colour, blur=1.2 * min(width, height), opacity=opacity, inside="skin")


def paint_nose(face: Portrait) -> None:
    """Mark the nose, which shadows have shaped, and add its tip, wings and nostrils."""
    y, w, far = face.nose, face.rng.uniform(0.2, 0.27), -float(np.sign(face.lamp))
    half = [(0, -0.12), (0.075, -0.1), (0.085, 0.1), (0.12, y - 0.2), (w * 0.93, y - 0.06), (w, y + 0.03),
            (w * 0.85, y + 0.1), (0.1, y + 0.125), (0, y + 0.14)]  # fmt: skip
    face.paint(face.surface(mirrored(half), lift=0.06), DARK, "nose", opacity=0)
    face.paint(face.surface(ellipse(0.1 * far + 1j * y, 0.1, 0.1), 0.1), DARK, blur=0.1, opacity=0.25)
    face.paint(face.surface(ellipse(1j * y - 0.06j - 0.02 * far, 0.06, 0.05), 0.15), (1, 1, 1), blur=0.07, opacity=0.4)
    wing = smooth([(w * 0.8, y - 0.08), (w, y + 0.02), (w * 0.86, y + 0.1)])
    face.paint(face.surface([wing, -wing.conj()], lift=0.05), DARK, width=0.025, blur=0.018, opacity=0.5)
    nostrils = [ellipse(s * w * 0.45 + 1j * (y + 0.085), w * 0.28, 0.028) for s in (1, -1)]
    face.paint(face.surface(nostrils, lift=0.12), DARK, blur=0.012, opacity=0.8)


def paint_mouth(face: Portrait) -> None:
    """Paint the lips and, where they are open, the inside of the mouth with the teeth."""
    rng, smile, t = face.rng, face.smile, np.linspace(-1, 1, 25)
    x, arch = (rng.uniform(0.31, 0.37) + 0.07 * smile) * t, 1 - t**2
    middle = face.mouth - 0.07 * smile * t**2 + 0.01 * np.cos(3 * np.pi * t) * arch
    gap = rng.uniform(0.05, 0.15) * arch * (rng.random() < 0.25 + 0.4 * min(smile, 1))
    upper, lower, full = middle - 0.35 * gap, middle + 0.65 * gap, rng.uniform(0.07, 0.14) * arch**0.8
    bow = rng.uniform(0.05, 0.1) * (1 - np.abs(t) ** 1.6) * (1 - 0.3 * np.exp(-((t / 0.14) ** 2)))  # peaks beside a dip

    def band(above: Reals, below: Reals) -> Points:
        return face.surface(np.append(x + 1j * above, (x + 1j * below)[::-1]), lift=0.03)

    if gap.any():
        face.paint(band(upper, lower), (0.24, 0.07, 0.07), "mouth")
        face.paint(band(upper, upper + 0.75 * gap), (0.93, 0.9, 0.85), blur=0.01, inside="mouth")
    lip = face.skin * 0.45 + np.array([0.72, 0.2, 0.27]) * rng.uniform(0.35, 0.55) * (0.55 + 0.45 * face.skin[0])
    face.paint(band(upper - bow, upper), lip * 0.82, "u_lip", blur=0.006)
    face.paint(band(lower, lower + full), lip, "l_lip", blur=0.006)
    face.paint(band(lower + 0.3 * full, lower + 0.6 * full)[6:-6], (1, 1, 1), blur=0.025, opacity=0.2)
    face.paint(face.surface([x + 1j * upper, x + 1j * lower], lift=0.03), DARK, width=0.02, blur=0.01, opacity=0.6)


def paint_eyes(face: Portrait) -> None:
    """Paint the eyes with their lids and lashes, and the brows above them."""
    rng, t = face.rng, np.linspace(-1, 1, 17)
    place, half, high = rng.uniform(0.42, 0.47), rng.uniform(0.19, 0.22), rng.uniform(0.065, 0.1)
    # The upper lid peaks towards the nose, the lower one away from it.
    upper = -1.25 * high * (1 - np.abs(t) ** 2.2) * (1 - 0.15 * t) - 0.02 * t
    lower = 0.85 * high * (1 - t**2) * (1 + 0.25 * t) - 0.02 * t
    ridge = rng.normal(-0.29, 0.025) - rng.uniform(0.01, 0.08) * np.cos(1.5 * t - 0.5) + 0.05 * (t > 0) * t**2
    thick = rng.uniform(0.03, 0.045) * (1 + 0.4 * face.male) * np.clip(np.minimum(2.3 + 1.5 * t, 1.2 - t), 0.12, 1)
    lash, gaze = 0.024 if face.male else rng.uniform(0.02, 0.05), rng.normal(0, 0.03)
    for side, letter in SIDES:
        eye, x, centre = f"{letter}_eye", side * (place + half * t), face.surface(side * place - 0.012j) + gaze
        top, bottom = face.surface(x + 1j * upper), face.surface(x + 1j * lower)
        face.paint(np.append(top, bottom[::-1]), (0.87, 0.83, 0.81), eye)
        for radius, colour in ((0.1, face.iris * 0.45), (0.086, face.iris * 1.1), (0.042, DARK * 0.2)):
            face.paint(ellipse(centre, radius, radius), colour, blur=0.008, inside=eye)
        face.paint(ellipse(centre + 0.04 * np.sign(face.lamp) - 0.04j, 0.02, 0.02), (1, 1, 1), inside=eye)
        face.paint(top, DARK, width=0.05, blur=0.02, opacity=0.4, inside=eye)
        face.paint([top[2:] - 0.055j, bottom[2:] + 0.03j], DARK, width=0.018, blur=0.015, opacity=0.35)
        face.paint(top, DARK, width=lash, blur=0.006, opacity=0.9)
        face.paint([[p, p + 0.4 * (p.real - top[8].real) - 0.05j] for p in top[10:]], DARK, width=0.008, opacity=0.6)
        x, colour = side * (0.46 + 0.29 * t), face.hair * 0.65 + face.skin * 0.08
        above, below = x + 1j * (ridge - thick), x + 1j * (ridge + thick)
        face.paint(face.surface(np.append(above, below[::-1])), colour, f"{letter}_brow", blur=0.014, opacity=0.8)
        hairs = [[p, p + side * 0.05 - 0.03j] for p in np.append(below[2:-4], x[2:] + 1j * ridge[2:])]
        face.paint(face.surface(hairs), colour * 0.7, width=0.01, opacity=0.6)


def paint_hair(face: Portrait) -> None:
    """Paint hair combed back from the forehead or falling beside the face, and a fringe at times."""
    rng, wave = face.rng, 0.06 if face.style == "curly" else face.rng.uniform(0, 0.03)
    volume = 0.04 if face.hat else 0.4 if face.style == "curly" else rng.uniform(0.06, 0.22)
    if face.style in ("long", "bob"):
        inner = smooth([(0, -1.2), (0.45, -0.98), (0.84, -0.5), (0.96, 0.1), (0.95, 0.9), (1, 2.7)])
        outer = smooth([(0, -1.55), (0.66, -1.42), (1.12, -0.85), (1.19, -0.1), (1.29, 0.9), (1.27, 2.7)])
        sheet = np.linspace(inner, outer * (1 + 0.6 * volume), 7)
        ends = (2.7 if face.style == "long" else rng.uniform(1.05, 1.4)) + rng.normal(0, 0.03, (7, 1))
        sheet = sheet.real + 1j * np.minimum(sheet.imag, ends)
        for side in (sheet, -sheet.conj()):
            _paint_strands(face, face.outline(side), wave)
    elif face.style != "bald":
        root = mirrored([(0, -0.95), (0.56, -0.86), (0.84, -0.55), (0.93, -0.2), (0.97, 0.2), (0, 0.25)])
        tip = mirrored([(0, -1.56), (0.6, -1.38), (0.96, -0.88), (1.04, -0.3), (0.98, 0.25), (0, 0.25)])
        root = root * (1 + rng.normal(0, 0.012, len(root))) + 1j * rng.uniform(-0.1, 0.06) * np.exp(-2 * root.real**2)
        tip = tip + volume * np.clip(0.1 - tip.imag, 0, 1.2) * (tip + 0.3j) / np.abs(tip + 0.3j)
        _paint_strands(face, face.outline(np.linspace(root, tip, 12).T)[np.r_[-33:32]], wave)  # from ear to ear
    if face.style != "bald" and not face.hat and rng.random() < 0.3:
        end, places = rng.uniform(-0.6, -0.36), np.linspace(-1, 1, 9)
        knots = [
            [(0.62 * s, 0.15 * s * s - 1.42), (0.9 * s, 0.12 * s * s - 1), (0.92 * s, 0.12 * s * s + end)]
            for s in places
        ]
        _paint_strands(face, face.outline([smooth(guide) for guide in knots]), 0.01)


def _paint_strands(face: Portrait, guides: Points, wave: float) -> None:
    """Fill the surface between guide curves (G, P) with hair, and paint strands over it."""
    edge = np.concatenate([guides[0], guides[1:, -1], guides[-1, ::-1], guides[::-1, 0]])
    face.paint(edge + 0.05j, DARK, blur=0.05, opacity=0.3)
    face.paint(edge, face.hair * 0.75, "hair")
    place, along = face.rng.uniform(0, len(guides) - 1.001, (200, 1)), np.linspace(0, 1, guides.shape[1])
    low = place.astype(int)[:, 0]
    strands = guides[low] + (guides[low + 1] - guides[low]) * (place % 1) + face.rng.normal(0, 0.012, (200, 1))
    strands = strands + wave * along * np.sin(place + face.rng.uniform(0, 2, (200, 1)) + 20 * along)
    for k, factor in enumerate((0.6, 0.85, 1.05, 1.25)):
        face.paint(strands[k::4], face.hair * factor + 0.02, width=0.014, opacity=0.6, inside="hair")
