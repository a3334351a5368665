"""A person drawn from a seed: colours, proportions and pose, and the parts from back to front."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from facekp.data.synthetic.canvas import Canvas, Points, ellipse, mirrored, smooth

SKIN = ((0.97, 0.83, 0.74), (0.94, 0.74, 0.64), (0.83, 0.61, 0.49), (0.64, 0.43, 0.33), (0.41, 0.27, 0.21))
HAIR = ((0.07, 0.06, 0.06), (0.30, 0.18, 0.11), (0.48, 0.25, 0.13), (0.86, 0.74, 0.52), (0.62, 0.61, 0.60))
IRIS = ((0.20, 0.11, 0.06), (0.33, 0.20, 0.09), (0.30, 0.36, 0.20), (0.28, 0.45, 0.60), (0.42, 0.48, 0.52))
DARK, WHITE, GOLD = np.array((0.12, 0.03, 0.02)), (1, 1, 1), np.array((0.85, 0.66, 0.28))
SIDES = ((1, "l"), (-1, "r"))  # the subject's left lies on the right of the image
DEPTH = 0.85  # of the middle of the face, in front of the plane of the ears


class Portrait(Canvas):
    """A face drawn from a seed. Lengths are in face units; colours are (3,) RGB, 0..1."""

    def __init__(self, seed: int, size: int) -> None:
        self.rng = rng = np.random.default_rng(seed)
        origin = rng.normal(0.5, 0.012) + 1j * rng.normal(0.47, 0.01)
        super().__init__(size, origin, rng.normal(0.25, 0.008) * np.exp(1j * rng.normal(0, 0.04)))
        self.male = int(rng.random() < 0.45)
        self.yaw = float(np.clip(rng.normal(0, 0.2), -0.42, 0.42))  # sine of the turn, positive to the image's right
        self.skin, self.hair, self.iris = (self.mixed(tones) for tones in (SKIN, HAIR, IRIS))
        self.chin, self.jaw = rng.uniform(1.42, 1.56) + 0.07 * self.male, rng.uniform(0.43, 0.56) + 0.08 * self.male
        self.nose, self.mouth = rng.uniform(0.52, 0.6), rng.uniform(0.93, 1.0)
        self.long, self.bald = bool(rng.random() > 0.3 + 0.5 * self.male), self.male and rng.random() < 0.2
        self.hat = rng.random() < 0.13
        self.lamp = float(rng.choice((-1, 1))) * rng.uniform(0.1, 0.35)  # above, to the left or to the right
        self.light += np.clip(self.lamp * self.places.real, -0.3, 0.3) - 0.07 * self.places.imag
        self.light -= 0.1 * np.clip(self.places.real**2, 0, 2)
        for paint in (
            self.paint_background, self.paint_body, self.paint_head, self.paint_nose, self.paint_mouth,
            self.paint_eyes, self.paint_glasses, self.paint_hair, self.paint_earrings, self.paint_hat,
        ):  # fmt: skip
            paint()

    def surface(self, points: npt.ArrayLike, lift: float = 0) -> Points:
        """Turn points of the frontal face with the head; `lift` raises them above its surface."""
        # The features stay in the middle of the picture, as in CelebA-HQ, and the head moves relative to them.
        round_off = np.sqrt(np.clip(1 - np.real(points) ** 2, 0, 1)) - 0.75
        return np.asarray(points + self.yaw * (DEPTH * round_off + lift))

    def outline(self, points: npt.ArrayLike) -> Points:
        """Turn points of the head's silhouette: only the chin comes forward."""
        low = np.clip((np.imag(points) - 0.4) / (self.chin - 0.4), 0, 1)
        chin = 0.5 * low * np.clip(1.2 - np.abs(np.real(points)), 0, 1)
        return np.asarray(points + self.yaw * (chin - 0.75 * DEPTH))

    def mixed(self, tones: Sequence[Sequence[float]]) -> npt.NDArray[np.floating]:
        """Draw a colour between two neighbouring tones."""
        place = self.rng.uniform(0, len(tones) - 1)
        return np.array([np.interp(place, range(len(tones)), channel) for channel in zip(*tones, strict=True)])

    def any_colour(self) -> npt.NDArray[np.floating]:
        """Draw a colour of cloth or plastic, more often muted than bright."""
        return np.clip(self.rng.uniform(0.08, 0.9) + self.rng.normal(0, 0.14, 3), 0.03, 0.97)

    def paint_background(self) -> None:
        """Paint blurred discs, and the hair behind the neck."""
        self.image[:] = self.any_colour()[:, None, None]
        for x, y, radius, blur, opacity in self.rng.uniform((-2, -2, 0.1, 0.02, 0.1), (2, 2, 1.5, 0.4, 0.6), (10, 5)):
            self.paint(ellipse(x + 1j * y, radius, radius), self.any_colour(), blur=blur, opacity=opacity)
        if self.long:
            shape = mirrored([(0, -1.4), (0.8, -1.2), (1.02, -0.4), (1.15, 0.5), (1.1, 2.8), (0, 2.8)])
            self.paint(shape - 0.3 * self.yaw, self.hair * 0.5, "hair")

    def paint_body(self) -> None:
        """Paint the neck in the chin's shadow, clothes with a round neckline, and sometimes a necklace."""
        body, w = -0.3 * self.yaw, 0.54 + 0.14 * self.male
        half = [(0, 0.6), (w, 0.7), (w, 1.3), (w + 0.06, 1.65), (w + 0.4, 1.85), (1.7, 2.05), (2.6, 2.6), (0, 2.8)]
        self.paint(mirrored(half) + body, self.skin * (0.9, 0.86, 0.85), "neck")
        chin = [(0, 0.8), (0.8, 0.9), (self.jaw + 0.15, 1.45), (0.3, self.chin + 0.2), (0, self.chin + 0.24)]
        self.paint(self.outline(mirrored(chin)), DARK, blur=0.09, opacity=0.45, inside="neck")
        side, dip = w + self.rng.uniform(0.05, 0.5), self.rng.uniform(1.75, 2.1)
        rim = smooth([(-side, 1.68), (0, dip), (side, 1.68)])
        out = smooth([(side, 1.68), (side + 0.3, 1.84), (1.75, 2.0), (2.6, 2.5), (3, 3.2)])
        self.paint(rim + body, DARK, width=0.09, blur=0.04, opacity=0.3)
        self.paint(np.concatenate([rim, out, -out[::-1].conj()]) + body, self.any_colour(), "cloth")
        if self.rng.random() < 0.2:
            t = np.linspace(-1, 1, 31)
            chain = (w + 0.03) * t + body + 1j * (self.rng.uniform(1.72, 1.9) - 0.3 * t**2)
            self.paint(chain + 0.04j, DARK, width=0.06, blur=0.03, opacity=0.3)
            self.paint(chain, GOLD * 0.6, "neck_l", width=0.06)
            self.paint([ellipse(bead, 0.022, 0.022) for bead in chain], GOLD)

    def paint_head(self) -> None:
        """Paint the ears and the head without its features."""
        chin, jaw, far = self.chin, self.jaw, -float(np.sign(self.lamp))
        for side, letter in SIDES:
            if (width := 0.17 * (1 - 2.6 * side * self.yaw)) > 0.06:
                rim = smooth(
                    [(0, -0.15), (0.75, -0.24), (1.05, -0.08), (0.95, 0.2), (0.6, 0.48), (0, 0.5)], closed=True
                )
                ear = self.outline(side * (0.9 + width * rim.real) + 1j * rim.imag)
                self.paint(ear, self.skin * (0.86, 0.78, 0.76), f"{letter}_ear")
                self.paint(0.5 * (ear + ear.mean()), DARK, blur=0.03, opacity=0.3)
        half = [(0, -1.5), (0.46, -1.38), (0.8, -0.95), (0.94, -0.4), (0.95, 0.1), (0.89, 0.6), (jaw + 0.19, 1.02),
                (jaw - 0.03, chin - 0.2), (0.23, chin - 0.03), (0, chin + 0.015)]  # fmt: skip
        self.paint(self.outline(mirrored(half)), self.skin, "skin")
        # Shadows, highlights and flushed cheeks: centre, half axes, colour, opacity.
        for x, y, width, height, colour, opacity in (
            (far * 0.8, 0.5, 0.3, 1.1, DARK, 0.3), (0, -0.6, 0.5, 0.3, WHITE, 0.12), (0, chin, 0.6, 0.1, DARK, 0.25),
            (-0.6, 0.45, 0.28, 0.25, (0.9, 0.2, 0.15), 0.15), (0.6, 0.45, 0.28, 0.25, (0.9, 0.2, 0.15), 0.15),
            (-0.42, -0.05, 0.26, 0.2, DARK, 0.2), (0.42, -0.05, 0.26, 0.2, DARK, 0.2),
            (0, self.mouth + 0.22, 0.2, 0.04, DARK, 0.25), (far * 0.14, 0.2, 0.07, 0.4, DARK, 0.3),
            (0, self.nose + 0.17, 0.22, 0.07, DARK, 0.35), (0, 0.2, 0.03, 0.4, WHITE, 0.2),
        ):  # fmt: skip
            blob = self.surface(ellipse(complex(x, y), width, height))
            self.paint(blob, colour, blur=1.2 * min(width, height), opacity=opacity, inside="skin")

    def paint_nose(self) -> None:
        """Mark the nose, already shaped by shadows, and add its tip, wings and nostrils."""
        y, w, far = self.nose, self.rng.uniform(0.2, 0.27), -float(np.sign(self.lamp))
        half = [(0, -0.12), (0.075, -0.1), (0.085, 0.1), (0.12, y - 0.2), (w * 0.93, y - 0.06), (w, y + 0.03),
                (w * 0.85, y + 0.1), (0.1, y + 0.125), (0, y + 0.14)]  # fmt: skip
        self.paint(self.surface(mirrored(half), lift=0.06), DARK, "nose", opacity=0)
        self.paint(self.surface(ellipse(0.1 * far + 1j * y, 0.1, 0.1), 0.1), DARK, blur=0.1, opacity=0.25)
        self.paint(self.surface(ellipse(1j * y - 0.06j - 0.02 * far, 0.06, 0.05), 0.15), WHITE, blur=0.07, opacity=0.4)
        wing = smooth([(w * 0.8, y - 0.08), (w, y + 0.02), (w * 0.86, y + 0.1)])
        self.paint(self.surface([wing, -wing.conj()], lift=0.05), DARK, width=0.025, blur=0.018, opacity=0.5)
        nostrils = [ellipse(s * w * 0.45 + 1j * (y + 0.085), w * 0.28, 0.028) for s in (1, -1)]
        self.paint(self.surface(nostrils, lift=0.12), DARK, blur=0.012, opacity=0.8)

    def paint_mouth(self) -> None:
        """Paint the lips and, if they are open, the inside of the mouth with the teeth."""
        rng, t = self.rng, np.linspace(-1, 1, 25)
        smile, arch = float(np.clip(rng.normal(0.4, 0.5), 0, 1.2)), 1 - t**2
        x, middle = (rng.uniform(0.31, 0.37) + 0.07 * smile) * t, self.mouth - 0.07 * smile * t**2
        gap = rng.uniform(0.05, 0.15) * arch * (rng.random() < 0.25 + 0.4 * min(smile, 1))
        upper, lower, full = middle - 0.35 * gap, middle + 0.65 * gap, rng.uniform(0.07, 0.14) * arch**0.8
        bow = rng.uniform(0.05, 0.1) * (1 - np.abs(t) ** 1.6) * (1 - 0.3 * np.exp(-((t / 0.14) ** 2)))  # peaks, a dip

        def band(above: npt.NDArray[np.floating], below: npt.NDArray[np.floating]) -> Points:
            return self.surface(np.append(x + 1j * above, (x + 1j * below)[::-1]), lift=0.03)

        if gap.any():
            self.paint(band(upper, lower), (0.24, 0.07, 0.07), "mouth")
            self.paint(band(upper, upper + 0.75 * gap), (0.93, 0.9, 0.85), blur=0.01, inside="mouth")
        lip = self.skin * 0.45 + np.array([0.72, 0.2, 0.27]) * rng.uniform(0.35, 0.55) * (0.55 + 0.45 * self.skin[0])
        self.paint(band(upper - bow, upper), lip * 0.82, "u_lip", blur=0.006)
        self.paint(band(lower, lower + full), lip, "l_lip", blur=0.006)
        self.paint(band(lower + 0.3 * full, lower + 0.6 * full)[6:-6], WHITE, blur=0.025, opacity=0.2)
        self.paint(self.surface([x + 1j * upper, x + 1j * lower], lift=0.03), DARK, width=0.02, blur=0.01, opacity=0.6)

    def paint_eyes(self) -> None:
        """Paint the eyes with their lids and lashes, and the brows above them."""
        rng, t = self.rng, np.linspace(-1, 1, 17)
        place, half, high = rng.uniform(0.42, 0.47), rng.uniform(0.19, 0.22), rng.uniform(0.065, 0.1)
        # The upper lid peaks towards the nose, the lower one away from it.
        upper = -1.25 * high * (1 - np.abs(t) ** 2.2) * (1 - 0.15 * t) - 0.02 * t
        lower = 0.85 * high * (1 - t**2) * (1 + 0.25 * t) - 0.02 * t
        ridge = rng.normal(-0.29, 0.025) - rng.uniform(0.01, 0.08) * np.cos(1.5 * t - 0.5) + 0.05 * (t > 0) * t**2
        thick = rng.uniform(0.03, 0.045) * (1 + 0.4 * self.male) * np.clip(np.minimum(2.3 + 1.5 * t, 1.2 - t), 0.12, 1)
        lash, gaze = 0.024 if self.male else 0.04, rng.normal(0, 0.03)
        for side, letter in SIDES:
            eye, x, centre = f"{letter}_eye", side * (place + half * t), self.surface(side * place - 0.012j) + gaze
            top, bottom = self.surface(x + 1j * upper), self.surface(x + 1j * lower)
            self.paint(np.append(top, bottom[::-1]), (0.87, 0.83, 0.81), eye)
            for radius, colour in ((0.1, self.iris * 0.45), (0.086, self.iris * 1.1), (0.042, DARK * 0.2)):
                self.paint(ellipse(centre, radius, radius), colour, blur=0.008, inside=eye)
            self.paint(ellipse(centre + 0.04 * np.sign(self.lamp) - 0.04j, 0.02, 0.02), WHITE, inside=eye)
            self.paint([top[2:] - 0.055j, bottom[2:] + 0.03j], DARK, width=0.018, blur=0.015, opacity=0.35)
            self.paint(top, DARK, width=lash, blur=0.006, opacity=0.9)
            x, colour = side * (0.46 + 0.29 * t), self.hair * 0.65 + self.skin * 0.08
            brow = np.append(x + 1j * (ridge - thick), (x + 1j * (ridge + thick))[::-1])
            self.paint(self.surface(brow), colour, f"{letter}_brow", blur=0.014, opacity=0.8)

    def paint_glasses(self) -> None:
        """Paint glasses on some faces: dark ones, or clear ones that show the eyes and brows behind them."""
        if self.rng.random() > 0.17:
            return
        width, height = self.rng.uniform((0.29, 0.2), (0.34, 0.26))
        rims = self.surface([ellipse(s * 0.45 + 0.04j, width, height) for s in (1, -1)], lift=0.12)
        if self.rng.random() < 0.33:
            self.paint(rims, (0.05, 0.045, 0.05), "eye_g", opacity=0.93)
        for behind in ("background", "skin", "nose"):
            self.paint(rims, WHITE, "eye_g", opacity=0.12, inside=behind)
        self.paint(rims, (0.1, 0.09, 0.09), "eye_g", width=0.05)
        bridge = smooth([(width - 0.45, -0.02), (0, -0.07), (0.45 - width, -0.02)])
        self.paint(self.surface(bridge, lift=0.14), (0.1, 0.09, 0.09), "eye_g", width=0.05)

    def paint_hair(self) -> None:
        """Paint hair combed back from the forehead or falling beside the face."""
        volume = 0.04 if self.hat else self.rng.uniform(0.06, 0.25)
        if self.long:
            inner = smooth([(0, -1.2), (0.45, -0.98), (0.84, -0.5), (0.96, 0.1), (0.95, 0.9), (1, 2.7)])
            outer = smooth([(0, -1.55), (0.66, -1.42), (1.12, -0.85), (1.19, -0.1), (1.29, 0.9), (1.27, 2.7)])
            sheet = np.linspace(inner, outer * (1 + 0.6 * volume), 7)
            sheets = [sheet, -sheet.conj()]
        elif not self.bald:
            root = mirrored([(0, -0.95), (0.56, -0.86), (0.84, -0.55), (0.93, -0.2), (0.97, 0.2), (0, 0.25)])
            tip = mirrored([(0, -1.56), (0.6, -1.38), (0.96, -0.88), (1.04, -0.3), (0.98, 0.25), (0, 0.25)])
            tip = tip + volume * np.clip(0.1 - tip.imag, 0, 1.2) * (tip + 0.3j) / np.abs(tip + 0.3j)
            sheets = [np.linspace(root, tip, 12).T[np.r_[-33:32]]]  # from ear to ear
        else:
            sheets = []
        for guides in map(self.outline, sheets):  # (G, P) guide curves; hair falls between them
            edge = np.concatenate([guides[0], guides[1:, -1], guides[-1, ::-1], guides[::-1, 0]])
            self.paint(edge + 0.05j, DARK, blur=0.05, opacity=0.3)
            self.paint(edge, self.hair * 0.75, "hair")
            place = self.rng.uniform(0, len(guides) - 1.001, (200, 1))
            low = place.astype(int)[:, 0]
            strands = guides[low] + (guides[low + 1] - guides[low]) * (place % 1)
            strands = strands + 0.02 * np.sin(place + 20 * np.linspace(0, 1, guides.shape[1]))
            for k, factor in enumerate((0.6, 0.85, 1.05, 1.25)):
                self.paint(strands[k::4], self.hair * factor + 0.02, width=0.014, opacity=0.6, inside="hair")

    def paint_earrings(self) -> None:
        """Paint hoop earrings below the earlobes that are visible in this pose."""
        if self.rng.random() < (0.15 if self.male else 0.65):
            for side in (s for s in (1, -1) if s * self.yaw < 0.22):
                lobe = self.outline(side * (0.96 - 0.15 * side * self.yaw) + 0.52j)
                self.paint(ellipse(lobe + 0.15j, 0.1, 0.16), GOLD * 0.85, "ear_r", width=0.045)

    def paint_hat(self) -> None:
        """Paint a beanie with a cuff."""
        if not self.hat:
            return
        colour, low = self.any_colour(), 1j * self.rng.uniform(-0.72, -0.55)
        crown = [(0, -1.25), (0.6, -1.2), (1.0, -0.7), (1.14, -0.1), (1.1, 0.1), (0.6, -0.06), (0, -0.1)]
        cuff = [(0, -0.42), (0.6, -0.38), (1.13, -0.28), (1.16, 0.12), (0.6, -0.02), (0, -0.06)]
        for half, tone in ((crown, 0.95), (cuff, 1.08)):
            shape = self.outline(mirrored(half) + low)
            self.paint(shape + 0.1j, DARK, blur=0.07, opacity=0.4)
            self.paint(shape, colour * tone, "hat")
