"""Settings of outlines and key points."""

from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from facekp.errors import require

Method = Literal["contour", "canny"]
METHODS: Final[tuple[str, ...]] = get_args(Method)


@dataclass
class KeypointConfig:
    """How outlines are traced, and how many key points are placed on them."""

    method: str = field(
        default="contour",
        metadata={"help": "contour: lines where an attribute's score overtakes all others; canny: edges of the masks"},
    )
    n: int = field(default=32, metadata={"help": "key points per attribute"})
    min_area: float = field(
        default=1e-4, metadata={"help": "parts and holes below this share of the parsed image are dropped"}
    )

    def __post_init__(self) -> None:
        """Check ranges."""
        require("keypoints.method", self.method, self.method in METHODS, f"choose one of {', '.join(METHODS)}")
        require("keypoints.n", self.n, self.n >= 3, "give at least 3")
        require("keypoints.min_area", self.min_area, 0 <= self.min_area < 1, "give a share of the image in [0, 1)")
