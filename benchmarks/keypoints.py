"""`keypoints/*`: outlines and key points of every attribute of a mask, and the mask from the network's scores."""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.harness import Bench, Row, alternate, make_row
from benchmarks.predict import drawn_scores
from facekp.attributes import NUM_CLASSES
from facekp.face import face_from_mask
from facekp.keypoints import KeypointConfig
from facekp.models import fuse
from facekp.upsample import argmax_at, sum_on_grid


def rows(bench: Bench) -> Iterator[Row]:
    """Yield `keypoints/ms`, which no peer does, and `keypoints/argmax`."""
    scores = drawn_scores(bench.size)
    size = (bench.size, bench.size)
    mask = argmax_at(sum_on_grid(scores), size)
    confidence = dict.fromkeys(range(NUM_CLASSES), 1.0)
    face = face_from_mask(mask, confidence, KeypointConfig())
    runs, _ = alternate(partial(face_from_mask, mask, confidence, KeypointConfig()), None, bench)
    note = f"{len(face.attributes)} attributes, {sum(len(a.contours) for a in face.attributes.values())} outlines"
    yield make_row("keypoints/ms", "ms", [1000 * t for t in runs], note=note)

    maps = [torch.from_numpy(s).permute(2, 0, 1)[None] for s in scores]

    @torch.inference_mode()
    def plain() -> torch.Tensor:
        return fuse(maps, size).argmax(1)

    ours, theirs = alternate(lambda: argmax_at(sum_on_grid(scores), size), plain, bench)
    yield make_row(
        "keypoints/argmax",
        "ms",
        [1000 * t for t in ours],
        [1000 * t for t in theirs],
        peer_name="PyTorch's interpolate, sum and argmax",
        note="score maps to mask",
    )
