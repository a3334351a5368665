"""What the page shows and saves: pictures, tables, files and code, from a parsed photo and the options chosen."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from facekp.classes import Classes
from facekp.errors import DataError
from facekp.files import write_file
from facekp.formats.base import CORNER, FormatOptions, Photo, polygon
from facekp.formats.overlay import Overlay
from facekp.formats.regions import Cutout
from facekp.images import UInt8Array, decoding, fit_within
from facekp.keypoints.resample import resample
from facekp.parsing.attribute import Attribute
from facekp.parsing.face import Face
from facekp.parsing.inputs import to_array
from facekp.parsing.overlay import Style, draw_overlay
from facekp.parsing.parser import FaceParser
from facekp.predict.results import Results
from facekp.weights.paths import SHIPPED

MAX_PIXELS: Final = 50_000_000  # larger photos are refused: each open page keeps its photo in memory
ALL: Final = "all"  # the choice of every face; others are numbers from 1


@dataclass(frozen=True, eq=False)
class Parsed:
    """A parsed photo and the faces found in it, at least one, the largest first."""

    photo: Photo
    faces: list[Face]

    @property
    def classes(self) -> Classes:
        """Those of the faces."""
        return self.faces[0].classes

    @property
    def choices(self) -> list[str]:
        """The names of faces to choose from."""
        return [ALL, *(str(number + 1) for number in range(len(self.faces)))]

    def chosen(self, choice: str, points: int | None = None) -> list[Face]:
        """Return every face or the chosen one, perhaps with another number of key points per attribute."""
        faces = self.faces if choice == ALL else [self.faces[int(choice) - 1]]
        if points is None:
            return faces

        def with_points(own: Attribute) -> Attribute:
            outline = own.contours[0]
            return replace(own, keypoints=resample(outline.points, points, outline.cut))

        return [replace(f, attributes={name: with_points(own) for name, own in f.attributes.items()}) for f in faces]


def parse_photo(parser: FaceParser, path: Path) -> Parsed:
    """Read and parse a photo.

    Raises:
        DataError: it cannot be read, is too large or too small, or shows no face; in words for the page.
    """
    name = path.name
    try:
        with decoding(name, "choose a JPEG, PNG or WebP"), Image.open(path) as picture:
            too_large = picture.width * picture.height > MAX_PIXELS
    except DataError as error:
        too_large = isinstance(error.__cause__, Image.DecompressionBombError)
        if not too_large:
            raise
    if too_large:
        raise DataError(f"{name} is too large: more than {MAX_PIXELS // 10**6} million pixels; reduce it")
    try:
        image = to_array(path)
    except DataError as error:
        raise DataError(str(error).replace(f"image {path}", name)) from error
    faces = parser(image)
    if not faces:
        raise DataError(f"no face was found in {name}; choose a photo that shows one from the front, and not too small")
    return Parsed(Photo(Path(name), name, Path(path.stem), image), faces)


def drawn_view(parsed: Parsed, faces: Sequence[Face], style: Style) -> str:
    """Return HTML: the photo with `faces` drawn, under invisible outlines of all faces that the page names and clicks.

    Elements with `data-name` are named under the pointer; `data-face` is the face's number, from 1.
    """
    height, width = parsed.photo.size
    drawn = draw_overlay(parsed.photo.image, faces, replace(style, legend=False), parsed.classes)
    shown = fit_within(drawn, 1600)  # files have the photo's own size
    parts = "".join(
        _traced_face(number, face, several=len(parsed.faces) > 1, landmarks=style.landmarks or style.names)
        for number, face in reversed(list(enumerate(parsed.faces, 1)))
    )
    words = ", ".join(dict.fromkeys(name for face in faces for name in face.attributes))
    return (
        f'<figure class="view"><img src="{as_data(shown)}" alt="{escape(parsed.photo.file)} with {escape(words)}">'
        f'<svg viewBox="0 0 {width} {height}">{parts}</svg><output hidden></output></figure>'
    )


def _traced_face(number: int, face: Face, *, several: bool, landmarks: bool) -> str:
    """Return an SVG group with the outlines of a face, its box if it is one of several, and its landmarks."""
    x0, y0, x1, y1 = face.box
    box = f'<rect x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}"/>' if several else ""
    parts = ""
    for name, attribute in face.attributes.items():
        rings = (polygon(contour.points) for contour in attribute.contours)
        outline = "".join("M" + " ".join(f"{x:.1f},{y:.1f}" for x, y in ring) + "Z" for ring in rings)
        label = escape(f"{name}  {attribute.confidence:.2f}")
        parts += f'<path data-name="{label}" fill-rule="evenodd" d="{outline}"/>'
    for landmark in face.landmarks.values() if landmarks else ():
        if landmark.xy is not None:
            x, y = landmark.xy + CORNER
            label = landmark.name if landmark.number is None else f"{landmark.name}  {landmark.number}"
            label += "" if landmark.visible else "  hidden"
            parts += f'<circle data-name="{label}" cx="{x:.1f}" cy="{y:.1f}" r="{(x1 - x0) / 90:.1f}"/>'
    return f'<g data-face="{number}">{box}{parts}</g>'


def attribute_table(parsed: Parsed, faces: Sequence[Face]) -> str:
    """Return an HTML table of the attributes: colour, area, confidence, and visibility."""
    pixels, rows = parsed.photo.image.shape[0] * parsed.photo.image.shape[1], ""
    for face in faces:
        if len(faces) > 1:
            rows += f'<tr class="face"><th colspan="4">face {faces.index(face) + 1}</th></tr>'
        for name, own in face.attributes.items():
            cut = any(contour.cut.any() for contour in own.contours)
            colour = "#{:02x}{:02x}{:02x}".format(*face.classes.colours[own.id])
            rows += (
                f'<tr><td><i style="background:{colour}"></i>{escape(name)}</td>'
                f'<td title="{100 * own.area / pixels:.2g} % of the photo">{own.area:,}</td>'
                f'<td><meter value="{own.confidence:.3f}"></meter> {own.confidence:.2f}</td>'
                f"<td>{'cut' if cut else 'visible'}</td></tr>"
            )
    head = "<tr><th>attribute</th><th>pixels</th><th>confidence</th><th></th></tr>"
    return f'<table class="attributes"><thead>{head}</thead><tbody>{rows}</tbody></table>'


def cut_out(parsed: Parsed, faces: Sequence[Face], options: FormatOptions) -> UInt8Array:
    """Return the photo (H, W, 4) uint8 RGBA with only the regions of the options, which have soft edges."""
    return np.dstack([parsed.photo.image, region_alpha(parsed, faces, options)])


def region_alpha(parsed: Parsed, faces: Sequence[Face], options: FormatOptions) -> UInt8Array:
    """Return the soft mask (H, W) uint8 of the union of the options' regions in all `faces`."""
    return Cutout("+".join(options.regions), replace(options, classes=parsed.classes)).alpha(parsed.photo.size, faces)


def before_and_after(parsed: Parsed, faces: Sequence[Face], style: Style) -> tuple[UInt8Array, UInt8Array]:
    """Return the photo, and the photo with `faces` drawn, at one size."""
    style = replace(style, legend=False)
    photo, classes = parsed.photo.image, parsed.classes
    return draw_overlay(photo, [], style, classes), draw_overlay(photo, faces, style, classes)


def recoloured(image: UInt8Array, alpha: UInt8Array, colour: str, strength: float) -> UInt8Array:
    """Return a photo (H, W, 3) uint8 RGB with a region in another colour, as a demonstration of soft masks.

    In CIELAB, the region takes the hue and chroma of the colour, and its mean lightness moves halfway to the colour's.
    `alpha` is the region's soft mask, (H, W) uint8, `colour` as in CSS, and `strength` its share, 0..1.
    """
    left, top, width, height = cv2.boundingRect(alpha)
    window = np.s_[top : top + height, left : left + width]
    weight = alpha[window][..., None] * np.float32(1 / 255)
    if not weight.size:
        return image
    lab = cv2.cvtColor(image[window] * np.float32(1 / 255), cv2.COLOR_RGB2LAB)
    target = cv2.cvtColor(np.array([[read_colour(colour)]], np.float32) / 255, cv2.COLOR_RGB2LAB)[0, 0]
    lightness = lab[..., :1] + 0.5 * (target[0] - np.average(lab[..., :1], weights=weight))
    painted = np.concatenate([lightness.clip(0, 100), np.broadcast_to(target[1:], (*lab.shape[:2], 2))], axis=2)
    mixed = lab + np.float32(strength) * weight * (painted - lab)
    result = image.copy()
    result[window] = np.round(255 * cv2.cvtColor(mixed.astype(np.float32), cv2.COLOR_LAB2RGB)).clip(0, 255)
    return result


def read_colour(text: str) -> tuple[int, ...]:
    """Return the RGB values, 0..255, of a colour as browsers write it.

    Example:
        >>> read_colour("#ff8000"), read_colour("rgba(255, 128.4, 0, 1)")
        ((255, 128, 0), (255, 128, 0))
    """
    if text.startswith("#"):
        return tuple(bytes.fromhex(text[1:7]))
    return tuple(round(float(number)) for number in re.findall(r"[\d.]+", text)[:3])


def save_files(
    parsed: Parsed, faces: Sequence[Face], style: Style, export: Sequence[str], options: FormatOptions, folder: Path
) -> list[Path]:
    """Write `faces` into a folder in these formats, the overlay in this style, and return the files.

    The SVG contains its photo, so that it can be passed on alone.

    Raises:
        DataError: a format cannot hold this photo.
    """
    results = Results(folder, export, replace(options, classes=parsed.classes))
    with results.claimed():
        results.write(parsed.photo, faces)
        results.finish([parsed.photo.stem])
    if "overlay" in export:
        drawn = Overlay(style, parsed.classes).encode(parsed.photo, faces)
        write_file(folder / f"{parsed.photo.stem}.overlay.jpg", drawn)
    if "svg" in export:
        drawing = folder / f"{parsed.photo.stem}.svg"
        link = f'xlink:href="{as_data(parsed.photo.image)}"'
        write_file(drawing, re.sub('xlink:href="[^"]*"', link, drawing.read_text("utf-8"), count=1))
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def python_call(name: str, choice: str, points: int, style: Style, options: FormatOptions, ckpt: str = SHIPPED) -> str:
    """Return the Python that gives what the page shows for a photo called `name`."""
    opened = "FaceParser(" if ckpt == SHIPPED else f"FaceParser.from_checkpoint({ckpt!r}, "
    region = "+".join(options.regions)
    faces = "faces" if choice == ALL else f"[faces[{int(choice) - 1}]]"
    return f"""from PIL import Image

from facekp import FaceParser
from facekp.keypoints.settings import KeypointConfig
from facekp.parsing.inputs import to_array
from facekp.parsing.overlay import Style, draw_overlay

parser = {opened}keypoints=KeypointConfig(n={points}))
photo = to_array({name!r})
faces = parser(photo)  # the largest first
for face in {faces}:
    for attribute in face.attributes.values():
        print(attribute)  # .mask, .keypoints and .landmarks of the face hold the rest
    alpha = face.alpha({region!r}, feather={options.feather:g}, grow={options.grow:g})  # (H, W), 0 to 1

style = Style(
    opacity={style.opacity:g},
    outlines={style.outlines},
    keypoints={style.keypoints},
    landmarks={style.landmarks},
    names={style.names},
)
Image.fromarray(draw_overlay(photo, {faces}, style, faces[0].classes)).save("overlay.png")
"""


def as_data(image: npt.NDArray[np.uint8]) -> str:
    """Return an image (H, W, 3) uint8 RGB as the data: address of a JPEG."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
