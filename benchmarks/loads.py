"""What `benchmarks.scaling` measures: loads, what each sweep does with them, and how much work that is."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.crowd import prepare_crowd
from benchmarks.harness import DType
from benchmarks.predict import drawn_scores
from benchmarks.step import Way
from benchmarks.step import prepare as prepare_step
from benchmarks.timing import Call
from facekp.models import build_model
from facekp.parsing.backends import TorchBackend
from facekp.parsing.parser import FaceParser
from facekp.parsing.scenes import Scene, View


@dataclass(frozen=True)
class Load:
    """What one call is given.

    Attributes:
        batch: images at a time.
        size: their side as the network sees it, pixels; of a photo's faces, each one's.
        faces: faces to be found in each; 0: it is one face already, framed as in CelebA-HQ.
        photo: side of the photo that they are found in, pixels; 0 without.
    """

    batch: int
    size: int
    faces: int = 0
    photo: int = 0

    def __str__(self) -> str:
        """Say it in words."""
        found = f", faces in a photo of {self.photo}: {self.faces}" if self.faces else ""
        return f"batch {self.batch}, {self.size} pixels{found}"

    @property
    def views(self) -> int:
        """Images that the network sees in a prediction: each one, then each face as it is found and framed anew."""
        return self.batch * (1 + 2 * self.faces)

    @property
    def pixels(self) -> int:
        """Pixels that it sees in all of them."""
        return self.views * self.size**2


SWEEPS = {
    "batch": [Load(batch, 448) for batch in (1, 2, 4, 8, 16, 32)],
    "size": [Load(4, size) for size in (224, 320, 448, 640, 832, 1024)],
    "faces": [Load(1, 448, faces, photo=1024) for faces in (1, 2, 4, 8, 16)],
}
"""The loads of each, smallest first; one attribute changes, and names the sweep."""
QUICK_SWEEPS = {
    "batch": [Load(batch, 64) for batch in (1, 2)],
    "size": [Load(2, size) for size in (64, 96)],
    "faces": [Load(1, 384, faces, photo=256) for faces in (1, 2)],  # any smaller, and a drawn face loses its mouth
}


def prepare_training(dtype: DType, load: Load, device: torch.device) -> Call:
    """Return a call that takes one training step."""
    return prepare_step(Way("resnet18", dtype), load.batch, load.size, device)


def prepare_prediction(dtype: DType, load: Load, device: torch.device) -> Call:
    """Return a call that makes one forward pass of a batch of photos, in torch, then the key points of each."""
    backend = _open_backend(dtype, load, device)
    parser = FaceParser(backend)
    photos = np.random.default_rng(0).integers(0, 256, (load.batch, load.size, load.size, 3), dtype=np.uint8)
    # Not the network's own scores: see benchmarks.predict.Drawn.
    scene = Scene(photos[0], (View(None, photos[0], tuple(drawn_scores(load.size))),))

    def call() -> None:
        backend(photos)
        for _ in photos:
            parser.stages.trace(scene)

    return call


def prepare_search(dtype: DType, load: Load, device: torch.device) -> Call:
    """Return a call that gives the masks and key points of all faces in a photo."""
    return prepare_crowd(_open_backend(dtype, load, device), load.faces, load.photo)


def _open_backend(dtype: DType, load: Load, device: torch.device) -> TorchBackend:
    return TorchBackend(build_model("resnet18"), load.size, device, dtype)


Prepare = Callable[[DType, Load, torch.device], Call]
FRAMED: dict[str, Prepare] = {"training step": prepare_training, "prediction": prepare_prediction}
TASKS: dict[str, dict[str, Prepare]] = {"batch": FRAMED, "size": FRAMED, "faces": {"prediction": prepare_search}}
"""What each sweep measures."""
FORWARD_PASSES = {"training step": 3, "prediction": 1}
"""Multiply-adds of a task over those of a forward pass; a backward pass is two forward ones."""
