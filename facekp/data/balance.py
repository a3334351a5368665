"""Repeat factor sampling: images with rare classes are drawn more often.

Reference: Gupta et al. 2019, LVIS, arXiv:1908.03195, appendix B.1.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from facekp.cli import Progress
from facekp.data.layout import Sample, fingerprint
from facekp.files import exclusive_lock, make_folder, replacing
from facekp.images import read_label


def find_classes(samples: Sequence[Sample], cache: Path) -> npt.NDArray[np.bool_]:
    """Return which classes each image has, (N, C) bool; it is kept in `cache` and reused until a label changes.

    Raises:
        DataError: a label cannot be read, or the cache cannot be written.
    """
    path = make_folder(cache) / f"classes-{fingerprint(samples)}.npy"
    with exclusive_lock(cache):
        if not path.is_file():
            bar = Progress(samples, unit="label", desc="looking for rare classes")
            count = len(samples[0].classes)
            labels = (read_label(sample.label, sample.classes) for sample in bar)
            pixels = [cv2.calcHist([label], [0], None, [count], [0, count]).ravel() for label in labels]
            with replacing(path) as part, part.open("wb") as file:
                np.save(file, np.array(pixels) > 0)
    return np.load(path)


def repeat_factors(classes: npt.NDArray[np.bool_], balance: str, below: float) -> npt.NDArray[np.float64]:
    """Return how often each image is drawn per pass, on average: (N,) float64, at least 1.

    `classes` (N, C) bool tells which classes each image has. A class in a share f of the images has the factor
    `max(1, (below / f) ** power)`; the power is 1/2 for "sqrt" (as in LVIS) and 1 for "linear". An image has the
    largest factor of its classes.

    Example:
        One image in four has a hat, all have skin:

        >>> table = np.zeros((4, 19), bool)
        >>> table[:, 1] = table[0, 14] = True
        >>> repeat_factors(table, "linear", 0.5)
        array([2., 1., 1., 1.])
    """
    share = classes.mean(0)
    # An absent class repeats nothing.
    by_class = np.maximum(1, (below / np.where(share > 0, share, 1)) ** (0.5 if balance == "sqrt" else 1))
    return np.where(classes, by_class, 1).max(1)
