"""Near-duplicate photos: a search by small descriptors, then a comparison of fine detail.

Perceptual hashes are no substitute: at a threshold with as few false pairs, `imagehash.phash` misses differently framed
copies.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed

from facekp.cli import Progress
from facekp.images import UInt8Array

THUMB = 64  # side of the grey thumbnails, pixels

SIDE = 16  # of the descriptor
SIMILAR = 0.88  # minimum correlation of the descriptors of a candidate pair
SAME = 0.8  # minimum correlation of fine detail of the same photo
WORTH_ALIGNING = 0.4  # below this correlation, alignment does not help
SHIFT = 4  # maximum shift between the frames, pixels of a thumbnail
DETAIL = 2.0  # pixels; coarser structure is light and pose, which different photos share
BLOCK = 1024  # rows of the similarity matrix per step: 120 MB for 30,000 images

Grey = npt.NDArray[np.float32]


class Pair(NamedTuple):
    """Indices of two images of the same photo, one of which may be mirrored."""

    first: int
    second: int
    score: float
    mirrored: bool


def thumbnail(image: UInt8Array) -> UInt8Array:
    """Reduce an image (H, W, 3) uint8 RGB to (64, 64) uint8, grey."""
    small = cv2.resize(image, (THUMB, THUMB), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)


def find_near_duplicates(thumbs: Sequence[UInt8Array], pool: Parallel) -> list[Pair]:
    """Return the pairs of thumbnails of the same photo, with first < second, sorted.

    The search tolerates changes of brightness, contrast, colour and compression, a shift by up to 6 % of the frame, a
    slight turn or zoom, and mirroring. Matrix products compare all pairs at 16 x 16 pixels. `pool` returns a generator.
    """
    found: dict[tuple[int, int], Pair] = {}
    # Block by block: 30,000 images have hundreds of thousands of candidates.
    for candidates in _similar(thumbs) if thumbs else ():
        scores = pool(delayed(_likeness)(thumbs[a], thumbs[b][:, :: -1 if flip else 1]) for a, b, flip in candidates)
        for (first, second, mirrored), score in zip(candidates, scores, strict=True):
            # A nearly symmetric photo may be found both ways.
            if score >= max(SAME, found[first, second].score if (first, second) in found else 0.0):
                found[first, second] = Pair(first, second, score, mirrored)
    return sorted(found.values())


def _similar(thumbs: Sequence[UInt8Array]) -> Iterator[list[tuple[int, int, bool]]]:
    """Yield the candidate pairs (first, second, mirrored) of each block of images."""
    small = np.stack([cv2.resize(t, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for t in thumbs]).astype(np.float32)
    plain, mirrored = _normalise(small), _normalise(small[:, :, ::-1])
    starts = range(0, len(plain), BLOCK)
    for start in Progress(starts, "comparing", unit=" blocks", disable=len(starts) < 2):
        for others, flip in ((plain, False), (mirrored, True)):
            likeness = plain[start : start + BLOCK] @ others[start:].T
            rows, columns = np.nonzero(np.triu(likeness > SIMILAR, 1))
            yield [(a, b, flip) for a, b in zip((start + rows).tolist(), (start + columns).tolist(), strict=True)]


def _normalise(images: Grey) -> Grey:
    """Return (N, 256) rows of mean 0 and length 1, whose products are correlations; flat images give 0."""
    rows = images.reshape(len(images), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1.0), np.float32)


def _likeness(first: UInt8Array, second: UInt8Array) -> float:
    """Correlate the fine detail of two thumbnails at the best shift, after affine alignment if necessary."""
    second = np.ascontiguousarray(second)
    score = _correlation(first, second)
    if not WORTH_ALIGNING <= score < SAME:
        return score
    warp = np.eye(2, 3, dtype=np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-3)
    try:  # Reference: Evangelidis and Psarakis 2008, enhanced correlation coefficient maximisation
        cv2.findTransformECC(first, second, warp, cv2.MOTION_AFFINE, stop, None, 3)
    except cv2.error:
        return score  # it did not converge
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    aligned = cv2.warpAffine(second, warp, (THUMB, THUMB), flags=how, borderMode=cv2.BORDER_REPLICATE)
    return max(score, _correlation(first, aligned))


def _correlation(first: UInt8Array, second: UInt8Array) -> float:
    fine, other = (t - cv2.GaussianBlur(t, (0, 0), DETAIL) for t in (np.float32(first), np.float32(second)))
    return float(cv2.matchTemplate(fine, other[SHIFT:-SHIFT, SHIFT:-SHIFT], cv2.TM_CCOEFF_NORMED).max())
