"""Cache of decoded pixels, in memory or in a file that all workers map."""

import mmap
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facekp.config import DataConfig
from facekp.data.dataset import read_sample
from facekp.data.layout import Sample, fingerprint
from facekp.data.transforms import evaluation_transform
from facekp.errors import ConfigError, DataError
from facekp.files import exclusive_lock, expand, make_folder, replacing, require_space
from facekp.images import UInt8Array

MEMINFO = Path("/proc/meminfo")
CHANNELS = 4  # red, green, blue, label


class PixelCache:
    """Images and labels of a split at the training size.

    Args:
        pixels: (N * size * size * 4,) uint8 in a file or in memory: all images, then all labels.
        count: N.
        size: side, pixels.
    """

    def __init__(self, pixels: Path | mmap.mmap, count: int, size: int) -> None:
        self.pixels, self.count, self.size = pixels, count, size
        flat: UInt8Array
        flat = np.memmap(pixels, np.uint8, "r") if isinstance(pixels, Path) else np.frombuffer(pixels, np.uint8)
        self.images, self.labels = _views(flat, count, size)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        """Return image (size, size, 3) and label (size, size), uint8."""
        return np.asarray(self.images[index]), np.asarray(self.labels[index])

    def __reduce__(self) -> tuple[type["PixelCache"], tuple[Path, int, int]]:
        """Let workers that are not forked map the file again."""
        if not isinstance(self.pixels, Path):
            method = multiprocessing.get_start_method()
            raise ConfigError(f"data.decoded is 'ram', which workers started by '{method}' cannot share: take disk")
        return PixelCache, (self.pixels, self.count, self.size)


def decode_all(samples: Sequence[Sample], config: DataConfig) -> PixelCache | None:
    """Decode a split as `data.decoded` says, after reporting how much space that takes; "none" returns None.

    A file is kept in `data.cache`, where the next run finds it unless an image or label has changed.

    Raises:
        DataError: too little space, or a file that cannot be read or written.
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
        return PixelCache(memory, len(samples), size)
    folder = make_folder(expand(config.cache))
    path = folder / f"decoded-{size}-{fingerprint(samples)}.bin"
    with exclusive_lock(folder):
        if not path.is_file():
            print(f"{about} in '{path}'")
            require_space(folder, need)
            with replacing(path) as part:
                with part.open("wb") as file:
                    os.truncate(file.fileno(), need)
                _fill(np.memmap(part, np.uint8, "r+"), samples, size)
    return PixelCache(path, len(samples), size)


def _views(flat: UInt8Array, count: int, size: int) -> tuple[UInt8Array, UInt8Array]:
    """Return images (N, size, size, 3) and labels (N, size, size) of a cache's bytes."""
    split = count * size**2 * 3
    return flat[:split].reshape(count, size, size, 3), flat[split:].reshape(count, size, size)


def _fill(flat: UInt8Array, samples: Sequence[Sample], size: int) -> None:
    transform, (images, labels) = evaluation_transform(size), _views(flat, len(samples), size)
    for i, sample in enumerate(tqdm(samples, unit="image", desc="decoding")):
        image, label = read_sample(sample)
        out = transform(image=image, mask=label)
        images[i], labels[i] = out["image"], out["mask"]


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
