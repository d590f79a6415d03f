"""Our names for weights of SELNeXt's authors, and of ConvNeXt from three projects."""

import re
from functools import partial

from selnext_mm.checkpoints.keymaps.rules import (
    NUM_STAGES,
    PARAM,
    Arch,
    KeyMapping,
    Rules,
    Shape,
    StateDict,
    check_shapes,
    rename,
    size,
)
from selnext_mm.errors import UserError

REDUCTION = 16  # squeeze ratio of SELN, on the expanded width 4C

_BLOCK = r'stages\.\d+\.\d+\.'


# Meta's names of ConvNeXt's parts, which SELNeXt's authors and DINOv3 also use.
_META_RENAMES = (
    (rf'(downsample_layers\.[0-3]\.[01]\.{PARAM})', r'backbone.\1'),
    (rf'({_BLOCK}gamma)', r'backbone.\1'),
    (rf'({_BLOCK})dwconv\.{PARAM}', r'backbone.\1depthwise_conv.\2'),
    (rf'({_BLOCK})pwconv([12])\.{PARAM}', r'backbone.\1pointwise_conv\2.\3'),
    (rf'norm\.{PARAM}', r'backbone.norm3.\1'),
    (rf'head\.{PARAM}', r'head.fc.\1'),
)

SELNEXT_RULES = Rules(
    renames=(
        *_META_RENAMES,
        # The official block calls its SELN `norm`, although it stands after the GELU.
        (rf'({_BLOCK})norm\.conv_reduce\.{PARAM}', r'backbone.\1attention.fc1.\2'),
        (rf'({_BLOCK})norm\.conv_expand\.{PARAM}', r'backbone.\1attention.fc2.\2'),
        (rf'({_BLOCK})norm\.gate\.{PARAM}', r'backbone.\1attention.norm.\2'),
    )
)

_NO_NORM = 'LayerNorm after the depth-wise convolution: a SELNeXt block has none'
_TIMM_BLOCK = r'stages\.(\d+)\.blocks\.(\d+)\.'
_TIMM_OURS = r'backbone.stages.\1.\2.'

CONVNEXT_TIMM_RULES = Rules(
    renames=(
        (rf'stem\.([01])\.{PARAM}', r'backbone.downsample_layers.0.\1.\2'),
        (
            rf'stages\.([1-3])\.downsample\.([01])\.{PARAM}',
            r'backbone.downsample_layers.\1.\2.\3',
        ),
        (rf'{_TIMM_BLOCK}gamma', rf'{_TIMM_OURS}gamma'),
        (rf'{_TIMM_BLOCK}conv_dw\.{PARAM}', rf'{_TIMM_OURS}depthwise_conv.\3'),
        (rf'{_TIMM_BLOCK}mlp\.fc([12])\.{PARAM}', rf'{_TIMM_OURS}pointwise_conv\3.\4'),
        (rf'head\.norm\.{PARAM}', r'backbone.norm3.\1'),
        (rf'head\.fc\.{PARAM}', r'head.fc.\1'),
    ),
    drops=((rf'{_TIMM_BLOCK}norm\.{PARAM}', _NO_NORM),),
)

# Names in transformers of the parts of DINOv3's ConvNeXt.
_HF_BLOCK = r'(?:model\.)?stages\.(\d+)\.layers\.(\d+)\.'
_HF_RENAMES = (
    (
        rf'(?:model\.)?stages\.([0-3])\.downsample_layers\.([01])\.{PARAM}',
        r'backbone.downsample_layers.\1.\2.\3',
    ),
    (rf'{_HF_BLOCK}gamma', rf'{_TIMM_OURS}gamma'),
    (rf'{_HF_BLOCK}(depthwise_conv|pointwise_conv[12])\.{PARAM}', rf'{_TIMM_OURS}\3.\4'),
    (rf'(?:model\.)?layer_norm\.{PARAM}', r'backbone.norm3.\1'),
)

# DINOv3's files have the final norm twice, and no head.
CONVNEXT_META_RULES = Rules(
    renames=(*_META_RENAMES, *_HF_RENAMES),
    drops=(
        (rf'{_BLOCK}norm\.{PARAM}', _NO_NORM),
        (rf'{_HF_BLOCK}layer_norm\.{PARAM}', _NO_NORM),
        (rf'norms\.\d+\.{PARAM}', 'the final norm a second time'),
    ),
)

CONVNEXT_MMPRETRAIN_RULES = Rules(
    renames=(
        (rf'(backbone\.downsample_layers\.[0-3]\.[01]\.{PARAM})', r'\1'),
        (rf'(backbone\.{_BLOCK}gamma)', r'\1'),
        (rf'(backbone\.{_BLOCK}(depthwise_conv|pointwise_conv[12])\.{PARAM})', r'\1'),
        (rf'(backbone\.norm3\.{PARAM})', r'\1'),
        (rf'(head\.fc\.{PARAM})', r'\1'),
    ),
    drops=(
        (
            rf'backbone\.{_BLOCK}norm\.{PARAM}',
            _NO_NORM,
        ),
    ),
)

AT_INIT_DETECTION = {
    'backbone.norm{0..3}.{weight,bias}': 'one new LayerNorm per stage output feeds the FPN'
}
AT_INIT_HEAD = {'head.fc.{weight,bias}': 'the source has no classification head'}
AT_INIT_ATTENTION = {'backbone.stages.*.*.attention.*': 'ConvNeXt has no SELN'}


def flatten_pointwise(mapped: StateDict) -> StateDict:
    """Give 1x1-convolution weights (out, in, 1, 1) the shape (out, in) of a linear layer."""
    return {
        key: tensor.reshape(tensor.shape[:2])
        if re.search(r'\.pointwise_conv[12]\.weight$', key) and tuple(tensor.shape[2:]) == (1, 1)
        else tensor
        for key, tensor in mapped.items()
    }


def read_arch(mapped: StateDict) -> tuple[Shape, Shape]:
    """Depths and widths of the four stages, 0 where the keys do not show them."""
    depths = [0] * NUM_STAGES
    for key in mapped:
        if match := re.match(r'backbone\.stages\.(\d+)\.(\d+)\.', key):
            stage, block = int(match[1]), int(match[2])
            if stage >= NUM_STAGES:
                raise UserError(f'{key} is of stage {stage}; SELNeXt has {NUM_STAGES} stages, 0-3')
            depths[stage] = max(depths[stage], block + 1)
    widths = []
    for i in range(NUM_STAGES):
        widths.append(size(mapped.get(f'backbone.downsample_layers.{i}.{min(i, 1)}.weight')))
    return tuple(depths), tuple(widths)


def expected_shapes(
    depths: Shape,
    widths: Shape,
    num_classes: int | None = None,
    in_channels: int = 3,
    attention: bool = True,
    layer_scale: bool = True,
) -> dict[str, Shape]:
    """Names and shapes of a SELNeXt.

    ``num_classes=None`` leaves out the final norm and the head, -1 only the head.
    """

    def add(name: str, weight: Shape, bias: int | None = None) -> None:
        shapes[f'{name}.weight'] = weight
        shapes[f'{name}.bias'] = (weight[0] if bias is None else bias,)

    shapes: dict[str, Shape] = {}
    for i, (depth, C) in enumerate(zip(depths, widths, strict=True)):
        layer = f'backbone.downsample_layers.{i}'
        if i == 0:
            add(f'{layer}.0', (C, in_channels, 4, 4))
            add(f'{layer}.1', (C,))
        else:
            add(f'{layer}.0', (widths[i - 1],))
            add(f'{layer}.1', (C, widths[i - 1], 2, 2))
        E = 4 * C
        for j in range(max(depth, 1)):
            block = f'backbone.stages.{i}.{j}'
            add(f'{block}.depthwise_conv', (C, 1, 7, 7))
            add(f'{block}.pointwise_conv1', (E, C))
            add(f'{block}.pointwise_conv2', (C, E))
            if layer_scale:
                shapes[f'{block}.gamma'] = (C,)
            if attention:
                add(f'{block}.attention.fc1', (E // REDUCTION, E))
                add(f'{block}.attention.fc2', (E, E // REDUCTION))
                add(f'{block}.attention.norm', (E,))
    if num_classes is not None:
        add('backbone.norm3', (widths[-1],))
        if num_classes >= 0:
            add('head.fc', (num_classes, widths[-1]))
    return shapes


def check_selnext(mapped: StateDict, target: str, attention: bool, head: bool = True) -> Arch:
    """Check ``mapped`` against the SELNeXt that its own keys describe; return its architecture.

    Widths, depths, input channels, number of classes and the presence of layer scale are read
    from the keys; everything else follows from them. ``head`` says whether a classifier must have
    its head.

    Raises:
        UserError: see :func:`check_shapes`.
    """
    depths, widths = read_arch(mapped)
    layer_scale = any(key.endswith('.gamma') for key in mapped)
    classes = size(mapped.get('head.fc.weight')) if head else -1
    expected = expected_shapes(
        depths,
        widths,
        num_classes=classes if target == 'classifier' else None,
        in_channels=size(mapped.get('backbone.downsample_layers.0.0.weight'), 1) or 3,
        attention=attention,
        layer_scale=layer_scale,
    )
    check_shapes(mapped, expected, f'SELNeXt (depths {depths}, widths {widths})', widths)
    return Arch(depths, widths, layer_scale)


def map_selnext(state: StateDict, target: str) -> KeyMapping:
    """Official SELNeXt classification weights (``dwconv``, ``pwconv1``, ``norm.gate``, ...)."""
    mapped, dropped = rename(state, SELNEXT_RULES, target)
    arch = check_selnext(mapped, target, attention=True)
    at_init = dict(AT_INIT_DETECTION) if target == 'detection' else {}
    return KeyMapping(mapped, arch, dropped, at_init)


def map_convnext(rules: Rules, state: StateDict, target: str) -> KeyMapping:
    """ConvNeXt weights by ``rules``: the parts that SELNeXt shares; SELN stays at init."""
    mapped, dropped = rename(state, rules, target)
    mapped = flatten_pointwise(mapped)
    head = any(key.startswith('head.') for key in mapped)
    arch = check_selnext(mapped, target, attention=False, head=head)
    at_init = dict(AT_INIT_ATTENTION)
    if target == 'detection':
        at_init.update(AT_INIT_DETECTION)
    elif not head:
        at_init.update(AT_INIT_HEAD)
    return KeyMapping(mapped, arch, dropped, at_init)


map_convnext_mmpretrain = partial(map_convnext, CONVNEXT_MMPRETRAIN_RULES)
map_convnext_timm = partial(map_convnext, CONVNEXT_TIMM_RULES)
map_convnext_meta = partial(map_convnext, CONVNEXT_META_RULES)
