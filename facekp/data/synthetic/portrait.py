"""A canvas with one person on it: colours, proportions and pose, drawn from a seed."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from facekp.data.synthetic.canvas import Canvas, Points

Reals = npt.NDArray[np.floating]
SKIN = ((0.97, 0.83, 0.74), (0.94, 0.74, 0.64), (0.83, 0.61, 0.49), (0.64, 0.43, 0.33), (0.41, 0.27, 0.21))
HAIR = ((0.07, 0.06, 0.06), (0.16, 0.10, 0.07), (0.30, 0.18, 0.11), (0.48, 0.25, 0.13), (0.72, 0.54, 0.32),
        (0.86, 0.74, 0.52), (0.62, 0.61, 0.60))  # fmt: skip
IRIS = ((0.20, 0.11, 0.06), (0.33, 0.20, 0.09), (0.30, 0.36, 0.20), (0.28, 0.45, 0.60), (0.42, 0.48, 0.52))
STYLES = (("bob", "short", "curly", "long", "long"), ("bald", "curly", "short", "short", "long"))  # women's, men's
DEPTH = 0.85  # of the middle of the face before the plane of the ears


class Portrait(Canvas):
    """The face of a seed, still to be painted. Lengths are face units, colours (3,) RGB, 0..1."""

    def __init__(self, seed: int, size: int) -> None:
        self.rng = rng = np.random.default_rng(seed)
        origin = rng.normal(0.5, 0.012) + 1j * rng.normal(0.47, 0.01)
        super().__init__(size, origin, rng.normal(0.25, 0.008) * np.exp(1j * rng.normal(0, 0.04)))
        self.male = int(rng.random() < 0.45)
        self.yaw = float(np.clip(rng.normal(0, 0.2), -0.42, 0.42))  # sine of the turn, positive to the image's right
        self.skin, self.hair, self.iris = (self.mixed(tones) * rng.uniform(0.9, 1.03) for tones in (SKIN, HAIR, IRIS))
        self.chin, self.jaw = rng.uniform(1.42, 1.56) + 0.07 * self.male, rng.uniform(0.43, 0.56) + 0.08 * self.male
        self.nose = rng.uniform(0.52, 0.6)
        self.mouth, self.smile = rng.uniform(0.93, 1.0), float(np.clip(rng.normal(0.4, 0.5), 0, 1.2))
        self.style, self.hat = str(rng.choice(STYLES[self.male])), rng.random() < 0.13
        # One lamp above, to the left or to the right.
        self.lamp, at = float(rng.choice((-1, 1))) * rng.uniform(0.1, 0.35), self.pixels()
        self.light += np.clip(self.lamp * at.real, -0.3, 0.3) - 0.1 * np.clip(at.real**2, 0, 2) - 0.07 * at.imag

    def surface(self, points: npt.ArrayLike, lift: float = 0) -> Points:
        """Turn points of the frontal face, `lift` above its surface, with the head."""
        # The features stay in the middle of the picture, as in CelebA-HQ, and the head moves against them.
        round_off = np.sqrt(np.clip(1 - np.real(points) ** 2, 0, 1)) - 0.75
        return np.asarray(points + self.yaw * (DEPTH * round_off + lift))

    def outline(self, points: npt.ArrayLike) -> Points:
        """Turn points of the head's silhouette: only the chin comes forward."""
        low = np.clip((np.imag(points) - 0.4) / (self.chin - 0.4), 0, 1)
        chin = 0.5 * low * np.clip(1.2 - np.abs(np.real(points)), 0, 1)
        return np.asarray(points + self.yaw * (chin - 0.75 * DEPTH))

    def mixed(self, tones: Sequence[Sequence[float]]) -> Reals:
        """Draw a colour between neighbours in a row of tones."""
        place = self.rng.uniform(0, len(tones) - 1)
        return np.array([np.interp(place, range(len(tones)), channel) for channel in zip(*tones, strict=True)])

    def any_colour(self) -> Reals:
        """Draw a colour of cloth or plastic, more often muted than bright."""
        return np.clip(self.rng.uniform(0.08, 0.9) + self.rng.normal(0, 0.14, 3), 0.03, 0.97)
