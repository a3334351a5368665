"""Cache of decoded pixels, in memory or in a file that all workers map."""

import mmap
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from facekp.cli import Progress
from facekp.config import DataConfig
from facekp.data.dataset import read_sample
from facekp.data.layout import Sample, fingerprint
from facekp.data.transforms import evaluation_transform
from facekp.errors import DataError
from facekp.files import exclusive_lock, expand, make_folder, replacing, require_space
from facekp.images import UInt8Array

MEMINFO = Path("/proc/meminfo")
CHANNELS = 4  # red, green, blue, label


class PixelCache:
    """The N images and labels of a split at the training size, in a file or in memory: all images, then all labels.

    `size` is their side, pixels; `mode` is that of `np.memmap`: "w+" creates the file.
    """

    def __init__(self, pixels: Path | mmap.mmap, count: int, size: int, mode: Literal["r", "w+"] = "r") -> None:
        self.pixels, self.count, self.size = pixels, count, size
        planes, shape = (CHANNELS * count, size, size), (count, size, size, 3)
        flat: UInt8Array = (
            np.memmap(pixels, np.uint8, mode, shape=planes)
            if isinstance(pixels, Path)
            else np.frombuffer(pixels, np.uint8).reshape(planes)
        )
        self.images, self.labels = flat[: 3 * count].reshape(shape), flat[3 * count :]

    def __call__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        """Return image (size, size, 3) and label (size, size), uint8."""
        return np.asarray(self.images[index]), np.asarray(self.labels[index])

    def __reduce__(self) -> tuple[type["PixelCache"], tuple[Path | mmap.mmap, int, int]]:
        """Pickle the path alone, so that workers that are not forked map the file again; memory cannot be pickled."""
        return PixelCache, (self.pixels, self.count, self.size)

    def fill(self, samples: Sequence[Sample]) -> None:
        """Decode the samples into the cache."""
        transform = evaluation_transform(self.size)
        for i, sample in enumerate(Progress(samples, unit="image", desc="decoding")):
            image, label = read_sample(sample)
            out = transform(image=image, mask=label)
            self.images[i], self.labels[i] = out["image"], out["mask"]


def decode_all(samples: Sequence[Sample], config: DataConfig) -> PixelCache | None:
    """Decode a split to memory or disk, as `data.decoded` says, and print its size; return None for "none".

    A file is kept in `data.cache` and reused until an image or label changes.

    Raises:
        DataError: too little space, or a file that cannot be read or written.
    """
    if config.decoded == "none":
        return None
    count, size = len(samples), config.size
    need = count * size**2 * CHANNELS
    about = f"data.decoded is '{config.decoded}': {count} images of {size} pixels take {need / 1e9:.3g} GB"
    if config.decoded == "ram":
        print(about)
        found = re.search(r"MemAvailable: *(\d+)", MEMINFO.read_text()) if MEMINFO.is_file() else None
        if found and need > (free := 1024 * int(found[1])):
            raise DataError(
                f"data.decoded is 'ram' and needs {need / 1e9:.3g} GB, but {free / 1e9:.3g} GB of memory are free: "
                "use disk, none or a smaller data.size"
            )
        cache = PixelCache(mmap.mmap(-1, need), count, size)  # anonymous and shared: forked workers see the same pages
        cache.fill(samples)
        return cache
    folder = make_folder(expand(config.cache))
    path = folder / f"decoded-{size}-{fingerprint(samples)}.bin"
    with exclusive_lock(folder):
        if not path.is_file():
            print(f"{about} in '{path}'")
            require_space(folder, need)
            with replacing(path) as part:
                PixelCache(part, count, size, "w+").fill(samples)
    return PixelCache(path, count, size)
