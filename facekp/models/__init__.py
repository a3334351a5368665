"""Networks that give one score per pixel and class at three resolutions, behind one registry.

A new network is one file here, decorated with `@register("its_name")` and imported below, and one file in
`conf/model/`.
"""

from facekp.models.fusion import fuse
from facekp.models.registry import build_model, model_names, register
from facekp.models.residual_attention import ResidualAttention
from facekp.models.resnet import ResNet18

__all__ = ["ResNet18", "ResidualAttention", "build_model", "fuse", "model_names", "register"]
