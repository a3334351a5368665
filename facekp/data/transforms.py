"""Training and evaluation transforms, in albumentations."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import albumentations as A
import cv2
import numpy as np
import numpy.typing as npt

from facekp.classes import CELEBAMASK_HQ, IGNORE_INDEX, Classes
from facekp.data.backgrounds import Background
from facekp.data.crop import enlarge, pad, span
from facekp.data.jitter import KINDS, jitter
from facekp.data.occluders import Occlude


class Pipeline(A.Compose):  # type: ignore[misc]  # albumentations has no types
    """Transforms that draw their random numbers in turn from one generator.

    `A.Compose` seeds every transform's generator alike, so all would draw the same numbers: the draw that mirrors an
    image would also choose its scale and its crop.
    """

    def set_random_seed(self, seed: int | None) -> None:
        """Seed the generator."""
        self.seed = seed
        self.set_random_state(np.random.default_rng(seed), random.Random(seed))


class TrainingView(A.DualTransform):  # type: ignore[misc]  # as above
    """Colour jitter, mirroring, random scale and random crop in one step that touches only the pixels it keeps.

    Equals `A.ColorJitter`, `A.HorizontalFlip` with left and right classes swapped, `A.RandomScale` and `A.RandomCrop`
    in turn, except that colours may differ by a level or two because they are rounded less often.

    Args:
        crop: side of the result in pixels; a smaller scaled image is padded, centred, with black and 255.
        scales: scale factors, one of which is drawn.
        jitter: brightness, contrast and saturation are each multiplied by a factor in [1 - jitter, 1 + jitter].
        flip: probability of mirroring.
        classes: whose left and right are swapped when mirroring.
    """

    def __init__(
        self, crop: int, *, scales: Sequence[float], jitter: float, flip: float, classes: Classes = CELEBAMASK_HQ
    ) -> None:
        super().__init__(p=1)
        self._table = classes.mirror_table()
        self.crop, self.scales, self.jitter, self.flip = crop, tuple(scales), jitter, flip

    def get_params(self) -> dict[str, Any]:
        """Draw the parameters of one view."""
        kinds = self.py_random.sample(KINDS, len(KINDS)) if self.jitter else []
        return {
            "steps": [(kind, self.py_random.uniform(1 - self.jitter, 1 + self.jitter)) for kind in kinds],
            "mirror": self.py_random.random() < self.flip,
            "scale": self.py_random.choice(self.scales),
            "place": (self.py_random.random(), self.py_random.random()),
        }

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Return the crop's `spans`, down and across; when mirroring, the span across is reflected."""
        sides = zip(params["shape"][:2], params["place"], strict=True)
        down, across = (span(side, params["scale"], self.crop, place) for side, place in sides)
        if params["mirror"]:
            width = params["shape"][1]
            across = across._replace(start=width - across.stop, stop=width - across.start)
        return {"spans": (down, across)}

    def apply(self, img: npt.NDArray[Any], **params: Any) -> npt.NDArray[Any]:
        """Return the crop of (H, W, 3) uint8."""
        return self._crop(img, params, lambda kept: jitter(kept, params["steps"], img), cv2.INTER_LINEAR, 0)

    def apply_to_mask(self, mask: npt.NDArray[Any], *args: Any, **params: Any) -> npt.NDArray[Any]:
        """Return the crop of (H, W) uint8 class ids; mirroring swaps left and right classes."""

        def swap(kept: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return np.asarray(cv2.LUT(kept, self._table)) if params["mirror"] else kept

        return self._crop(mask, params, swap, cv2.INTER_NEAREST_EXACT, IGNORE_INDEX)

    def _crop(
        self,
        pixels: npt.NDArray[Any],
        params: dict[str, Any],
        change: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
        interpolation: int,
        fill: int,
    ) -> npt.NDArray[Any]:
        down, across = params["spans"]
        kept = change(pixels[down.start : down.stop, across.start : across.stop])
        if params["mirror"]:
            kept = np.asarray(cv2.flip(kept, 1))
        return pad(enlarge(kept, down, across, interpolation=interpolation), self.crop, fill)


def training_transform(
    size: int,
    crop: int,
    *,
    scales: Sequence[float],
    jitter: float,
    flip: float,
    rotate: float = 0.0,
    background: float = 0.0,
    occlude: float = 0.0,
    corrupt: float = 0.0,
    classes: Classes = CELEBAMASK_HQ,
) -> Pipeline:
    """Return the training pipeline: resize to `size` pixels and `TrainingView`, then what is enabled of the rest.

    `rotate` is the largest angle in degrees by which a crop is rotated, either way; `background`, `occlude` and
    `corrupt` are the shares of crops on another background (`Background`), with something in front of the face
    (`Occlude`), and corrupted (see `corruption`). The rest are the arguments of `TrainingView`.

    Returns:
        A pipeline from `image` (H, W, 3) uint8 RGB and `mask` (H, W) uint8 to `image` (crop, crop, 3) uint8 and `mask`
        (crop, crop) uint8, 255 outside the image.
    """
    steps = [_resize(size), TrainingView(crop, scales=scales, jitter=jitter, flip=flip, classes=classes)]
    if background:
        steps.append(Background(background, classes))
    if rotate:
        how: dict[str, Any] = {"interpolation": cv2.INTER_LINEAR, "mask_interpolation": cv2.INTER_NEAREST}
        outside: dict[str, Any] = {"border_mode": cv2.BORDER_CONSTANT, "fill": 0, "fill_mask": IGNORE_INDEX}
        steps.append(A.Rotate(limit=(-rotate, rotate), **how, **outside, p=1))
    if occlude:
        steps.append(Occlude(occlude))
    if corrupt:
        steps.append(corruption(corrupt))
    return Pipeline(steps)


def evaluation_transform(size: int) -> A.Compose:
    """Return the evaluation pipeline: the whole image at `size` x `size`, uint8."""
    return A.Compose([_resize(size)])


def corruption(share: float) -> A.OneOf:
    """Return a transform that corrupts a `share` of the images in ways common in photos but not in CelebAMask-HQ.

    Blurred, noisy, compressed, grey and dark or bright images are equally likely. Labels do not change.
    """
    downscale = {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR}
    return A.OneOf(
        [
            A.GaussianBlur(blur_limit=0, sigma_limit=(0.5, 2.0), p=1),
            # A centred kernel: the image must stay aligned with its label.
            A.MotionBlur(blur_limit=(3, 9), allow_shifted=False, direction_range=(0, 0), p=1),
            A.Downscale(scale_range=(0.3, 0.7), interpolation_pair=downscale, p=1),
            A.ImageCompression(quality_range=(20, 70), p=1),
            A.GaussNoise(std_range=(0.02, 0.08), p=1),
            A.ToGray(p=1),
            A.RandomGamma(gamma_limit=(40, 200), p=1),
        ],
        p=share,
    )


def _resize(size: int) -> A.Resize:
    return A.Resize(size, size, interpolation=cv2.INTER_LINEAR, mask_interpolation=cv2.INTER_NEAREST_EXACT)
