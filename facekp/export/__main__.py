"""Export a network to ONNX, in float32 or int8: `facekp export [ckpt=...] format=onnx`."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from facekp.classes import Classes
from facekp.cli import parse_cli
from facekp.config import FacesConfig
from facekp.data.layout import check_source
from facekp.errors import require, run_command
from facekp.files import OVERWRITE, contains, expand, keep_foreign, make_folder, replacing
from facekp.parsing.choices import ONNX_SUFFIX, Head, is_onnx
from facekp.settings import Affects, Settings, at_least, check_that, one_of, setting
from facekp.weights.paths import SHIPPED, TERMS, WEIGHTS, locate_checkpoint, require_file


@dataclass
class ExportSettings(Settings):
    """Which checkpoint to export, and how."""

    ckpt: str = setting(SHIPPED, "RUN/checkpoints/best.ckpt, or shipped: facekp's own weights", path=True)
    format: str = setting("onnx", "onnx, which onnxruntime and OpenVINO read", one_of("onnx"))
    precision: str = setting("float32", "float32, or int8 calibrated on training images", one_of("float32", "int8"))
    head: str = setting(
        "scores",
        "scores, which facekp predicts from; labels: the class of each pixel, for other programs",
        one_of(Head),
    )
    out: str | None = setting(
        None,
        "NAME.onnx, or a folder as on the Hugging Face Hub, with weights and model card too; null: NAME.onnx beside "
        "the checkpoint, or here for shipped weights",
        check_that(
            lambda path: is_onnx(path) or not Path(path).suffix,
            f"a path that ends in {ONNX_SUFFIX}, or a folder without a dot in its name",
            why="prediction recognises the file by it",
        ),
        affects=Affects.PLACE,
        path=True,
    )
    overwrite: bool = setting(False, OVERWRITE, affects=Affects.PLACE)
    images: int = setting(128, "number of training images to calibrate int8 on", at_least(1))
    data: FacesConfig = field(default_factory=lambda: FacesConfig(root=os.environ.get("FACEKP_DATA")))


def main(argv: list[str]) -> None:
    """Export the network that `argv` names."""
    settings = parse_cli(ExportSettings, argv, program="facekp export", about=f"{__doc__}\n\n{TERMS}")
    labels = settings.head == "labels"
    require("precision", settings.precision, settings.precision == "float32" or not labels, "head=labels needs float32")
    require_file(locate_checkpoint(settings.ckpt))
    if settings.precision == "int8":
        check_source(settings.data)

    from facekp.export.onnx import MARK, calibration_images, export_onnx, quantise  # torch takes seconds to import
    from facekp.weights.hub import save
    from facekp.weights.load import load_network

    ckpt = locate_checkpoint(settings.ckpt)
    net, described = load_network(ckpt)
    classes = Classes.from_plain(described["classes"])
    size, quantised = int(described["size"]), settings.precision != "float32"
    beside = Path(ckpt.name) if ckpt == WEIGHTS else ckpt  # never into the package
    kind = f".{settings.precision}" if quantised else ".labels" if labels else ""
    out = expand(settings.out) if settings.out else beside.with_suffix(f"{kind}{ONNX_SUFFIX}")
    hub = None if is_onnx(out) else out
    out = out / f"model{kind}{ONNX_SUFFIX}" if hub else out
    keep_foreign({out: contains(MARK)}, overwrite=settings.overwrite)
    if hub:
        save(ckpt, hub, overwrite=settings.overwrite)
    make_folder(out.parent)
    # Read first, so that a missing data set is reported before any work.
    images = calibration_images(settings.data.at_size(size), settings.images) if quantised else []
    with TemporaryDirectory() as folder:
        made = Path(folder) / "float32.onnx"
        export_onnx(net, size, made, described.get("terms", ""), cast(Head, settings.head), classes)
        if quantised:
            float32, made = made, Path(folder) / "int8.onnx"
            quantise(float32, made, images, len(classes))
        with replacing(out, shared=True) as part:
            shutil.copyfile(made, part)
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB, {settings.precision}, for images of {size} pixels")


if __name__ == "__main__":
    run_command(main)
