"""What smoothing over time takes away and what it costs: `python -m benchmarks.smoothing`.

Key points of a drawn face with noise, first still, then moving at once and steadily at a walker's speed.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from tabulate import tabulate

from facekp.attributes import ATTRIBUTES, NUM_CLASSES
from facekp.checks import require
from facekp.cli import parse_cli
from facekp.data.synthetic import draw_face
from facekp.errors import one_line_errors
from facekp.face import Face, face_from_mask
from facekp.keypoints import KeypointConfig
from facekp.smoothing import FaceTracks, OneEuroConfig

Vectors = npt.NDArray[np.float64]

WALKING = 1.4 / 0.16
"""Face widths a second: a walker's 1.4 m/s past a face 16 cm wide."""
SETTLED = 1.0
"""Seconds after which the filter has forgotten how it began, and a moving one how it set off."""


@dataclass
class Settings:
    """How the face moves, and how it is smoothed."""

    rates: list[int] = field(default_factory=lambda: [10, 24, 30, 60, 120], metadata={"help": "frames a second"})
    noise: float = field(default=0.005, metadata={"help": "standard deviation of a coordinate, in face widths"})
    one_euro: OneEuroConfig = field(default_factory=OneEuroConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        """Check ranges."""
        require("rates", self.rates, bool(self.rates) and min(self.rates) >= 1, "give frames a second, as [24,60]")
        require("noise", self.noise, self.noise > 0, "give face widths above 0")


@dataclass(frozen=True)
class Figures:
    """What was measured at one frame rate.

    Attributes:
        noise: what is left of the noise of a still face.
        trembling: what is left of its movement from frame to frame.
        late: how far a face that sets off is behind at most, in frames.
        steady: how far it is behind in steady motion, in frames.
    """

    noise: float
    trembling: float
    late: float
    steady: float


def drawn_face() -> Face:
    """Return a drawn face of 256 pixels."""
    masks, mask = draw_face(3, 256).masks, np.zeros((256, 256), np.uint8)
    for i, name in enumerate(ATTRIBUTES):
        mask[masks.get(name, False)] = i
    return face_from_mask(mask, dict.fromkeys(range(NUM_CLASSES), 1.0), KeypointConfig())


def measure(face: Face, rate: int, settings: Settings) -> Figures:
    """Return what smoothing does to `face` at `rate` frames a second: still for 4 seconds, then away for 3."""
    rng = np.random.default_rng(settings.seed)
    width = float(np.ptp(face.keypoints["skin"][:, 0]))
    times = np.arange(7 * rate) / rate
    still = times < 4
    true = np.stack([_points(face) + np.array([x, 0.0]) for x in WALKING * width * np.maximum(times - 4, 0)])
    noisy = true + rng.normal(0, settings.noise * width, true.shape)
    tracks = FaceTracks(settings.one_euro)
    smooth = np.stack([_points(tracks([_with(face, p)], t)[0].face) for p, t in zip(noisy, times, strict=True)])
    calm = still & (times >= SETTLED)
    behind = (true - smooth)[~still, :, 0].mean(1) / (WALKING * width / rate)
    return Figures(
        noise=_rms((smooth - true)[calm]) / _rms((noisy - true)[calm]),
        trembling=_rms(np.diff(smooth[calm], axis=0)) / _rms(np.diff(noisy[calm], axis=0)),
        late=float(np.abs(behind).max()),
        steady=float(behind[times[~still] - 4 >= SETTLED].mean()),
    )


def _points(face: Face) -> Vectors:
    return np.concatenate(list(face.keypoints.values())).astype(np.float64)


def _with(face: Face, points: Vectors) -> Face:
    """Return `face` with other key points, (n, 2), those of its attributes one after the other."""
    own = iter(np.split(points.astype(np.float32), len(face.attributes)))
    return replace(face, attributes={name: replace(a, keypoints=next(own)) for name, a in face.attributes.items()})


def _rms(values: Vectors) -> float:
    return float(np.sqrt((values**2).mean()))


def rows(settings: Settings) -> Iterator[tuple[int, Figures]]:
    """Yield each frame rate with its figures."""
    face = drawn_face()
    return ((rate, measure(face, rate, settings)) for rate in settings.rates)


def main(argv: Sequence[str]) -> None:
    """Print a table in Markdown."""
    settings = parse_cli(Settings, argv, program="python -m benchmarks.smoothing", about=__doc__ or "")
    headers = ["frames/s", "noise left", "movement from frame to frame left", "behind at most, in frames",
               "behind in steady motion"]  # fmt: skip
    table = [(rate, f.noise, f.trembling, f.late, f.steady) for rate, f in rows(settings)]
    print(tabulate(table, headers, tablefmt="github", floatfmt=".2f"))


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])
