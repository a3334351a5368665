"""`keypoints/*`: outlines and key points of every attribute of a mask, and the mask from the network's scores."""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.harness import Bench, Row, alternate, make_row
from benchmarks.predict import drawn_scores
from facekp.classes import NUM_CLASSES
from facekp.keypoints.score_grid import argmax_at, sum_on_grid
from facekp.keypoints.settings import METHODS, KeypointConfig
from facekp.models import fuse
from facekp.parsing.face import face_from_mask


def rows(bench: Bench) -> Iterator[Row]:
    """Yield `keypoints/ms`, which no peer does, the same by the other method, and `keypoints/argmax`."""
    scores = drawn_scores(bench.size)
    size = (bench.size, bench.size)
    grid = sum_on_grid(scores)
    mask = argmax_at(grid, size)
    confidence = dict.fromkeys(range(NUM_CLASSES), 1.0)
    default = KeypointConfig().method
    for method in sorted(METHODS, key=lambda method: method != default):
        run = partial(face_from_mask, mask, confidence, KeypointConfig(method=method), grid)
        face = run()
        runs, _ = alternate(run, None, bench)
        outlines = sum(len(attribute.contours) for attribute in face.attributes.values())
        note = f"{method}: {len(face.attributes)} attributes, {outlines} outlines"
        name = "keypoints/ms" if method == default else f"keypoints/{method}"
        yield make_row(name, "ms", [1000 * t for t in runs], note=note)

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
