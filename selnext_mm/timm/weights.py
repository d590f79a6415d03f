"""The weights in a checkpoint of this package, under the names of a timm model."""

import re

from torch import Tensor, nn

from selnext_mm.checkpoints.fit import state_dict_of
from selnext_mm.errors import UserError

BACKBONE = 'backbone.'


def classifier_weights(checkpoint: dict, model: nn.Module) -> dict[str, Tensor]:
    """The weights of a :class:`Classifier`, from a run, a bare state dict, or a backbone alone.

    Other tensors of MMPretrain (``data_preprocessor.``, ``ema_``) are left out.

    Raises:
        UserError: if there are no weights.
    """
    state = state_dict_of(checkpoint, 'the checkpoint')
    own = model.state_dict()
    known = {name: value for name, value in state.items() if name in own}
    if known:
        return known
    return {BACKBONE + name: value for name, value in state.items()}


def na_resnet_weights(checkpoint: dict, model: nn.Module) -> dict[str, Tensor]:
    """The weights of a classifier of ``NAResNet`` under timm's names, which are torchvision's.

    Ours are ``backbone.``, ``head.fc.`` and ``layerS.B.na``, timm's '', ``fc.`` and
    ``layerS.B.se``; names that are timm's already stay.
    """
    renamed = {}
    for name, value in state_dict_of(checkpoint, 'the checkpoint').items():
        name = name.removeprefix(BACKBONE).removeprefix('head.')
        renamed[re.sub(r'^(layer\d+\.\d+)\.na\.', r'\1.se.', name)] = value
    return renamed


def na_mobilenetv2_weights(checkpoint: dict, model: nn.Module) -> dict[str, Tensor]:
    """The weights of a classifier of ``NAMobileNetV2`` under timm's names.

    Both networks list their tensors in the order of their layers, so they are matched by position.
    Names that are timm's already stay.

    Raises:
        UserError: if there are more or fewer tensors than ``model`` has.
    """
    state = state_dict_of(checkpoint, 'the checkpoint')
    own = model.state_dict()
    if not any(name.startswith(BACKBONE) for name in state):
        return state
    weights = [v for name, v in state.items() if name.startswith((BACKBONE, 'head.'))]
    if len(weights) != len(own):
        raise UserError(
            f'the checkpoint has {len(weights)} tensors in backbone and head, na_mobilenetv2 has '
            f'{len(own)}; name a classifier of NAMobileNetV2, of MMPretrain or timm'
        )
    return dict(zip(own, weights, strict=True))
