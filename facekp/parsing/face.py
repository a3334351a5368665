"""Parsed faces: the mask, and every attribute's outlines, key points and landmarks."""

import builtins
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.errors import ConfigError, require
from facekp.images import UInt8Array
from facekp.keypoints.contour import Contour
from facekp.keypoints.curves import DECIMALS, Points
from facekp.keypoints.landmarks.find import Landmark, find_landmarks
from facekp.keypoints.outlines import trace
from facekp.keypoints.resample import resample
from facekp.keypoints.score_grid import ScoreGrid
from facekp.keypoints.settings import KeypointConfig
from facekp.parsing.attribute import Attribute
from facekp.parsing.face_crop import Crop, window
from facekp.parsing.id_tables import id_lookup, read_ids
from facekp.parsing.overlay import Style, draw_overlay
from facekp.parsing.regions import class_ids
from facekp.parsing.soft_mask import CERTAIN, ClassScores, feathered, grown, in_pixels, stretched

if TYPE_CHECKING:
    import pandas as pd

    from facekp.parsing.inputs import ImageLike

SCHEMA: Final = "facekp/2"
MARK: Final = rb'\{"schema":"facekp/'
"""Regular expression for the first bytes of facekp's JSON files."""
"""Version of NAME.json and of `Face.to_dict`, described in docs/reference/formats.md."""


@dataclass(frozen=True, eq=False)
class Face:
    """A parsed face. A notebook shows it as its overlay.

    Coordinates are (x, y) in pixels of the source image, turned upright by its EXIF tag; the centre of the top left
    pixel is (0, 0).

    Attributes:
        mask: (H, W) uint8, class ids, at the source image's size; 0 is background.
        attributes: the attributes in the picture, by name, in the order of the ids, without background.
        box: x0, y0, x1, y1 of the crop aligned to the face, in source-image pixels; for a rotated face, of its upright
            bounding box. Hair, hats and clothes may reach beyond it.
        image: the image passed to `FaceParser`, not a copy, for the overlay in a notebook; a path is read again. None
            for faces from files, videos and masks, which are shown on black.
        scores: the scores behind the mask at the network's resolution, for `alpha`. None for faces from masks.
        classes: those of the mask.

    Example:
        >>> mask = np.zeros((100, 80), np.uint8)
        >>> mask[10:90, 10:70], mask[40:60, 30:50] = 1, 2
        >>> face = face_from_mask(mask, {1: 0.8, 2: 0.9}, KeypointConfig(n=32))
        >>> face
        Face(80x100, 2 attributes, box=(0, 0, 80, 100))
        >>> list(face.attributes), face.keypoints["nose"].shape
        (['skin', 'nose'], (32, 2))
        >>> face.attributes["skin"].contours  # the nose is a hole in it
        (Contour(281 points, area=4799), Contour(81 points, area=399, hole))
        >>> [int(face.region(names).sum()) for names in ("face", ("nose", "hair"))]
        [4800, 400]
    """

    mask: UInt8Array
    attributes: dict[str, Attribute]
    box: tuple[float, float, float, float]
    image: "ImageLike | None" = None
    scores: ClassScores | None = None
    classes: Classes = CELEBAMASK_HQ

    @property
    def keypoints(self) -> dict[str, Points]:
        """Return the key points, (n, 2) float32 source-image pixels, of every attribute in the picture."""
        return {name: attribute.keypoints for name, attribute in self.attributes.items()}

    @cached_property
    def landmarks(self) -> dict[str, Landmark]:
        """Return every landmark of `facekp.keypoints.landmarks.NUMBERS` by name, absent and hidden ones too."""
        contours = {name: attribute.contours for name, attribute in self.attributes.items()}
        confidence = {name: a.confidence for name, a in self.attributes.items()}
        return find_landmarks(self.mask, contours, confidence, classes=self.classes)

    def region(self, region: str | Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return the mask (H, W) bool of a class, of a group of classes, or of a union of them.

        Args:
            region: a class ("hair"), a group of `classes` ("face"), or a union: ("lips", "nose") or
                "lips+nose".

        Raises:
            ConfigError: no such class or group.
        """
        return np.isin(self.mask, class_ids(region, self.classes))

    def alpha(
        self, region: str | Sequence[str], *, feather: float = 0, grow: float = 0, certain: float = CERTAIN
    ) -> npt.NDArray[np.float32]:
        """Return the mask (H, W) float32, 0..1, of a region with a soft edge, from the network's probabilities.

        Lengths of 1 and more are pixels of the photo. Below 1 they are shares of the face's side, the square root of
        the area of the region "face", or of "person" if no class shows a face.

        Args:
            region: see `region`.
            feather: standard deviation of a Gaussian that blurs the edge, after it is moved.
            grow: distance by which the edge is moved outwards, in whole pixels; negative moves it inwards.
            certain: probability of the region from which alpha is 1, above 0.5; from 1 - `certain` down it is 0.
                1 returns the probability itself.

        Raises:
            ConfigError: no such class or group, a length or probability out of range, or a face without scores.
        """
        ids = class_ids(region, self.classes)
        if self.scores is None:
            raise ConfigError("alpha needs scores, but this face is from a mask: parse the photo, or use region")
        require("feather", feather, not feather < 0, "give 0 or more; grow may be negative")
        require("certain", certain, 0.5 < certain <= 1, "give a probability above 0.5, up to 1")
        side = float(np.sqrt(np.count_nonzero(self.region("face" if "face" in self.classes.groups else "person"))))
        probability = self.scores.probability(ids, (self.mask.shape[0], self.mask.shape[1]))
        moved = grown(stretched(probability, certain), in_pixels("grow", grow, side))
        return feathered(moved, in_pixels("feather", feather, side))

    def mask_as(self, ids: str | Path | Mapping[str, int]) -> UInt8Array:
        """Return the mask (H, W) uint8 in other ids.

        Args:
            ids: "own", "celebamask", "zllrunning" or "lapa"; a YAML or JSON file with an id for each class; or such a
                table, as in {"background": 0, "skin": 1, ...}. Several classes may share an id.

        Raises:
            ConfigError: no such table, or one that is not complete; see `facekp.parsing.id_tables.read_ids`.
        """
        return cv2.LUT(self.mask, id_lookup(read_ids(ids, self.classes))).astype(np.uint8, copy=False)

    def to_photo(self, crop: Crop, size: tuple[int, int], keypoints: KeypointConfig) -> "Face":
        """Map a face parsed in a crop to its photo.

        Parts beyond the photo's border, or smaller than one of its pixels, are dropped.

        Args:
            crop: the part of the photo that this mask (s, s) covers.
            size: (H, W) of the photo.
            keypoints: number of key points per attribute, and minimum area of parts.
        """
        matrix, (left, top, right, bottom) = crop.matrix(len(self.mask)), window(crop, size)
        shifted = matrix - np.array([[0, 0, left], [0, 0, top]])
        mask = np.zeros(size, np.uint8)
        mask[top:bottom, left:right] = cv2.warpAffine(
            self.mask, shifted, (right - left, bottom - top), flags=cv2.INTER_NEAREST
        )
        least, contours = keypoints.min_area * crop.side**2, {}
        for own in self.attributes.values():
            moved = [contour.moved(matrix, size) for contour in own.contours]
            large = (contour for contour in moved if contour.area > 0 and contour.area >= least)
            contours[own.id] = sorted(large, key=lambda contour: (contour.hole, -contour.area))
        confidence = {own.id: own.confidence for own in self.attributes.values()}
        scores = self.scores and replace(self.scores, crop=crop)
        attributes = _attributes(mask, contours, confidence, keypoints.n, self.classes)
        return Face(mask, attributes, crop.box(size), scores=scores, classes=self.classes)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pixels as plain data for JSON; docs/reference/formats.md describes it."""
        return {
            "box": [round(v, DECIMALS) for v in self.box],
            "attributes": [attribute.to_dict() for attribute in self.attributes.values()],
            "landmarks": [landmark.to_dict() for landmark in self.landmarks.values()],
        }

    def __repr__(self) -> str:
        height, width = self.mask.shape
        box = ", ".join(f"{v:.0f}" for v in self.box)
        return f"Face({width}x{height}, {len(self.attributes)} attributes, box=({box}))"

    def to_frame(self) -> "pd.DataFrame":
        """Return the key points and the visible landmarks as a pandas table with a row for each.

        Columns: `kind` ("keypoint" or "landmark"), `name` of the attribute or landmark, `index` along the outline or in
        the iBUG scheme (-1 if it has no number), `x` and `y` in pixels of the photo, and `confidence`.
        """
        import pandas as pd  # takes half a second

        rows: list[tuple[Any, ...]] = [
            ("keypoint", name, index, x, y, part.confidence)
            for name, part in self.attributes.items()
            for index, (x, y) in enumerate(part.keypoints.tolist())
        ]
        for mark in self.landmarks.values():
            if mark.xy is not None and mark.visible:
                number = -1 if mark.number is None else mark.number
                rows.append(("landmark", mark.name, number, *mark.xy.tolist(), mark.confidence))
        return pd.DataFrame(rows, columns=["kind", "name", "index", "x", "y", "confidence"])

    def overlay(self, style: Style | None = None) -> Image.Image:
        """Return the photo with the masks, outlines, key points and legend of this face over it."""
        # Imports torch, which the commands defer until their settings are checked.
        from facekp.parsing.inputs import to_array

        image = np.zeros((*self.mask.shape, 3), np.uint8) if self.image is None else to_array(self.image)
        return Image.fromarray(draw_overlay(image, [self], style or Style(), classes=self.classes))

    def show(self, style: Style | None = None) -> Image.Image:
        """Return the overlay, which a notebook displays; elsewhere it is also opened in the system's viewer."""
        picture = self.overlay(style)
        if not hasattr(builtins, "__IPYTHON__"):
            picture.show()
        return picture

    def _repr_png_(self) -> bytes:
        """Return the overlay as a PNG, for notebooks."""
        png = BytesIO()
        self.overlay().save(png, format="PNG")
        return png.getvalue()


def face_from_mask(
    mask: UInt8Array,
    confidence: Mapping[int, float],
    keypoints: KeypointConfig,
    grid: ScoreGrid | None = None,
    classes: Classes = CELEBAMASK_HQ,
) -> Face:
    """Trace every attribute of a mask.

    Args:
        mask: (H, W) uint8, class ids.
        confidence: confidence of each id in the mask, 0..1.
        keypoints: method for outlines, number of key points, and minimum area of parts.
        grid: the scores behind the mask; see `facekp.keypoints.outlines.trace`. Without them a face has no `alpha`.
        classes: those of the mask.
    """
    height, width = mask.shape
    area = keypoints.min_area * height * width
    contours = trace(mask, method=keypoints.method, min_area=area, grid=grid, count=len(classes))
    attributes = _attributes(mask, contours, confidence, keypoints.n, classes)
    scores = None if grid is None else ClassScores(grid.at_centres(grid.points))
    return Face(mask, attributes, (0.0, 0.0, float(width), float(height)), scores=scores, classes=classes)


def _attributes(
    mask: UInt8Array,
    contours: Mapping[int, Sequence[Contour]],
    confidence: Mapping[int, float],
    n: int,
    classes: Classes,
) -> dict[str, Attribute]:
    """Return the attributes that have an outline and a pixel in the mask, with `n` key points each."""
    areas = cv2.calcHist([mask], [0], None, [len(classes)], [0, len(classes)]).ravel()
    attributes = {}
    for i, own in contours.items():
        if areas[i] and own and not own[0].hole:
            name, points = classes.names[i], resample(own[0].points, n, own[0].cut)
            attributes[name] = Attribute(name, i, int(areas[i]), confidence[i], tuple(own), points)
    return attributes
