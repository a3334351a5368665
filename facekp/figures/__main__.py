"""Figures 2, 3 and 4 of the paper for any photo: `facekp figures source=PHOTO out=FOLDER [ckpt=...]`."""

from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import MISSING

from facekp.cli import parse_cli
from facekp.errors import require, run_command
from facekp.files import OVERWRITE, contains, expand, keep_foreign, make_folder, replacing
from facekp.predict.settings import ParserSettings
from facekp.settings import Affects, at_least, between, one_of, setting
from facekp.weights.paths import TERMS

UNDATED = {  # the same figure gives the same file
    "png": {"Software": "facekp"},
    "svg": {"Date": None, "Creator": "facekp"},
    "pdf": {"CreationDate": None, "Creator": "facekp"},
}


@dataclass
class FiguresSettings(ParserSettings):
    """Network, photo and format of the figures."""

    source: str = setting(MISSING, "a photo; if it has several faces, the largest is drawn", path=True)
    out: str = setting(MISSING, "folder for NAME.CLASS.heads.png, .surface.png, ...", affects=Affects.PLACE, path=True)
    class_: str = setting("nose", "the class whose scores are drawn")
    landmarks: str | None = setting(None, "CSV of a landmark detector's points, drawn in red", path=True)
    landmarks_size: int | None = setting(None, "longer side of their image, pixels; null: the photo's", at_least(1))
    format: str = setting("png", "png, svg or pdf", one_of(*UNDATED))
    overwrite: bool = setting(False, OVERWRITE, affects=Affects.PLACE)
    dpi: int = setting(300, "dots per inch of png, and of photos in svg and pdf", between(50, 1200))


def main(argv: Sequence[str]) -> None:
    """Write the figures that `argv` asks for."""
    config = parse_cli(FiguresSettings, argv, program="facekp figures", about=f"{__doc__}\n\n{TERMS}")
    from facekp.images import read_image

    photo, out = expand(config.source), expand(config.out)
    image = read_image(photo)
    names = (f"{config.class_}.heads", f"{config.class_}.surface", "points")
    paths = [out / f"{photo.stem}.{name}.{config.format}" for name in names]
    keep_foreign(dict.fromkeys(paths, contains(b"facekp")), overwrite=config.overwrite)
    from matplotlib import rc_context

    from facekp.figures import draw  # torch and SciPy take two seconds
    from facekp.predict.pipeline import open_parser

    landmarks = draw.read_landmarks(expand(config.landmarks), photo) if config.landmarks else None
    if landmarks is not None and config.landmarks_size:
        landmarks = (landmarks + 0.5) * (max(image.shape[:2]) / config.landmarks_size) - 0.5
    parser = open_parser(config, config.device)
    known = parser.stages.backend.classes.names
    require("class", config.class_, config.class_ in known, f"choose one of {', '.join(known)}")
    make_folder(out)
    if config.align == "auto":
        image, landmarks = draw.crop_face(parser, image, landmarks, photo)
    (face,) = parser(image, align="none")
    heads, total = draw.class_scores(parser, image, config.class_)
    with rc_context(draw.STYLE):
        figures = (
            draw.draw_heads(image, config.class_, heads, total),
            draw.draw_surface(image, config.class_, total),
            draw.draw_key_points(image, face, landmarks),
        )
        for path, figure in zip(paths, figures, strict=True):
            with replacing(path, shared=True) as part:
                figure.savefig(part, format=config.format, dpi=config.dpi, metadata=UNDATED[config.format])
            print(path)


if __name__ == "__main__":
    run_command(main)
