"""What each head says about one class, and their sum."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from facekp.classes import ATTRIBUTES
from facekp.errors import ConfigError
from facekp.images import UInt8Array
from facekp.keypoints.score_grid import Scores
from facekp.models import fuse
from facekp.parsing.parser import FaceParser


@dataclass(frozen=True)
class ClassScores:
    """The scores of one class in a photo.

    Attributes:
        name: the class, one of `facekp.classes.ATTRIBUTES`.
        heads: (h, w) float32 each, the map of every head, finest first.
        total: (H, W) float32, the heads' maps upsampled bilinearly to the network's input and added up.
    """

    name: str
    heads: tuple[Scores, ...]
    total: Scores

    @property
    def strides(self) -> tuple[int, ...]:
        """Return how many pixels of the network's input lie between two scores of each head."""
        return tuple(round(len(self.total) / len(scores)) for scores in self.heads)


def class_scores(parser: FaceParser, image: UInt8Array, name: str) -> ClassScores:
    """Run the network on a photo and keep the scores of one class.

    Args:
        parser: holds the network.
        image: (H, W, 3) uint8 RGB.
        name: of the class, background too.

    Raises:
        ConfigError: no class of that name.
    """
    check_class(name)
    pixels = parser.stages.resized(image)
    return select_class([scores[0] for scores in parser.stages.backend(pixels[None])], pixels.shape[:2], name)


def select_class(maps: Sequence[Scores], size: tuple[int, int], name: str) -> ClassScores:
    """Take one class out of score maps (h, w, 19) float32, finest first, of a network's input of `size` (H, W)."""
    class_id = ATTRIBUTES.index(name)
    heads = tuple(scores[..., class_id] for scores in maps)
    total = fuse([torch.tensor(scores)[None, None] for scores in heads], size)[0, 0]
    return ClassScores(name, heads, total.numpy())


def check_class(name: str) -> None:
    """Raise ConfigError unless there is a class of that name."""
    if name not in ATTRIBUTES:
        raise ConfigError(f"class is '{name}': choose one of {', '.join(ATTRIBUTES)}")
