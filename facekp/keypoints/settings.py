"""Settings of outlines and key points."""

from dataclasses import dataclass
from typing import Final, Literal, get_args

from facekp.settings import Settings, at_least, between, one_of, setting

Method = Literal["contour", "canny"]
METHODS: Final[tuple[str, ...]] = get_args(Method)


@dataclass
class KeypointConfig(Settings, group="keypoints"):
    """How outlines are traced, and how many key points are placed on them."""

    method: str = setting(
        "contour",
        "contour: lines where an attribute's score overtakes all others; canny: edges of the masks",
        check=one_of(Method),
    )
    n: int = setting(32, "key points per attribute", check=at_least(3))
    min_area: float = setting(
        1e-4, "parts and holes below this share of the parsed image are dropped", check=between(0, 1, "[)")
    )
