"""`python -m facekp.figures [ckpt=...] source=PHOTO out=FOLDER`: the paper's figures 2, 3 and 4 of a photo."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from omegaconf import MISSING

from facekp.cli import parse_cli
from facekp.errors import one_line_errors, require
from facekp.figures import class_scores, draw_heads, draw_key_points, draw_surface, read_landmarks
from facekp.figures.framing import frame_face, into_frame
from facekp.figures.scores import check_class
from facekp.figures.style import STYLE
from facekp.files import expand, make_folder, replacing
from facekp.images import read_image
from facekp.keypoints.settings import KeypointConfig
from facekp.parsing.choices import ALIGNS, BACKENDS
from facekp.parsing.parser import FaceParser
from facekp.weights.paths import CKPT_HELP, SHIPPED, TERMS

FORMATS = ("png", "svg", "pdf")
# Otherwise a file would say when it was made, and be another each time.
UNDATED = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


@dataclass
class FiguresConfig:
    """Which network, which photo, and how the figures are written."""

    ckpt: str = field(default=SHIPPED, metadata={"help": CKPT_HELP})
    source: str = field(default=MISSING, metadata={"help": "a photo"})
    out: str = field(
        default=MISSING, metadata={"help": "folder for NAME.CLASS.heads.png, NAME.CLASS.surface.png, NAME.points.png"}
    )
    class_: str = field(default="nose", metadata={"help": "the class whose scores are drawn"})
    landmarks: str | None = field(
        default=None, metadata={"help": "CSV or JSON of a landmark detector's points, drawn in red"}
    )
    landmarks_size: int | None = field(
        default=None, metadata={"help": "longer side in pixels of the picture that they are in; null: the photo's"}
    )
    align: str = field(
        default="auto", metadata={"help": "auto: the largest face in the photo; none: the whole photo is one"}
    )
    format: str = field(default="png", metadata={"help": "png, svg or pdf"})
    dpi: int = field(default=300, metadata={"help": "dots an inch of png, and of photos in svg and pdf"})
    backend: str = field(default="auto", metadata={"help": "torch for .ckpt; onnx or openvino for .onnx; auto"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda, cuda:1, ..."})
    keypoints: KeypointConfig = field(default_factory=KeypointConfig)

    def __post_init__(self) -> None:
        """Check values."""
        check_class(self.class_)
        require("align", self.align, self.align in ALIGNS, f"choose one of {', '.join(ALIGNS)}")
        require("format", self.format, self.format in FORMATS, f"choose one of {', '.join(FORMATS)}")
        require("dpi", self.dpi, 50 <= self.dpi <= 1200, "give 50 to 1200")
        require("backend", self.backend, self.backend in BACKENDS, f"choose one of {', '.join(BACKENDS)}")
        side = self.landmarks_size
        require("landmarks_size", side, side is None or side >= 1, "give at least 1, or null")


def save(figure: Figure, path: Path, dpi: int) -> None:
    """Write a figure as its path's ending says: .png, .svg or .pdf."""
    kind = path.suffix[1:]
    with replacing(path) as part, rc_context(STYLE):
        figure.savefig(part, format=kind, dpi=dpi, metadata=UNDATED[kind])


def main(argv: list[str]) -> None:
    """Write the figures that `argv` asks for."""
    config = parse_cli(FiguresConfig, argv, program="python -m facekp.figures", about=f"{__doc__}\n\n{TERMS}")
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
        image, crop = frame_face(parser, image, str(photo))
        if landmarks is not None and crop:
            landmarks = into_frame(landmarks, crop)
    (face,) = parser(image)
    scores = class_scores(parser, image, config.class_)
    figures = {
        f"{config.class_}.heads": draw_heads(image, scores),
        f"{config.class_}.surface": draw_surface(image, scores),
        "points": draw_key_points(image, face, landmarks),
    }
    for name, figure in figures.items():
        path = out / f"{photo.stem}.{name}.{config.format}"
        save(figure, path, config.dpi)
        print(path)


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])
