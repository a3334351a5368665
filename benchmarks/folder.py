"""`folder/*`: a folder of photos, read, parsed and written, against the bare network on as many images."""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.harness import Bench, Row, alternate, make_row
from benchmarks.predict import Drawn, drawn_scores
from facekp.data.synthetic.write import draw_face
from facekp.images import UInt8Array
from facekp.models import build_model
from facekp.parsing.backends import Backend, TorchBackend
from facekp.parsing.parser import FaceParser
from facekp.predict.pipeline import list_jobs, parse_files
from facekp.predict.results import Results

PHOTOS = 24
PHOTO_SIZE = 512


def rows(bench: Bench) -> Iterator[Row]:
    """Yield `folder/files` (mask and JSON of each photo) and `folder/overlays` (those and the overlay), per image."""
    backend = TorchBackend(build_model("resnet18"), bench.size, bench.device)
    parser = FaceParser(Drawn(backend, drawn_scores(bench.size)))
    count = 4 if bench.quick else PHOTOS
    faces = [draw_face(seed, PHOTO_SIZE).image for seed in range(4)]
    prepared = [parser.stages.resized(faces[i % len(faces)])[None] for i in range(count)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = [folder / f"{i}.jpg" for i in range(count)]
        for i, photo in enumerate(photos):
            Image.fromarray(faces[i % len(faces)]).save(photo, quality=95)
        jobs = list_jobs(photos, folder)
        for case, export in (("files", ["mask", "json"]), ("overlays", ["mask", "overlay", "json"])):
            whole = partial(parse_files, parser, jobs, Results(folder, export))
            ours, bare = alternate(whole, partial(_run, backend, prepared), bench)
            yield make_row(
                f"folder/{case}",
                "ms/image",
                [1000 * t / count for t in ours],
                [1000 * t / count for t in bare],
                peer_name=f"the bare network, torch {backend.precision}",
                note=f"{count} JPEGs of {PHOTO_SIZE} pixels; throughput {np.median(np.divide(bare, ours)):.2f} of bare",
            )


def _run(backend: Backend, images: list[UInt8Array]) -> None:
    for image in images:
        backend(image)
