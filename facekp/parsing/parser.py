"""`FaceParser`, which parses photos with a trained network, and its stages."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Literal, overload

import numpy as np

from facekp.errors import ConfigError, require
from facekp.files import expand
from facekp.images import UInt8Array, resize
from facekp.keypoints.score_grid import argmax_at, mean_confidence
from facekp.keypoints.settings import KeypointConfig
from facekp.models.stride import STRIDE
from facekp.parsing.alignment import distinct, require_parts
from facekp.parsing.backends import Backend, OpenVinoBackend, open_backend
from facekp.parsing.choices import ALIGNS, AUTO, TTAS, Align
from facekp.parsing.detectors import Detector, open_detector
from facekp.parsing.face import Face, face_from_mask
from facekp.parsing.face_crop import Crop, cut
from facekp.parsing.inputs import ImageLike, as_images, is_several, to_array
from facekp.parsing.scenes import Scene, View, in_batches, suppress_neighbours
from facekp.parsing.surroundings import LOOKS, around, drop_strays, is_cut, join
from facekp.parsing.tta import Flip
from facekp.weights.paths import SHIPPED

WHOLE: Final = 0.1
"""A crop counts as the whole photo if the mean distance of their corners is below this share of the side."""
SMALL, SMALL_SIZE = 0.16, 0.75
"""A part of a photo whose side is below this share of the network's size is parsed at three quarters of it, since faces
enlarged more look too blurred to the network. On 50 validation faces, mIoU at 512 and at 384 pixels is 0.51 and 0.59
for faces of 61 pixels, 0.66 and 0.64 for 96, 0.66 for both for 128, and 0.67 for both for 192."""
TURNED_SIDE: Final = 1600
"""Maximum longer side in pixels of a photo when it is searched for turned faces."""


class FaceParser:
    """Parse photos with a trained network.

    Args:
        backend: runs the network; None selects the shipped weights in torch. `from_checkpoint` opens others.
        keypoints: how to trace outlines, and the number of key points.
        detector: face detector: "auto", "centerface", "haar", the path of a YuNet .onnx file, or a
            `Detector`; see `open_detector`.
        tta: test-time augmentation: "flip" averages the scores with those of the mirrored image, in twice the time.

    Attributes:
        checkpoint: the file that the network is from; None if a backend was given.
        stages: the stages of parsing, for callers that run them separately, such as `facekp.predict.pipeline`.

    Example:
        With random weights, on a drawn face. `FaceParser()` uses the shipped weights, which are for non-commercial
        research and education only; `FaceParser.from_checkpoint("best.ckpt")` loads others.

        >>> import torch
        >>> from facekp.parsing.backends import TorchBackend
        >>> from facekp.data.synthetic.write import draw_face
        >>> from facekp.models import build_model
        >>> parser = FaceParser(TorchBackend(build_model("resnet18"), 64, torch.device("cpu")))
        >>> (face,) = parser(draw_face(0, 96).image, align="none")  # a crop; without `align`, faces are searched for
        >>> face.mask.shape, face.mask.dtype
        ((96, 96), dtype('uint8'))
        >>> all(points.shape == (32, 2) for points in face.keypoints.values())
        True
        >>> len(parser(torch.rand(5, 3, 64, 48), align="none"))  # a face for each image of a batch
        5
    """

    def __init__(
        self,
        backend: Backend | None = None,
        *,
        keypoints: KeypointConfig | None = None,
        detector: Detector | str = AUTO,
        tta: str = "none",
    ) -> None:
        if isinstance(backend, str | Path):
            raise TypeError(f"FaceParser takes a backend: open '{backend}' with FaceParser.from_checkpoint")
        require("tta", tta, tta in TTAS, f"choose one of {', '.join(TTAS)}")
        self.checkpoint: str | Path | None = SHIPPED if backend is None else None
        backend = backend or open_backend()
        if isinstance(detector, str):
            searcher = open_detector(detector, openvino=isinstance(backend, OpenVinoBackend))
        else:
            searcher = detector
        self.stages = Stages(Flip(backend) if tta == "flip" else backend, keypoints or KeypointConfig(), searcher)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path = SHIPPED,
        *,
        device: str = "auto",
        backend: str = "auto",
        keypoints: KeypointConfig | None = None,
        detector: Detector | str = AUTO,
        tta: str = "none",
    ) -> "FaceParser":
        """Load a training checkpoint, or an ONNX file exported by `facekp.export`.

        For `path`, `device` and `backend` see `open_backend`; for the rest see `FaceParser`.

        Raises:
            CheckpointError: a file of another kind.
            ConfigError: a device that this machine does not have, or a backend or detector that does not fit.
        """
        opened = open_backend(path, device=device, backend=backend)
        parser = cls(opened, keypoints=keypoints, detector=detector, tta=tta)
        parser.checkpoint = path
        return parser

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        **settings: Any,
    ) -> "FaceParser":
        """Load a folder that `save_pretrained` or `facekp export` wrote, or a model of the Hugging Face Hub.

        Args:
            name: the folder, or "user/name" on the hub, which needs the extra `hub`.
            revision: branch, tag or commit on the hub.
            cache_dir: folder for downloads; None for the hub's own, which `HF_HOME` moves.
            token: access token, for private models.
            local_files_only: whether to look into the cache alone, as `HF_HUB_OFFLINE=1` does.
            settings: those of `from_checkpoint`.

        Raises:
            CheckpointError: no such folder or model, or the hub cannot be reached.
        """
        from facekp.weights.hub import fetch

        options = {"revision": revision, "cache_dir": cache_dir, "token": token, "local_files_only": local_files_only}
        return cls.from_checkpoint(fetch(name, **options), **settings)

    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write model.safetensors, config.json and README.md, a model card, into a folder.

        Raises:
            CheckpointError: the parser runs an ONNX file.
            ConfigError: the parser was given an open backend.
            DataError: the folder cannot be written, or, without `overwrite`, has such files of others.
        """
        from facekp.weights.hub import save

        save(self._saved(), expand(str(folder)), overwrite=overwrite)

    def push_to_hub(self, name: str, *, private: bool = False, **options: Any) -> str:
        """Upload what `save_pretrained` writes to "user/name" on the Hugging Face Hub, and return its URL.

        Args:
            name: the model's name; it is created if it is missing.
            private: whether only you can see a model that is created.
            options: those of `huggingface_hub.HfApi.upload_folder`, such as `commit_message`, `revision` and `token`.
        """
        from facekp.weights.hub import push

        return push(self._saved(), name, private=private, **options)

    def _saved(self) -> str | Path:
        if self.checkpoint is None:
            raise ConfigError("this parser was given an open backend: open its file with FaceParser.from_checkpoint")
        return self.checkpoint

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a str is a sequence of str
        self, image: ImageLike, *, align: Align = "auto"
    ) -> list[Face]: ...

    @overload
    def __call__(self, image: Sequence[ImageLike], *, align: Literal["auto"] = "auto") -> list[list[Face]]: ...

    @overload
    def __call__(self, image: Sequence[ImageLike], *, align: Literal["none"]) -> list[Face]: ...

    def __call__(
        self, image: ImageLike | Sequence[ImageLike], *, align: Align = "auto"
    ) -> list[Face] | list[list[Face]]:
        """Parse one image, or several.

        Args:
            image: a path, a PIL image, an array (H, W, 3) or a tensor (3, H, W); see `inputs.to_array` for other shapes
                and for dtypes. Or several images: a list, an array (N, H, W, 3) or a tensor (N, 3, H, W).
            align: "auto" finds and aligns faces anywhere in an image, of any size, rotated by up to about 45 degrees,
                or all sideways or upside down. "none" treats each whole image as one face, cropped as in CelebA-HQ.

        Returns:
            With "auto", the faces in the image, largest first; the list may be empty. Several images give a list of
            such lists. With "none", one face per image, in order. Coordinates are in pixels of the image.

        Raises:
            DataError: an image that cannot be read, is smaller than 32 pixels, or has another shape or dtype.
            ConfigError: another `align`, or "auto" with classes that do not show the parts of a face.
        """
        require("align", align, align in ALIGNS, f"choose one of {', '.join(ALIGNS)}")
        images = as_images(image)
        scenes = (self.stages.look(to_array(one), align) for one in images)
        batches = in_batches(scenes, self.stages.backend.batch)
        parsed = (scene for batch in batches for scene in self.stages.parse(batch))
        faces = [
            [replace(face, image=source) for face in self.stages.trace(scene)]
            for source, scene in zip(images, parsed, strict=True)
        ]
        if align == "auto" and is_several(image):
            return faces
        return [face for own in faces for face in own]


@dataclass
class Stages:
    """The stages of parsing a photo: `look`, `parse` (align and score), `trace`. Each may run in several threads."""

    backend: Backend
    keypoints: KeypointConfig
    detector: Detector

    def look(self, image: UInt8Array, align: Align) -> Scene:
        """Return a photo (H, W, 3) uint8 RGB with views that may show faces; at least one."""
        if align == "none":
            return Scene(image, (View(None, self.resized(image)),))
        require_parts(self.backend.classes)
        scene = Scene(image, searched=True, classes=self.backend.classes)
        # A portrait fills the middle of its photo, whatever the detector finds.
        return self._with_views(scene, distinct([*self.detector(image), Crop.central(scene.size)]))

    def parse(self, scenes: Sequence[Scene]) -> list[Scene]:
        """Run all stages between `look` and `trace`.

        A photo without an upright face is searched again for faces turned by a quarter or a half.
        """
        aligned = [self._align(scene) if scene.searched else scene for scene in self.score(scenes)]
        turned = {scene: self._look_turned(scene) for scene in aligned if scene.searched and not scene.views}
        found = dict(zip(turned, map(self._align, self.score(list(turned.values()))), strict=True))
        scored = self.score([found.get(scene, scene) for scene in aligned])
        return self.look_wider([scene.confirmed() for scene in scored])

    def score(self, scenes: Sequence[Scene]) -> list[Scene]:
        """Run the network on the views without scores, in batches of one shape."""
        new = [view for scene in scenes for view in scene.views if not view.scores]
        scored = {}
        for _, alike in groupby(sorted(new, key=_shape), _shape):
            for batch in in_batches(alike, self.backend.batch):
                maps = self.backend(np.stack([view.pixels for view in batch]))
                scored.update({view: replace(view, scores=tuple(m[i] for m in maps)) for i, view in enumerate(batch)})
        return [replace(scene, views=tuple(scored.get(view, view) for view in scene.views)) for scene in scenes]

    def look_wider(self, scenes: Sequence[Scene]) -> list[Scene]:
        """Return scenes whose faces have a view of the larger crop around them, and of a far one if that cuts them."""
        for look in LOOKS:
            faces, wider = [], []
            for scene in scenes:
                for view in scene.views:
                    if scene.searched and self._goes_on(view, scene):
                        inner = view.wider[-1].crop if view.wider else None
                        crop = around(scene.crop_of(view), scene.size, look, inner)
                        faces.append(view)
                        wider.append(replace(scene, views=(View(crop, self.cut(scene.image, crop, look.share)),)))
            seen = {face: one.views for face, one in zip(faces, self.score(wider), strict=True)}
            scenes = [
                replace(scene, views=tuple(replace(v, wider=v.wider + seen.get(v, ())) for v in scene.views))
                for scene in scenes
            ]
        return list(scenes)

    def trace(self, scene: Scene) -> list[Face]:
        """Return the faces in a parsed scene, the largest first."""
        return [self._trace(scene, view) for view in scene.views]

    def resized(self, image: UInt8Array) -> UInt8Array:
        """Return `image` (H, W, 3) uint8 RGB with its longer side at the size for it, both multiples of 32."""
        longest = max(image.shape[:2])
        steps = self.size_for(longest) / longest / STRIDE
        height, width = (max(1, round(side * steps)) * STRIDE for side in image.shape[:2])
        # Copies a read-only array, such as a PIL image's, which torch does not accept.
        return np.require(resize(image, (height, width)), requirements=["C", "W"])

    def cut(self, image: UInt8Array, crop: Crop, share: float = 1) -> UInt8Array:
        """Return a crop of `image` (H, W, 3) uint8 RGB at `share` of the size for its side."""
        return cut(image, crop, self.size_for(crop.side, share))

    def size_for(self, side: float, share: float = 1) -> int:
        """Return the side in pixels at which the network sees a part of a photo, whose side there is `side` pixels.

        It is a multiple of 32, and `share` of the usual side.
        """
        share *= 1 if side >= SMALL * self.backend.size else SMALL_SIZE
        return self.backend.size if share == 1 else max(1, round(share * self.backend.size / STRIDE)) * STRIDE

    def _goes_on(self, view: View, scene: Scene) -> bool:
        """Return whether a face's attributes may go on beyond all that has been seen of it."""
        if not view.wider:
            return view.crop is not None
        last = view.wider[-1]
        return is_cut(last.grid, scene.crop_of(last), scene.size, self.backend.classes)

    def _look_turned(self, scene: Scene) -> Scene:
        """Return a scene with views that may show faces turned by one, two or three quarters."""
        shrink = max(1.0, max(scene.size) / TURNED_SIDE)
        small = resize(scene.image, (max(1, round(scene.size[0] / shrink)), max(1, round(scene.size[1] / shrink))))
        crops = []
        for quarters in (1, 3, 2):
            image = np.ascontiguousarray(np.rot90(small, quarters))
            whole, turn = Crop.central((image.shape[0], image.shape[1])), shrink * 1j**quarters
            middle = Crop.central(scene.size).middle
            for crop in distinct([*self.detector(image), whole]):
                crops.append(Crop(middle + turn * (crop.origin - whole.middle), turn * crop.edge))
        return self._with_views(scene, crops)

    def _align(self, scene: Scene) -> Scene:
        """Drop the views without a face, and align the others by the eyes, nose and mouth that the network saw."""
        largest_first = sorted((crop for _, crop in scene.aligned()), key=lambda crop: -crop.side)
        return self._with_views(scene, distinct(largest_first))

    def _with_views(self, scene: Scene, crops: Sequence[Crop]) -> Scene:
        """Return a scene with views of these crops; existing views keep their scores."""
        views = {view.crop: view for view in scene.views}
        whole = Crop.central(scene.size)
        square = scene.size[0] == scene.size[1]
        # A photo that is already aligned is used as it is.
        wanted = [None if square and crop.distance_to(whole) < WHOLE else crop for crop in crops]
        for crop in (crop for crop in wanted if crop not in views):
            views[crop] = View(crop, self.cut(scene.image, crop) if crop else self.resized(scene.image))
        return replace(scene, views=tuple(views[crop] for crop in wanted))

    def _trace(self, scene: Scene, view: View) -> Face:
        """Turn the scores of one view into a face in the photo."""
        grid, own, size, keypoints = view.grid, scene.crop_of(view), scene.size, self.keypoints
        classes = self.backend.classes
        if view.crop is None and len(scene.views) == 1:
            return face_from_mask(argmax_at(grid, size), mean_confidence(grid), keypoints, grid, classes)
        others, part = [scene.crop_of(other) for other in scene.views if other is not view], own
        for wide, look in zip(view.wider, LOOKS, strict=False):
            larger = scene.crop_of(wide)
            grid, part = join(grid, wide.grid, part, larger, classes, doubt=look.doubt), larger
        if view.wider:
            drop_strays(grid, own, part, classes)
        wider = part.side / own.side
        keypoints = replace(keypoints, min_area=keypoints.min_area / wider**2)  # a share of the aligned crop
        # At least as fine as the photo, to keep every pixel, and, up to twice the crop, as the network's input.
        side = round(max(self.backend.size * min(wider, 2), min(math.ceil(own.side), max(size)) * wider))
        grid = suppress_neighbours(grid, part, own, others)
        face = face_from_mask(argmax_at(grid, (side, side)), mean_confidence(grid), keypoints, grid, classes)
        return replace(face.to_photo(part, size, keypoints), box=own.box(size))


def _shape(view: View) -> tuple[int, ...]:
    return view.pixels.shape
