"""What lies beyond the aligned crop: `python -m benchmarks.surroundings data.root=... [ckpt=...]`.

The inner part of each labelled face is treated as its aligned crop, so that the truth around it is known: the larger
crop is then the whole image. `inside` and `beyond` are IoUs over all faces, `narrow` is inside too, but without the
larger crop. The time is that of a candidate's view, the aligned one and the face's outlines, with the larger crop
against without.
"""

from collections import Counter
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter

import numpy as np
import numpy.typing as npt
from tabulate import tabulate
from tqdm import tqdm

from benchmarks.card.scores import count, score
from benchmarks.harness import run, stamp, write_json
from benchmarks.samples import FaceOptions, read_samples
from facekp.classes import CELEBAMASK_HQ, IGNORE_INDEX
from facekp.images import UInt8Array, read_image, read_label
from facekp.parsing.face_crop import Crop
from facekp.parsing.parser import FaceParser, Stages
from facekp.parsing.scenes import Scene, View
from facekp.parsing.surroundings import REACHING
from facekp.settings import setting
from facekp.weights.paths import CKPT_HELP, SHIPPED

INNER = 1.75  # side of an image in units of its inner part's


@dataclass
class Options(FaceOptions):
    """Network and faces."""

    ckpt: str = setting(SHIPPED, CKPT_HELP)


def parse_inner(stages: Stages, image: UInt8Array, crop: Crop, *, wider: bool) -> UInt8Array:
    """Return the mask (H, W) of a face whose aligned crop is `crop`, parsed after a candidate elsewhere."""
    candidate = Crop(crop.origin + 1, crop.edge)  # a pixel aside
    views = tuple(View(each, stages.cut(image, each)) for each in (candidate, crop))
    (scene,) = stages.score([Scene(image, views, searched=True)])
    scene = replace(scene, views=scene.views[1:])
    if wider:
        (scene,) = stages.look_wider([scene])
    (face,) = stages.trace(scene)
    return face.mask


def main(config: Options) -> None:
    """Print a table and the ratio of times, and write them."""
    stages = FaceParser.from_checkpoint(config.ckpt).stages
    counts = Counter[str]()
    seconds: dict[bool, list[float]] = {True: [], False: []}
    totals: dict[str, npt.NDArray[np.int64]] = {}
    for sample in tqdm(read_samples(config.data, "val", config.images), unit="face"):
        image, label = read_image(sample.image), read_label(sample.label)
        whole = Crop.central((image.shape[0], image.shape[1]))
        crop = Crop.around(whole.middle, whole.edge / INNER)
        margin = round((whole.side - crop.side) / 2)
        inside = np.zeros(label.shape, bool)
        inside[margin:-margin, margin:-margin] = True
        for wider, parts in ((True, {"inside": inside, "beyond": ~inside}), (False, {"narrow": inside})):
            start = perf_counter()
            mask = parse_inner(stages, image, crop, wider=wider)
            seconds[wider].append(perf_counter() - start)
            for name, part in parts.items():
                confusion = count(np.where(part, label, IGNORE_INDEX).astype(np.uint8), mask)
                totals[name] = confusion + totals.get(name, 0)
        counts.update(CELEBAMASK_HQ.names[i] for i in np.unique(label[~inside]) if i != IGNORE_INDEX)
    scores = {part: score(confusions[None])["iou"] for part, confusions in totals.items()}
    own = {name: {part: iou[name] for part, iou in scores.items()} for name in REACHING}
    rows = [{"class": name, "faces": counts[name]} | own[name] for name in REACHING]
    ratio = median(np.divide(seconds[True], seconds[False]))
    print(tabulate(rows, headers="keys", floatfmt=".3f"))
    print(f"time of a face with the larger crop: {ratio:.2f} times that without")
    about = {"ckpt": config.ckpt, "split": "val", "images": config.images}
    write_json(config.out, stamp() | about | {"rows": rows, "time": ratio})


if __name__ == "__main__":
    run(Options, main, __doc__)
