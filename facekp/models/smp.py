"""Networks from segmentation_models_pytorch."""

import difflib
from typing import Literal

from torch import Tensor, nn

from facekp.errors import ConfigError, require
from facekp.models.heads import Heads, check_input
from facekp.models.registry import Network, register
from facekp.models.resnet import check_pretrained


@register("smp")
class Smp(Network):
    """A network of segmentation_models_pytorch (the extra "smp"): one score map, usually at the images' resolution.

    Shape:
        images: (N, 3, H, W) float, normalised; H and W multiples of 32; in training, N at least 2 for some.
        Returns: one map that predicts, (N, C, h, w).

    Args:
        arch: an architecture that `smp.create_model` knows: Unet, FPN, DeepLabV3Plus, ...
        encoder: one of `smp.encoders.get_encoder_names()`, or "tu-" and the name of a network of timm.
        pretrained: False for random weights, "imagenet" for an encoder from the Hugging Face hub (a download).
        classes: C, the number of classes.

    Raises:
        ConfigError: the package is not installed, a setting is unknown, or weights cannot be fetched.

    Reference: Iakubovskii 2019, github.com/qubvel-org/segmentation_models.pytorch.
    """

    head_names = ("main",)
    head_parts = ("model.decoder", "model.segmentation_head")

    def __init__(
        self,
        arch: str = "Unet",
        encoder: str = "resnet18",
        pretrained: Literal[False, "imagenet"] = False,
        classes: int = 19,
    ) -> None:
        super().__init__()
        check_pretrained(pretrained)
        try:
            # Imported here, because it is optional and takes seconds.
            import segmentation_models_pytorch as smp
        except ImportError as error:
            missing = f"segmentation_models_pytorch cannot be imported ({error})"
            raise ConfigError(f"model.name is 'smp', but {missing}: pip install 'facekp[smp]'") from error
        archs = {key: network.__name__ for key, network in smp.MODEL_ARCHITECTURES_MAPPING.items()}
        require("model.arch", arch, str(arch).lower() in archs, f"choose one of {', '.join(archs.values())}")
        encoders = smp.encoders.get_encoder_names()
        close = difflib.get_close_matches(str(encoder), encoders, 5) or encoders[:5]
        known = encoder in encoders or str(encoder).startswith("tu-")
        remedy = f"choose one of smp.encoders.get_encoder_names(), such as {', '.join(close)}"
        require("model.encoder", encoder, known, remedy)
        try:
            self.model: nn.Module = smp.create_model(arch, encoder, pretrained or None, classes=classes)
        except Exception as error:  # unsuitable encoders and the hub raise errors of all kinds
            fetch = " connect to the network once, set model.pretrained=false, or" if pretrained else ""
            raise ConfigError(
                f"model.arch '{arch}' with model.encoder '{encoder}', pretrained: {pretrained}, cannot be built "
                f"({(str(error) or type(error).__name__).splitlines()[0]}):{fetch} choose another encoder"
            ) from error

    def forward(self, images: Tensor, *, auxiliary: bool = True) -> Heads:
        """Return the score map."""
        check_input(images)
        return Heads((self.model(images),))
