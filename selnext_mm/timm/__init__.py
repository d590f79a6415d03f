"""The models of this package in timm: importing this module registers them.

Then ``timm.create_model('selnext_tiny', num_classes=10)`` works, and whatever else timm does with a
model: features, layer-wise lr decay, other numbers of classes and channels (docs/elsewhere.md).

SELNeXt, PATNet and MobileNetV3 are this package's classes behind timm's interface. Their tensors
have the names of MMPretrain's classifiers. NA-ResNet and NA-MobileNetV2 are timm's own networks
with :class:`NAModule` in them.

Not here: the backbones and attention modules themselves (``models/``).
"""

from selnext_mm.errors import UserError

try:
    import timm  # noqa: F401 - the library, not this package, since imports are absolute
except ModuleNotFoundError as error:
    if error.name != 'timm':
        raise
    raise UserError(
        "selnext_mm.timm needs timm, which is not installed: pip install 'timm>=1.0.17'"
    ) from error

from timm.models import register_notrace_module

from selnext_mm.models.attention.na import NAModule
from selnext_mm.models.backbones.mobilenet_v3 import InvertedResidual
from selnext_mm.models.backbones.patnet import PATNetBlock
from selnext_mm.models.backbones.selnext import SELNeXtBlock

from . import attention_nets, backbone_nets

# They depend on the shape, dtype and device of their input, which timm's feature extraction by
# torch.fx does not know. So they are leaf nodes of its graphs.
for _module in (SELNeXtBlock, PATNetBlock, InvertedResidual, NAModule):
    register_notrace_module(_module)

__all__ = ['MODELS']

# Names for ``timm.create_model``.
MODELS = [*backbone_nets.__all__, *attention_nets.__all__]
