"""From other projects' weight names to ours: dict in, dict out, every key accounted for.

A key map neither reads files nor imports torch. It renames, checks and reports; a tensor is
anything with ``shape`` and ``reshape``. No key disappears in silence: a key is mapped, dropped
with a reason, or an error.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from selnext_mm.errors import UserError

StateDict = dict[str, Any]
Shape = tuple[int, ...]

TARGETS = ('classifier', 'detection')
NUM_STAGES = 4
REDUCTION = 16  # squeeze ratio of SELN, on the expanded width 4C

_BLOCK = r'stages\.\d+\.\d+\.'
_PARAM = r'(weight|bias)'


@dataclass(frozen=True)
class Arch:
    """The model that a checkpoint describes, read off its keys and shapes."""

    depths: Shape
    channels: Shape
    layer_scale: bool = True
    model: str = 'SELNeXt'
    num_heads: int | None = None
    spatial: bool = True


@dataclass(frozen=True)
class Mapping:
    """What became of a checkpoint.

    Attributes:
        state: our names -> tensors.
        dropped: key of the source -> why it has no place in the target.
        at_init: pattern of our names -> why no source tensor exists; these parameters keep
            the model's initial values.
        arch: the architecture that the tensors belong to, or the backbone's arguments as text.
        model: type of the backbone.
    """

    state: StateDict
    arch: Arch | str
    dropped: dict[str, str] = field(default_factory=dict)
    at_init: dict[str, str] = field(default_factory=dict)
    model: str = 'SELNeXt'


@dataclass(frozen=True)
class Rules:
    """Full-match patterns of one source: ``renames`` to our names, ``drops`` with reasons."""

    renames: tuple[tuple[str, str], ...]
    drops: tuple[tuple[str, str], ...] = ()


SELNEXT_RULES = Rules(
    renames=(
        (rf'(downsample_layers\.[0-3]\.[01]\.{_PARAM})', r'backbone.\1'),
        (rf'({_BLOCK}gamma)', r'backbone.\1'),
        (rf'({_BLOCK})dwconv\.{_PARAM}', r'backbone.\1depthwise_conv.\2'),
        (rf'({_BLOCK})pwconv([12])\.{_PARAM}', r'backbone.\1pointwise_conv\2.\3'),
        # The official block calls its SELN `norm`, although it stands after the GELU.
        (rf'({_BLOCK})norm\.conv_reduce\.{_PARAM}', r'backbone.\1attention.fc1.\2'),
        (rf'({_BLOCK})norm\.conv_expand\.{_PARAM}', r'backbone.\1attention.fc2.\2'),
        (rf'({_BLOCK})norm\.gate\.{_PARAM}', r'backbone.\1attention.norm.\2'),
        (rf'norm\.{_PARAM}', r'backbone.norm3.\1'),
        (rf'head\.{_PARAM}', r'head.fc.\1'),
    )
)

CONVNEXT_MMPRETRAIN_RULES = Rules(
    renames=(
        (rf'(backbone\.downsample_layers\.[0-3]\.[01]\.{_PARAM})', r'\1'),
        (rf'(backbone\.{_BLOCK}gamma)', r'\1'),
        (rf'(backbone\.{_BLOCK}(depthwise_conv|pointwise_conv[12])\.{_PARAM})', r'\1'),
        (rf'(backbone\.norm3\.{_PARAM})', r'\1'),
        (rf'(head\.fc\.{_PARAM})', r'\1'),
    ),
    drops=(
        (
            rf'backbone\.{_BLOCK}norm\.{_PARAM}',
            'LayerNorm after the depth-wise convolution: a SELNeXt block has none',
        ),
    ),
)

CLASSIFIER_ONLY = (
    (
        rf'backbone\.norm3\.{_PARAM}',
        'final norm of the classifier, after global pooling: detection norms whole maps instead',
    ),
    (rf'head\.fc\.{_PARAM}', 'classification head: a detector has none'),
)

AT_INIT_DETECTION = {
    'backbone.norm{0..3}.{weight,bias}': 'one new LayerNorm per stage output feeds the FPN'
}
AT_INIT_ATTENTION = {'backbone.stages.*.*.attention.*': 'ConvNeXt has no SELN'}


def preview(names: Iterable[str], limit: int = 5) -> str:
    """The first ``limit`` names, each on one line, and how many more there are."""
    names = [name if str(name).isprintable() else repr(name) for name in names]
    more = f' and {len(names) - limit} more' if len(names) > limit else ''
    return ', '.join(names[:limit]) + more


def first_match(key: str, table: tuple[tuple[str, str], ...]) -> tuple[re.Match, str] | None:
    for pattern, value in table:
        if match := re.fullmatch(pattern, key):
            return match, value
    return None


def rename(state: StateDict, rules: Rules, target: str) -> tuple[StateDict, dict[str, str]]:
    """Rename by ``rules``; return the renamed state and the dropped keys with their reasons.

    For ``target='detection'`` the final norm and the head are dropped.

    Raises:
        UserError: naming up to five keys that no rule knows, or that are no tensors.
    """
    mapped, dropped, unknown = {}, {}, []
    for key, tensor in state.items():
        if not hasattr(tensor, 'shape'):
            unknown.append(f'{key} (a {type(tensor).__name__}, not a tensor)')
        elif hit := first_match(key, rules.renames):
            name = hit[0].expand(hit[1])
            if target == 'detection' and (surplus := first_match(name, CLASSIFIER_ONLY)):
                dropped[key] = surplus[1]
            else:
                mapped[name] = tensor
        elif hit := first_match(key, rules.drops):
            dropped[key] = hit[1]
        else:
            unknown.append(key)
    if unknown:
        raise UserError(
            f'{len(unknown)} of {len(state)} keys are not of this source: {preview(unknown)}; '
            'check --from'
        )
    return mapped, dropped


def flatten_pointwise(mapped: StateDict) -> StateDict:
    """Give 1x1-convolution weights (out, in, 1, 1) the shape (out, in) of a linear layer."""
    return {
        key: tensor.reshape(tensor.shape[:2])
        if re.search(r'\.pointwise_conv[12]\.weight$', key) and tuple(tensor.shape[2:]) == (1, 1)
        else tensor
        for key, tensor in mapped.items()
    }


def read_arch(mapped: StateDict) -> tuple[Shape, Shape]:
    """Depths and widths of the four stages, 0 where the keys do not tell."""
    depths = [0] * NUM_STAGES
    for key in mapped:
        if match := re.match(r'backbone\.stages\.(\d+)\.(\d+)\.', key):
            stage, block = int(match[1]), int(match[2])
            if stage >= NUM_STAGES:
                raise UserError(f'{key} is of stage {stage}; SELNeXt has {NUM_STAGES} stages, 0-3')
            depths[stage] = max(depths[stage], block + 1)
    widths = []
    for i in range(NUM_STAGES):
        conv = mapped.get(f'backbone.downsample_layers.{i}.{min(i, 1)}.weight')
        widths.append(conv.shape[0] if conv is not None and len(conv.shape) else 0)
    return tuple(depths), tuple(widths)


def expected_shapes(
    depths: Shape,
    widths: Shape,
    num_classes: int | None = None,
    in_channels: int = 3,
    attention: bool = True,
    layer_scale: bool = True,
) -> dict[str, Shape]:
    """Names and shapes of a SELNeXt; ``num_classes=None`` leaves out the final norm and head."""

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
        add('head.fc', (num_classes, widths[-1]))
    return shapes


def check_selnext(mapped: StateDict, target: str, attention: bool) -> Arch:
    """Hold ``mapped`` against the SELNeXt that its own keys describe, and return that one.

    Widths, depths, input channels, number of classes and the presence of layer scale are read
    from the keys; everything else follows from them.

    Raises:
        UserError: naming up to five missing keys and up to five of a wrong shape.
    """
    depths, widths = read_arch(mapped)
    stem = mapped.get('backbone.downsample_layers.0.0.weight')
    head = mapped.get('head.fc.weight')
    layer_scale = any(key.endswith('.gamma') for key in mapped)
    classes = head.shape[0] if head is not None and len(head.shape) else 0
    expected = expected_shapes(
        depths,
        widths,
        num_classes=classes if target == 'classifier' else None,
        in_channels=stem.shape[1] if stem is not None and len(stem.shape) == 4 else 3,
        attention=attention,
        layer_scale=layer_scale,
    )
    problems = []
    if missing := [key for key in expected if key not in mapped]:
        problems.append(f'{len(missing)} missing: {preview(missing)}')
    # Without the key that tells a width, every shape of that stage would look wrong.
    wrong = [
        f'{key} is {tuple(mapped[key].shape)}, expected {shape}'
        for key, shape in expected.items()
        if key in mapped and tuple(mapped[key].shape) != shape and (all(widths) or not missing)
    ]
    if wrong:
        problems.append(f'{len(wrong)} of another shape: {preview(wrong)}')
    if problems:
        raise UserError(
            f'not a whole SELNeXt (depths {depths}, widths {widths}); ' + '; '.join(problems)
        )
    return Arch(depths, widths, layer_scale)


def map_selnext(state: StateDict, target: str) -> Mapping:
    """Official SELNeXt classification weights (``dwconv``, ``pwconv1``, ``norm.gate``, ...)."""
    mapped, dropped = rename(state, SELNEXT_RULES, target)
    arch = check_selnext(mapped, target, attention=True)
    at_init = dict(AT_INIT_DETECTION) if target == 'detection' else {}
    return Mapping(mapped, arch, dropped, at_init)


def map_convnext_mmpretrain(state: StateDict, target: str) -> Mapping:
    """mmpretrain ConvNeXt weights: the parts that SELNeXt shares; SELN stays at init."""
    mapped, dropped = rename(state, CONVNEXT_MMPRETRAIN_RULES, target)
    mapped = flatten_pointwise(mapped)
    arch = check_selnext(mapped, target, attention=False)
    at_init = dict(AT_INIT_ATTENTION)
    if target == 'detection':
        at_init.update(AT_INIT_DETECTION)
    return Mapping(mapped, arch, dropped, at_init)


def map_nanet(state: StateDict, target: str) -> Mapping:
    """Published NA-ResNet and NA-MobileNetV2 weights (torchvision's names and ``na.weight2``)."""
    from selnext_mm.checkpoints import nanet  # imports this module

    return nanet.map_keys(state, target)


def map_partialnet(state: StateDict, target: str) -> Mapping:
    """Published PATNet weights; see :mod:`selnext_mm.checkpoints.partialnet_keys`."""
    from selnext_mm.checkpoints.partialnet_keys import map_partialnet as mapping

    return mapping(state, target)


# A new source is one function (state, target) -> Mapping and one row here.
KEY_MAPS: dict[str, Callable[[StateDict, str], Mapping]] = {
    'selnext': map_selnext,
    'convnext-mmpretrain': map_convnext_mmpretrain,
    'nanet': map_nanet,
    'partialnet': map_partialnet,
}


def convert_keys(state: StateDict, source: str, target: str = 'classifier') -> Mapping:
    """Map ``state`` of ``source`` (a key of :data:`KEY_MAPS`) to our names for ``target``."""
    if source not in KEY_MAPS:
        raise UserError(f'source {source!r}; choose from {", ".join(KEY_MAPS)}')
    if target not in TARGETS:
        raise UserError(f'target {target!r}; choose from {", ".join(TARGETS)}')
    return KEY_MAPS[source](state, target)
