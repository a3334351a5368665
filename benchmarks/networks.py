"""The networks that are timed: the one of the shipped weights, and its peers."""

from typing import Any

from facekp.models import build_model
from facekp.models.registry import Network

OURS = "ours"
SETTINGS: dict[str, dict[str, Any]] = {
    OURS: {"name": "fpn", "trunk": "tf_efficientnet_lite0", "finest": 4},
    "smp_unet": {"name": "smp"},
}
"""Settings of `build_model`, where they are more than a name or the name differs."""
STRIDES = {OURS: 4, "bisenet": 8}
"""Stride of the score map that predicts."""


def build(network: str) -> Network:
    """Build a network with random weights: one of `SETTINGS`, or by its name in facekp."""
    return build_model(**SETTINGS.get(network, {"name": network}))
