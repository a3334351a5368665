"""What smoothing over time takes away and what it costs: `python -m benchmarks.smoothing`.

Key points of a drawn face with noise, first still, then moving at once and steadily at a walker's speed. With
`photo=...`, the points that a network finds in a still photo whose pixels are noisy, in each frame anew.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from tabulate import tabulate
from tqdm import tqdm

from facekp.classes import ATTRIBUTES, NUM_CLASSES
from facekp.cli import parse_cli
from facekp.data.synthetic.write import draw_face
from facekp.errors import DataError, one_line_errors, require
from facekp.files import expand
from facekp.images import UInt8Array, read_image
from facekp.keypoints.landmarks import Landmark
from facekp.keypoints.settings import KeypointConfig
from facekp.parsing.face import Face, face_from_mask
from facekp.parsing.parser import FaceParser
from facekp.predict.settings import OneEuroConfig
from facekp.predict.tracking import FaceTracks
from facekp.weights.paths import CKPT_HELP, SHIPPED

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
    photo: str | None = field(default=None, metadata={"help": "a photo of one face, for the network"})
    ckpt: str = field(default=SHIPPED, metadata={"help": CKPT_HELP})
    pixel_noise: float = field(default=8.0, metadata={"help": "standard deviation of the photo's values, of 255"})
    frames: int = field(default=90, metadata={"help": "of the photo, at 30 a second"})

    def __post_init__(self) -> None:
        """Check ranges."""
        require("rates", self.rates, bool(self.rates) and min(self.rates) >= 1, "give frames a second, as [24,60]")
        require("noise", self.noise, self.noise > 0, "give face widths above 0")
        require("pixel_noise", self.pixel_noise, self.pixel_noise > 0, "give a standard deviation above 0, such as 8")
        require("frames", self.frames, self.frames > SETTLED * 30 + 1, "give more than a second's, such as 90")


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


def tremble(parser: FaceParser, photo: UInt8Array, settings: Settings) -> dict[str, tuple[float, float]]:
    """Return how far points of a still photo with noise move from frame to frame, as found and as smoothed.

    Args:
        parser: what finds them; with `align="auto"`.
        photo: (H, W, 3) uint8 RGB, of one face.
        settings: `pixel_noise`, `frames`, `one_euro` and `seed`.

    Returns:
        The root mean square in face widths, after the first second, of all attributes and landmarks that each frame
        has, by attribute; "landmarks" for all of those.
    """
    rng = np.random.default_rng(settings.seed)
    tracks = FaceTracks(settings.one_euro)
    seen: list[tuple[dict[str, Vectors], dict[str, Vectors]]] = []
    width = 1.0
    for i in tqdm(range(settings.frames), unit="frame"):
        noisy = np.clip(photo + rng.normal(0, settings.pixel_noise, photo.shape), 0, 255).round().astype(np.uint8)
        faces = parser(noisy, align="auto")
        if len(faces) != 1:
            raise DataError(f"photo '{settings.photo}': {len(faces)} faces are found in a frame; give a photo of one")
        ((face, tracked),) = zip(faces, tracks(faces, i / 30), strict=True)
        width = float(np.ptp(face.keypoints["skin"][:, 0]))
        seen.append((_groups(face, face.landmarks), _groups(tracked.face, tracked.landmarks)))
    calm = seen[round(SETTLED * 30) :]
    found = {}
    for name, first in calm[0][0].items():
        if all(name in raw and raw[name].shape == first.shape for raw, _ in calm):
            moved, moved_smoothed = (_rms(np.diff([frame[k][name] for frame in calm], axis=0)) for k in (0, 1))
            found[name] = moved / width, moved_smoothed / width
    return found


def _groups(face: Face, landmarks: Mapping[str, Landmark]) -> dict[str, Vectors]:
    """Return the key points (n, 2) of every attribute, and all landmarks that are there as one."""
    points = {name: own.astype(np.float64) for name, own in face.keypoints.items()}
    there = [mark.xy for mark in landmarks.values() if mark.xy is not None]
    return points | ({"landmarks": np.array(there, np.float64)} if there else {})


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
    if settings.photo:
        parser = FaceParser.from_checkpoint(settings.ckpt)
        moves = tremble(parser, read_image(expand(settings.photo)), settings)
        by_name = [(name, 100 * raw, 100 * calm, calm / raw) for name, (raw, calm) in moves.items()]
        headers = ["points", "from frame to frame, % of the face's width", "smoothed", "left"]
        print(f"\n{tabulate(by_name, headers, tablefmt='github', floatfmt='.2f')}")


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])
