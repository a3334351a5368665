"""Pixels decoded once for the whole run: in memory or in a file that all workers map."""

import mmap
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path

import albumentations as A
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from facekp.config import DataConfig
from facekp.data.layout import Sample, fingerprint
from facekp.data.transforms import evaluation_transform
from facekp.errors import ConfigError, DataError
from facekp.files import expand, make_folder, only_one, replacing, require_space
from facekp.images import read_image, read_label

UInt8Array = npt.NDArray[np.uint8]
MEMINFO = Path("/proc/meminfo")
CHANNELS = 4  # red, green, blue, label


def read_sample(sample: Sample) -> tuple[UInt8Array, UInt8Array]:
    """Return image (H, W, 3) uint8 RGB and label (H, W) uint8, the image at the label's size.

    Raises:
        DataError: a file that cannot be read, or an image and a label of different shapes.
    """
    image, label = read_image(sample.image), read_label(sample.label)
    if image.shape[0] * label.shape[1] != image.shape[1] * label.shape[0]:
        raise DataError(
            f"label {sample.label}: {label.shape[1]} x {label.shape[0]} pixels, "
            f"but its image has {image.shape[1]} x {image.shape[0]}; they must cover the same frame"
        )
    if image.shape[:2] != label.shape:
        image = A.Resize(*label.shape)(image=image)["image"]
    return image, label


class Decoded:
    """Images and labels of a split at the size that training brings them to.

    Args:
        pixels: (N * size * size * 4,) uint8, first all images, then all labels: a file, or memory.
        count: N.
        size: side, pixels.
    """

    def __init__(self, pixels: Path | mmap.mmap, count: int, size: int) -> None:
        self.pixels, self.count, self.size = pixels, count, size
        self._map()

    def _map(self) -> None:
        if isinstance(self.pixels, Path):
            flat: UInt8Array = np.memmap(self.pixels, np.uint8, "r")
        else:
            flat = np.frombuffer(self.pixels, np.uint8)
        split = self.count * self.size**2 * 3
        self.images = flat[:split].reshape(self.count, self.size, self.size, 3)
        self.labels = flat[split:].reshape(self.count, self.size, self.size)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        """Return image (size, size, 3) and label (size, size), uint8."""
        return np.asarray(self.images[index]), np.asarray(self.labels[index])

    def __getstate__(self) -> tuple[Path, int, int]:
        """Let workers that are not forked open the file again."""
        if not isinstance(self.pixels, Path):
            method = multiprocessing.get_start_method()
            raise ConfigError(f"data.decoded is 'ram', which workers started by '{method}' cannot share: take disk")
        return self.pixels, self.count, self.size

    def __setstate__(self, state: tuple[Path, int, int]) -> None:
        """Map the file."""
        self.pixels, self.count, self.size = state
        self._map()


def decode_all(samples: Sequence[Sample], config: DataConfig) -> Decoded | None:
    """Decode a split as `data.decoded` says, and tell first how much room that takes; "none" gives None.

    On disk, the file is kept in `data.cache` and found again by the next run, unless an image or label has changed.

    Raises:
        DataError: not enough room, or a file that cannot be read or written.
    """
    if config.decoded == "none":
        return None
    size, need = config.size, len(samples) * config.size**2 * CHANNELS
    about = f"data.decoded is '{config.decoded}': {len(samples)} images of {size} pixels take {need / 1e9:.3g} GB"
    if config.decoded == "ram":
        print(about)
        _require_memory(need)
        memory = mmap.mmap(-1, need)  # anonymous and shared: forked workers see the same pages
        _fill(np.frombuffer(memory, np.uint8), samples, size)
        return Decoded(memory, len(samples), size)
    folder = make_folder(expand(config.cache))
    path = folder / f"decoded-{size}-{fingerprint(samples)}.bin"
    with only_one(folder):
        if not path.is_file():
            print(f"{about} in '{path}'")
            require_space(folder, need)
            with replacing(path) as part:
                with part.open("wb") as file:
                    os.truncate(file.fileno(), need)
                _fill(np.memmap(part, np.uint8, "r+"), samples, size)
    return Decoded(path, len(samples), size)


def _fill(flat: UInt8Array, samples: Sequence[Sample], size: int) -> None:
    transform, pixels = evaluation_transform(size), size**2
    labels = flat[len(samples) * pixels * 3 :]
    for i, sample in enumerate(tqdm(samples, unit="image", desc="decoding")):
        image, label = read_sample(sample)
        out = transform(image=image, mask=label)
        flat[i * pixels * 3 : (i + 1) * pixels * 3] = out["image"].ravel()
        labels[i * pixels : (i + 1) * pixels] = out["mask"].ravel()


def _require_memory(need: int) -> None:
    if not MEMINFO.is_file():
        return
    line = next(line for line in MEMINFO.read_text().splitlines() if line.startswith("MemAvailable:"))
    free = 1024 * int(line.split()[1])
    if need > free:
        raise DataError(
            f"data.decoded is 'ram' and needs {need / 1e9:.3g} GB, but {free / 1e9:.3g} GB of memory are free: "
            "take disk, none or a smaller data.size"
        )
