"""The settings of predict.py. This module imports nothing heavy, so that mistakes are reported at once."""

import math
import re
from dataclasses import dataclass, field

from omegaconf import MISSING

from facekp.classes import CELEBAMASK_HQ, Classes
from facekp.data.class_sets import ID_TABLES
from facekp.errors import require
from facekp.files import OVERWRITE, expand
from facekp.formats.base import FORMATS, FormatOptions, RegionFormat, all_formats
from facekp.keypoints.settings import KeypointConfig
from facekp.parsing.choices import AUTO, DETECTORS, TTA_HELP, Align, BackendName, Tta
from facekp.parsing.id_tables import OWN, read_ids
from facekp.parsing.regions import class_ids
from facekp.settings import Affects, Settings, above, at_least, check_that, each, one_of, setting
from facekp.weights.paths import CKPT_HELP, SHIPPED

DETECTOR_HELP = f"{', '.join(DETECTORS)}, or the path of a YuNet .onnx file"
DETECTOR = check_that(lambda name: name in DETECTORS or expand(name).is_file(), DETECTOR_HELP)

SHARD = check_that(
    lambda shard: (k_n := re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", shard)) is not None and int(k_n[1]) <= int(k_n[2]),
    "K/N with K from 1 to N",
    "3/16",
)


@dataclass
class ParserSettings(Settings):
    """Source, network and output folder."""

    ckpt: str = setting(SHIPPED, CKPT_HELP, path=True)
    source: str = setting(MISSING, "photo or video, a folder of them, a quoted glob, or a stream's address", path=True)
    out: str = setting(MISSING, "folder of results; see docs/reference/formats.md", affects=Affects.PLACE, path=True)
    align: str = setting("auto", "auto: find faces; none: each photo is a face cropped as in CelebA-HQ", one_of(Align))
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
    regions: list[str] = setting([], "regions that masks, alpha and cutout write, such as [hair,face,lips+nose]")
    feather: float = setting(
        0.0, "blur of the edges of alpha and cutout: pixels, or below 1 a share of the face's side", at_least(0)
    )
    grow: float = setting(
        0.0,
        "distance by which these edges move outwards, in the same units; negative: inwards",
        check_that(math.isfinite, "a finite number"),
    )
    ids: str = setting(OWN, f"ids in the mask: {', '.join((OWN, *ID_TABLES))}, or a YAML or JSON file")
    overwrite: bool = setting(False, OVERWRITE, affects=Affects.PLACE)
    smooth: bool = setting(True, "smooth the key points and landmarks of videos over time")
    one_euro: OneEuroConfig = field(default_factory=OneEuroConfig)
    shard: str | None = setting(
        None, "K/N: every N-th photo and video from the K-th on; `facekp merge OUT` joins the N", SHARD
    )
    devices: int = setting(1, "GPUs (or CPU processes) that share the photos", at_least(1), affects=Affects.SPEED)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ckpt == SHIPPED:  # the classes of others are known once they are opened
            self.formats_of(CELEBAMASK_HQ)
        by_region = [name for name in self.export if issubclass(FORMATS[name], RegionFormat)]
        needed = f"name those that export=[{','.join(by_region)}] writes, as in regions=[hair,face]"
        require("regions", self.regions, bool(self.regions) or not by_region, needed)
        require(
            "export", self.export, bool(by_region) or not self.regions, "add masks, alpha or cutout, or drop regions="
        )
        require("export", self.export, self.ids == OWN or "mask" in self.export, "add mask, or drop ids=")

    def formats_of(self, classes: Classes) -> FormatOptions:
        """Return the settings of formats of faces with these classes.

        Raises:
            ConfigError: a region or a table of ids that does not fit them.
        """
        for region in self.regions:
            class_ids(region, classes)
        read_ids(self.ids, classes)
        return FormatOptions(self.regions, self.feather, self.grow, self.ids, classes)
