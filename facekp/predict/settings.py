"""The settings of predict.py. This module imports nothing heavy, so that mistakes are reported at once."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from facekp.files import OVERWRITE, expand
from facekp.formats.base import all_formats
from facekp.keypoints.settings import KeypointConfig
from facekp.parsing.choices import AUTO, DETECTORS, TTA_HELP, Align, BackendName, Tta
from facekp.settings import Affects, Settings, above, at_least, check_that, each, one_of, setting
from facekp.weights.paths import CKPT_HELP, SHIPPED

DETECTOR_HELP = f"{', '.join(DETECTORS)}, or the path of a YuNet .onnx file"
DETECTOR = check_that(lambda name: name in DETECTORS or expand(name).is_file(), DETECTOR_HELP)


@dataclass
class ParserSettings(Settings):
    """Source, network and output folder."""

    ckpt: str = setting(SHIPPED, CKPT_HELP, path=True)
    source: str = setting(MISSING, "a photo or video, a folder of them, or a quoted glob", path=True)
    out: str = setting(
        MISSING, "folder for the results; see docs/reference/formats.md", affects=Affects.PLACE, path=True
    )
    align: str = setting(
        "auto", "auto: find the faces; none: each photo is one face, cropped as in CelebA-HQ", one_of(Align)
    )
    detector: str = setting(AUTO, f"face detector: {DETECTOR_HELP}; auto: centerface if installed", DETECTOR)
    tta: str = setting("none", TTA_HELP, one_of(Tta))
    keypoints: KeypointConfig = field(default_factory=KeypointConfig)
    backend: str = setting(
        "auto", "torch for .ckpt; onnx or openvino for .onnx", one_of(BackendName), affects=Affects.MACHINE
    )
    device: str = setting("auto", "auto, cpu, cuda, cuda:1, ...", affects=Affects.MACHINE)


@dataclass
class OneEuroConfig(Settings, group="one_euro"):
    """Temporal smoothing of points.

    A point in steady motion trails by at most 1 / (2 pi beta) face widths: 0.013 by default, or 3 pixels of a face that
    is 200 pixels wide.
    """

    min_cutoff: float = setting(1.0, "cutoff for still points, Hz; lower is smoother", above(0))
    beta: float = setting(12.0, "Hz added to the cutoff per face width per second; higher trails less", at_least(0))


@dataclass
class PredictSettings(ParserSettings):
    """Formats, smoothing, and number of devices."""

    export: list[str] = setting(
        ["mask", "overlay", "json"],
        f"formats to write: any of {', '.join(all_formats())}",
        each(one_of(*all_formats()), such_as="[json,coco]"),
    )
    overwrite: bool = setting(False, OVERWRITE, affects=Affects.PLACE)
    smooth: bool = setting(True, "smooth the key points and landmarks of videos over time")
    one_euro: OneEuroConfig = field(default_factory=OneEuroConfig)
    devices: int = setting(
        1, "number of GPUs (or CPU processes) that share the photos", at_least(1), affects=Affects.SPEED
    )
