"""Effect of smoothing over time on noise and on motion: `python -m benchmarks.smoothing`.

Measures key points of a drawn face with noise, first still, then suddenly in steady motion at walking speed. With
`photo=...`, measures a network's points in a still photo with new pixel noise in each frame.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from tabulate import tabulate
from tqdm import tqdm

from benchmarks.harness import run
from benchmarks.loss import draw_labels
from benchmarks.samples import face_of_label
from facekp.errors import DataError
from facekp.files import expand
from facekp.images import UInt8Array, read_image
from facekp.keypoints.landmarks import Landmark
from facekp.parsing.face import Face
from facekp.parsing.parser import FaceParser
from facekp.predict.settings import OneEuroConfig
from facekp.predict.tracking import FaceTracks
from facekp.settings import Settings, above, at_least, check_that, each, setting
from facekp.weights.paths import CKPT_HELP, SHIPPED

Vectors = npt.NDArray[np.float64]

WALKING = 1.4 / 0.16  # face widths a second: a walker's 1.4 m/s past a face 16 cm wide
SETTLED = 1.0  # seconds after which the filter has forgotten its start, or the start of a motion
LONG_ENOUGH = check_that(lambda frames: frames > SETTLED * 30 + 1, "more than a second of frames", 90)


@dataclass
class Options(Settings):
    """How the face moves, and how it is smoothed."""

    rates: list[int] = setting([10, 24, 30, 60, 120], "frames a second", check=each(at_least(1), such_as="[24,60]"))
    noise: float = setting(0.005, "standard deviation of a coordinate, in face widths", check=above(0))
    one_euro: OneEuroConfig = field(default_factory=OneEuroConfig)
    seed: int = setting(0, "seed of the noise")
    photo: str | None = setting(None, "a photo of one face, for the network")
    ckpt: str = setting(SHIPPED, CKPT_HELP)
    pixel_noise: float = setting(8.0, "standard deviation of the photo's values, of 255", check=above(0))
    frames: int = setting(90, "frames of the photo, at 30 a second", check=LONG_ENOUGH)


def measure(face: Face, rate: int, settings: Options) -> tuple[float, float, float, float]:
    """Smooth a face at `rate` frames a second, still for 4 seconds, then moving for 3.

    Returns the remaining shares of its noise and of its frame-to-frame motion while still, and the lag of the moving
    face in frames: maximum, and in steady motion.
    """
    rng = np.random.default_rng(settings.seed)
    width = float(np.ptp(face.keypoints["skin"][:, 0]))
    times = np.arange(7 * rate) / rate
    still = times < 4
    points = np.concatenate(list(face.keypoints.values())).astype(np.float64)
    true = points + np.multiply.outer(WALKING * width * np.maximum(times - 4, 0), (1.0, 0.0))[:, None]
    noisy = true + rng.normal(0, settings.noise * width, true.shape)
    tracks, smoothed = FaceTracks(settings.one_euro), []
    for frame, time in zip(noisy, times, strict=True):
        own = np.split(frame.astype(np.float32), len(face.attributes))
        attributes = zip(face.attributes.items(), own, strict=True)
        moved = replace(face, attributes={name: replace(a, keypoints=p) for (name, a), p in attributes})
        smoothed.append(np.concatenate(list(tracks([moved], time)[0].face.keypoints.values())).astype(np.float64))
    smooth = np.stack(smoothed)
    calm = still & (times >= SETTLED)
    noise = _rms((smooth - true)[calm]) / _rms((noisy - true)[calm])
    movement = _rms(np.diff(smooth[calm], axis=0)) / _rms(np.diff(noisy[calm], axis=0))
    behind = (true - smooth)[~still, :, 0].mean(1) / (WALKING * width / rate)
    return noise, movement, float(np.abs(behind).max()), float(behind[times[~still] - 4 >= SETTLED].mean())


def _rms(values: Vectors) -> float:
    return float(np.sqrt((values**2).mean()))


def tremble(parser: FaceParser, photo: UInt8Array, settings: Options) -> dict[str, tuple[float, float]]:
    """Return the frame-to-frame motion of points in a still photo with noise, as found and as smoothed.

    It is in face widths, root mean square after the first second, by attribute present in every frame, and for
    "landmarks".
    """
    rng, tracks = np.random.default_rng(settings.seed), FaceTracks(settings.one_euro)
    seen: list[tuple[dict[str, Vectors], ...]] = []
    for i in tqdm(range(settings.frames), unit="frame"):
        noisy = np.clip(photo + rng.normal(0, settings.pixel_noise, photo.shape), 0, 255).round().astype(np.uint8)
        faces = parser(noisy)
        if len(faces) != 1:
            raise DataError(f"photo '{settings.photo}': {len(faces)} faces are found in a frame; give a photo of one")
        (tracked,) = tracks(faces, i / 30)
        width = float(np.ptp(faces[0].keypoints["skin"][:, 0]))
        seen.append((_groups(faces[0], faces[0].landmarks), _groups(tracked.face, tracked.landmarks)))
    calm = seen[round(SETTLED * 30) :]
    found = {}
    for name, first in calm[0][0].items():
        if all(name in raw and raw[name].shape == first.shape for raw, _ in calm):
            moved, moved_smoothed = (_rms(np.diff([frame[k][name] for frame in calm], axis=0)) for k in (0, 1))
            found[name] = moved / width, moved_smoothed / width
    return found


def _groups(face: Face, landmarks: Mapping[str, Landmark]) -> dict[str, Vectors]:
    points = {name: own.astype(np.float64) for name, own in face.keypoints.items()}
    there = [mark.xy for mark in landmarks.values() if mark.xy is not None]
    return points | ({"landmarks": np.array(there, np.float64)} if there else {})


def main(settings: Options) -> None:
    """Print tables in Markdown."""
    face = face_of_label(draw_labels(4, 256)[3].numpy().astype(np.uint8))
    rows: list[tuple[float | str, ...]] = [(rate, *measure(face, rate, settings)) for rate in settings.rates]
    headers = ["frames/s", "noise left", "movement from frame to frame left", "behind at most, in frames"]
    print(tabulate(rows, [*headers, "behind in steady motion"], tablefmt="github", floatfmt=".2f"))
    if settings.photo:
        parser = FaceParser.from_checkpoint(settings.ckpt)
        moves = tremble(parser, read_image(expand(settings.photo)), settings)
        rows = [(name, 100 * raw, 100 * calm, calm / raw) for name, (raw, calm) in moves.items()]
        headers = ["points", "from frame to frame, % of the face's width", "smoothed", "left"]
        print(f"\n{tabulate(rows, headers, tablefmt='github', floatfmt='.2f')}")


if __name__ == "__main__":
    run(Options, main, __doc__)
