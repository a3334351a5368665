"""`predict/*`: from a photo in memory to its mask and key points in every backend, compared with BiSeNet.

`folder/*`: photos read, parsed and written, compared with the bare network. `keypoints/*`: outlines and key points.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from benchmarks.harness import OURS, STRIDES, Bench, Call, Row, alternate, build, least_seconds, make_row, peak_memory
from benchmarks.loss import draw_labels
from facekp.classes import CELEBAMASK_HQ
from facekp.data.synthetic.write import draw_face
from facekp.errors import ConfigError
from facekp.export.onnx import export_onnx, quantise
from facekp.images import UInt8Array
from facekp.keypoints.score_grid import Scores, argmax_at, sum_on_grid
from facekp.keypoints.settings import METHODS, KeypointConfig
from facekp.models import fuse
from facekp.parsing.backends import Backend, TorchBackend, open_backend
from facekp.parsing.face import face_from_mask
from facekp.parsing.parser import FaceParser
from facekp.predict.pipeline import list_jobs, parse_files
from facekp.predict.results import Results

PHOTOS, PHOTO_SIZE = 24, 512
CALIBRATION = 8  # drawn faces that int8 is calibrated on; they affect scores, not time


class Drawn:
    """A backend that runs its network and returns a drawn face's scores, or background for the one image `nothing`.

    The network's random weights would give a noisy mask with thousands of outlines; a photo has twenty.
    `stride` is that of the network's score map.
    """

    def __init__(self, backend: Backend, nothing: UInt8Array | None = None, stride: int = STRIDES[OURS]) -> None:
        self.backend, self.nothing, self.scores = backend, nothing, drawn_scores(backend.size, stride)
        self.size, self.batch, self.streams = backend.size, backend.batch, backend.streams
        self.classes = backend.classes

    def __call__(self, images: UInt8Array) -> list[Scores]:
        """Return the scores for images (n, h, w, 3) uint8 RGB."""
        self.backend(images)
        if self.nothing is None:
            return [np.broadcast_to(self.scores, (len(images), *self.scores.shape))]
        faces = np.array([not np.array_equal(image, self.nothing) for image in images])
        return [self.scores * faces[:, None, None, None]]


def drawn_scores(size: int, stride: int = STRIDES[OURS]) -> Scores:
    """Return a score map (size/stride, size/stride, 19) float32 whose argmax is a drawn face."""
    likely = F.one_hot(draw_labels(1, size), len(CELEBAMASK_HQ)).movedim(-1, 1).float()
    return np.asarray(8 * F.avg_pool2d(likely, stride)[0].permute(1, 2, 0).contiguous().numpy())


def predict_rows(bench: Bench) -> Iterator[Row]:
    """Yield the network and photo to mask of every backend, then the fastest backend's mask and its key points."""
    photo = draw_face(0, bench.size).image
    masks: dict[str, tuple[Row, Backend]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in backend_names(bench):
            opener = partial(open_network, bench, Path(folder), name)
            try:
                ours, peer = opener(OURS), opener("bisenet")
            except ConfigError as error:
                print(f"predict/{name}: left out, {error}", file=sys.stderr)
                continue
            about = {"peer_name": f"BiSeNet-ResNet18, {name}", "limit": _limit(bench, name)}
            runs = alternate([partial(ours, photo[None]), partial(peer, photo[None])], bench, scale=1000)
            yield make_row(f"predict/{name}/network", "ms", runs, **about)
            prepare = [partial(prepare_mask, opener, network, photo) for network in (OURS, "bisenet")]
            runs = alternate([one() for one in prepare], bench, scale=1000)
            memory = dict(zip(("ours", "peer"), (peak_memory(one, bench.device) for one in prepare), strict=True))
            masks[name] = make_row(f"predict/{name}/mask", "ms", runs, memory=memory, **about), ours
            yield masks[name][0]
        fastest = min(masks, key=lambda name: masks[name][0].ours)
        row, backend = masks[fastest]
        yield replace(row, name="predict/bisenet", note=f"photo to mask, {fastest}, the fastest")
        (ours_ms,) = alternate([partial(FaceParser(Drawn(backend)), photo, align="none")], bench, scale=1000)
        note = f"photo to mask and key points, {fastest}; {1000 / np.median(ours_ms):.1f} images/s"
        yield make_row("predict/fps", "ms", [ours_ms], note=note)


def backend_names(bench: Bench) -> list[str]:
    """Return the backends and precisions of this machine."""
    if bench.device.type != "cpu":
        return ["torch-float32", "torch-float16"]
    return [f"torch-{one}" for one in bench.dtypes] + ["onnx-float32", "onnx-int8", "openvino-float32", "openvino-int8"]


def prepare_mask(opener: Callable[[str], Backend], network: str, photo: UInt8Array) -> Call:
    """Return a call that computes the mask (H, W) of a photo of the network's size, ours or the peer's."""
    backend = Drawn(opener(network), stride=STRIDES[network])

    def ours() -> UInt8Array:
        return argmax_at(sum_on_grid([scores[0] for scores in backend(photo[None])]), photo.shape[:2])

    def peer() -> UInt8Array:  # one score map, OpenCV's resize and NumPy's argmax, the fastest that libraries offer
        upsampled = cv2.resize(backend(photo[None])[0][0], photo.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return np.asarray(np.asarray(upsampled).argmax(2), np.uint8)

    return ours if network == OURS else peer


def open_network(bench: Bench, folder: Path, name: str, network: str) -> Backend:
    """Open a network in a backend and a precision, such as "onnx-int8"; its files are kept in `folder`."""
    backend, precision = name.split("-")
    if backend == "torch":
        return TorchBackend(build(network), bench.size, bench.device, precision)  # type: ignore[arg-type]
    plain, path = folder / f"{network}.float32.onnx", folder / f"{network}.{precision}.onnx"
    if not plain.exists():
        torch.manual_seed(0)
        export_onnx(build(network), bench.size, plain)
    if not path.exists():
        photos = np.stack([draw_face(seed, bench.size).image for seed in range(CALIBRATION)])
        quantise(plain, path, photos)
    return open_backend(path, backend=backend)


def _limit(bench: Bench, name: str) -> dict[str, float]:
    """Return our network's minimum milliseconds at the measured convolution rate; int8's rate is not measured."""
    dtype = name.partition("-")[2]
    if name == "openvino-float32" and "bfloat16" in bench.dtypes:
        dtype = "bfloat16"  # OpenVINO computes in it wherever the processor does
    if dtype not in bench.rates.convolution:
        return {}
    return {"convolution": 1000 * least_seconds(OURS, bench.size, bench.rates.convolution[dtype])}


def folder_rows(bench: Bench) -> Iterator[Row]:
    """Yield `folder/files` (mask and JSON of each photo) and `folder/overlays` (also the overlay), per image."""
    backend = TorchBackend(build(OURS), bench.size, bench.device)
    parser = FaceParser(Drawn(backend))
    faces = [draw_face(seed % 4, PHOTO_SIZE).image for seed in range(4 if bench.quick else PHOTOS)]
    prepared = [parser.stages.resized(face)[None] for face in faces]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = [folder / f"{i}.jpg" for i in range(len(faces))]
        for face, photo in zip(faces, photos, strict=True):
            Image.fromarray(face).save(photo, quality=95)
        for case, export in (("files", ["mask", "json"]), ("overlays", ["mask", "overlay", "json"])):
            whole = partial(parse_files, parser, list_jobs(photos, folder), Results(folder, export))
            calls: list[Call] = [whole, lambda: [backend(image) for image in prepared]]
            ours, bare = alternate(calls, bench, scale=1000 / len(faces))
            share = np.median(np.divide(bare, ours))
            note = f"{len(faces)} JPEGs of {PHOTO_SIZE} pixels; throughput {share:.2f} of bare"
            about = {"peer_name": f"the bare network, torch {backend.precision}", "note": note}
            yield make_row(f"folder/{case}", "ms/image", [ours, bare], **about)


def keypoint_rows(bench: Bench) -> Iterator[Row]:
    """Yield `keypoints/ms` (without a peer), the same by the other method, and `keypoints/argmax`."""
    scores, size = [drawn_scores(bench.size)], (bench.size, bench.size)
    grid = sum_on_grid(scores)
    mask, confidence = argmax_at(grid, size), dict.fromkeys(range(len(CELEBAMASK_HQ)), 1.0)
    default = KeypointConfig().method
    for method in sorted(METHODS, key=lambda method: method != default):
        call = partial(face_from_mask, mask, confidence, KeypointConfig(method=method), grid)
        attributes = call().attributes
        outlines = sum(len(attribute.contours) for attribute in attributes.values())
        note = f"{method}: {len(attributes)} attributes, {outlines} outlines"
        name = "keypoints/ms" if method == default else f"keypoints/{method}"
        yield make_row(name, "ms", alternate([call], bench, scale=1000), note=note)
    maps = [torch.from_numpy(s).permute(2, 0, 1)[None] for s in scores]
    plain = torch.inference_mode()(lambda: fuse(maps, size).argmax(1))
    runs = alternate([lambda: argmax_at(sum_on_grid(scores), size), plain], bench, scale=1000)
    about = {"peer_name": "PyTorch's interpolate, sum and argmax", "note": "score maps to mask"}
    yield make_row("keypoints/argmax", "ms", runs, **about)
