"""What training shows of an image, in one step."""

from collections.abc import Sequence
from typing import Any

import albumentations as A
import cv2
import numpy as np
import numpy.typing as npt

from facekp.classes import IGNORE_INDEX, mirror_table
from facekp.data.crop import enlarge, pad, reflect, span
from facekp.data.jitter import KINDS, jitter


class TrainingView(A.DualTransform):  # type: ignore[misc]  # albumentations has no types
    """Colour jitter, mirror, random scale and random crop in one step that touches the kept pixels only.

    What comes out is what `A.ColorJitter`, `MirrorFace`, `ChooseScale` and `A.RandomCrop` give one after the other,
    except that colours may differ by a level or two, because they are rounded less often.

    Args:
        crop: side of the result, pixels; where the scaled image is smaller, it lies in the middle of black and of 255.
        scales: scale factors, one of which is drawn.
        jitter: brightness, contrast and saturation are each multiplied by a factor in [1 - jitter, 1 + jitter].
        flip: probability of mirroring.
    """

    _table = mirror_table()

    def __init__(self, crop: int, *, scales: Sequence[float], jitter: float, flip: float) -> None:
        super().__init__(p=1)
        self.crop, self.scales, self.jitter, self.flip = crop, tuple(scales), jitter, flip

    def get_params(self) -> dict[str, Any]:
        """Draw everything."""
        kinds = self.py_random.sample(KINDS, len(KINDS)) if self.jitter else []
        return {
            "steps": [(kind, self.py_random.uniform(1 - self.jitter, 1 + self.jitter)) for kind in kinds],
            "mirror": self.py_random.random() < self.flip,
            "scale": self.py_random.choice(self.scales),
            "place": (self.py_random.random(), self.py_random.random()),
        }

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Return the crop's `spans`, down and across."""
        sides = zip(params["shape"][:2], params["place"], strict=True)
        down, across = (span(side, params["scale"], self.crop, place) for side, place in sides)
        return {"spans": (down, reflect(across, params["shape"][1]) if params["mirror"] else across)}

    def apply(self, img: npt.NDArray[Any], **params: Any) -> npt.NDArray[Any]:
        """Return the crop of (H, W, 3) uint8."""
        kept = jitter(self._kept(img, params), params["steps"], img)
        return self._finish(kept, params, cv2.INTER_LINEAR, 0)

    def apply_to_mask(self, mask: npt.NDArray[Any], *args: Any, **params: Any) -> npt.NDArray[Any]:
        """Return the crop of (H, W) uint8 class ids, those that have a side renamed where it is mirrored."""
        kept = self._kept(mask, params)
        if params["mirror"]:
            kept = np.asarray(cv2.LUT(kept, self._table))
        return self._finish(kept, params, cv2.INTER_NEAREST_EXACT, IGNORE_INDEX)

    def _kept(self, pixels: npt.NDArray[Any], params: dict[str, Any]) -> npt.NDArray[Any]:
        down, across = params["spans"]
        return pixels[down.start : down.stop, across.start : across.stop]

    def _finish(self, kept: npt.NDArray[Any], params: dict[str, Any], how: int, fill: int) -> npt.NDArray[Any]:
        if params["mirror"]:
            kept = np.asarray(cv2.flip(kept, 1))
        return pad(enlarge(kept, *params["spans"], interpolation=how), self.crop, fill)
