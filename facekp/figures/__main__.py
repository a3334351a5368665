"""Draw the paper's figures 2, 3 and 4 of a photo: `python -m facekp.figures source=PHOTO out=FOLDER [ckpt=...]`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from omegaconf import MISSING

from facekp.classes import ATTRIBUTES
from facekp.cli import parse_cli
from facekp.errors import one_line_errors
from facekp.files import expand, make_folder
from facekp.keypoints.settings import KeypointConfig
from facekp.parsing.choices import Align, BackendName
from facekp.settings import Affects, Settings, at_least, check_that, one_of, setting
from facekp.weights.paths import CKPT_HELP, SHIPPED, TERMS


@dataclass
class FiguresSettings(Settings):
    """Network, photo and format of the figures."""

    ckpt: str = setting(SHIPPED, CKPT_HELP, path=True)
    source: str = setting(MISSING, "a photo", path=True)
    out: str = setting(
        MISSING,
        "folder for NAME.CLASS.heads.png, NAME.CLASS.surface.png, NAME.points.png",
        affects=Affects.PLACE,
        path=True,
    )
    class_: str = setting("nose", "the class whose scores are drawn", check=one_of(*ATTRIBUTES))
    landmarks: str | None = setting(None, "CSV or JSON of a landmark detector's points, drawn in red", path=True)
    landmarks_size: int | None = setting(
        None, "longer side, pixels, of the picture that the landmarks are in; null: the photo's", check=at_least(1)
    )
    align: str = setting(
        "auto", "auto: the largest face in the photo; none: the whole photo as one face", check=one_of(Align)
    )
    format: str = setting("png", "png, svg or pdf", check=one_of("png", "svg", "pdf"))
    dpi: int = setting(
        300,
        "dots per inch of png, and of photos in svg and pdf",
        check=check_that(range(50, 1201).__contains__, "50 to 1200"),
    )
    backend: str = setting("auto", "torch for .ckpt; onnx or openvino for .onnx; auto", check=one_of(BackendName))
    device: str = setting("auto", "auto, cpu, cuda, cuda:1, ...", affects=Affects.MACHINE)
    keypoints: KeypointConfig = field(default_factory=KeypointConfig)


def main(argv: Sequence[str]) -> None:
    """Write the figures that `argv` asks for."""
    config = parse_cli(FiguresSettings, argv, program="python -m facekp.figures", about=f"{__doc__}\n\n{TERMS}")

    # Matplotlib and torch take seconds to import.
    from facekp.figures.draw import draw_heads, draw_key_points, draw_surface, save
    from facekp.figures.inputs import class_scores, crop_face, into_crop, read_landmarks
    from facekp.images import read_image
    from facekp.parsing.parser import FaceParser

    photo = expand(config.source)
    image = read_image(photo)
    landmarks = read_landmarks(expand(config.landmarks), photo) if config.landmarks else None
    if landmarks is not None and config.landmarks_size:
        landmarks = (landmarks + 0.5) * (max(image.shape[:2]) / config.landmarks_size) - 0.5
    parser = FaceParser.from_checkpoint(
        config.ckpt, device=config.device, backend=config.backend, keypoints=config.keypoints
    )
    out = make_folder(expand(config.out))
    if config.align == "auto":
        image, crop = crop_face(parser, image, str(photo))
        if landmarks is not None and crop:
            landmarks = into_crop(landmarks, crop)
    (face,) = parser(image)
    scores = class_scores(parser, image, config.class_)
    for name, figure in (
        (f"{config.class_}.heads", draw_heads(image, scores)),
        (f"{config.class_}.surface", draw_surface(image, scores)),
        ("points", draw_key_points(image, face, landmarks)),
    ):
        path = out / f"{photo.stem}.{name}.{config.format}"
        save(figure, path, config.dpi)
        print(path)


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])
