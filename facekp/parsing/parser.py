"""`FaceParser`: parsing photos with a trained network."""

from collections.abc import Sequence
from pathlib import Path

from facekp.errors import ConfigError
from facekp.keypoints.settings import KeypointConfig
from facekp.parsing.backends import Backend, open_backend
from facekp.parsing.choices import ALIGNS, HAAR, Align
from facekp.parsing.detectors import Detector, open_detector
from facekp.parsing.face import Face
from facekp.parsing.inputs import ImageLike, as_images, to_array
from facekp.parsing.scenes import in_batches
from facekp.parsing.stages import Stages
from facekp.weights.paths import SHIPPED


class FaceParser:
    """Parse photos with a trained network.

    Args:
        backend: runs the network; None opens the weights that facekp ships, in torch. `from_checkpoint` opens others.
        keypoints: how to trace outlines, and the number of key points.
        detector: searches for faces with align="auto": "haar", the path of a YuNet .onnx file, or a `Detector`.

    Attributes:
        stages: the stages of parsing, for those who run them themselves, as `facekp.predict.pipeline` does.

    Example:
        With random weights, on a drawn face. `FaceParser()` has facekp's own weights, which are for non-commercial
        research and education only, and `FaceParser.from_checkpoint("best.ckpt")` others.

        >>> import torch
        >>> from facekp.parsing.backends import TorchBackend
        >>> from facekp.data.synthetic.write import draw_face
        >>> from facekp.models import build_model
        >>> parser = FaceParser(TorchBackend(build_model("resnet18"), 64, torch.device("cpu")))
        >>> (face,) = parser(draw_face(0, 96).image)
        >>> face.mask.shape, face.mask.dtype
        ((96, 96), dtype('uint8'))
        >>> all(points.shape == (32, 2) for points in face.keypoints.values())
        True
        >>> len(parser(torch.rand(5, 3, 64, 48)))  # a batch gives a face for each of its images
        5
    """

    def __init__(
        self,
        backend: Backend | None = None,
        *,
        keypoints: KeypointConfig | None = None,
        detector: Detector | str = HAAR,
    ) -> None:
        searcher = open_detector(detector) if isinstance(detector, str) else detector
        self.stages = Stages(backend or open_backend(), keypoints or KeypointConfig(), searcher)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path = SHIPPED,
        *,
        device: str = "auto",
        backend: str = "auto",
        keypoints: KeypointConfig | None = None,
        detector: Detector | str = HAAR,
    ) -> "FaceParser":
        """Load a checkpoint of training, or the ONNX file that `facekp.export` made of one.

        Args:
            path: the file, or "shipped" for the weights that facekp ships.
            device: where torch runs; "auto" selects CUDA if there is a GPU.
            backend: torch, onnx or openvino; "auto" selects by the file's suffix.
            keypoints: how to trace outlines, and the number of key points.
            detector: see `FaceParser`.

        Raises:
            CheckpointError: a file of another kind.
            ConfigError: a device that this machine does not have, or a backend or detector that does not fit.
        """
        return cls(open_backend(path, device=device, backend=backend), keypoints=keypoints, detector=detector)

    def __call__(self, image: ImageLike | Sequence[ImageLike], *, align: Align = "none") -> list[Face]:
        """Parse one image, or several that are already aligned.

        Args:
            image: a path, a PIL image, an array (H, W, 3) or a tensor (3, H, W); see `inputs.to_array` for other shapes
                and for number formats. With align="none" also several: a list of them, an array (N, H, W, 3) or a
                tensor (N, 3, H, W).
            align: "none" takes the whole image as one face, aligned as in CelebA-HQ. "auto" finds faces anywhere, of
                any size, rotated by up to about 45 degrees, aligns each, and returns it in pixels of the image.

        Returns:
            With "none" one face for each image, in order; with "auto" the faces of the image, the largest first, or an
            empty list. All in pixels of their image.

        Raises:
            DataError: an image that cannot be read, is smaller than 32 pixels, or has another shape or number format.
            ConfigError: another `align`, or "auto" with several images, whose faces could not be told apart.
        """
        if align not in ALIGNS:
            raise ConfigError(f"align is {align!r}: choose one of {', '.join(ALIGNS)}")
        images = as_images(image)
        if align == "auto" and len(images) != 1:
            raise ConfigError(f"align is 'auto' and {len(images)} images are given: give one per call")
        scenes = (self.stages.look(to_array(one), align) for one in images)
        batches = in_batches(scenes, self.stages.backend.batch, lambda scene: scene.shape)
        return [face for batch in batches for scene in self.stages.parse(batch) for face in self.stages.trace(scene)]
