"""Check that output and input channels of the parts of a model match."""

from collections.abc import Iterator, Mapping

from mmengine.config import Config
from torch import nn

from selnext_mm.errors import UserError

POOLING = 'GlobalAveragePooling'  # keeps the number of channels


def _part(node: Mapping, key: str) -> Mapping:
    part = node.get(key)
    return part if isinstance(part, Mapping) else {}


def _takers(model: Mapping) -> Iterator[tuple[str, Mapping]]:
    """(place, settings) of the parts of a detector that use the maps of its neck."""
    for key in ('rpn_head', 'bbox_head', 'mask_head'):
        yield f'model.{key}', _part(model, key)
    for key in ('bbox_head', 'mask_head'):
        heads = _part(model, 'roi_head').get(key)
        listed = heads if isinstance(heads, list | tuple) else [heads]
        for i, head in enumerate(listed):
            place = f'model.roi_head.{key}' + (f'.{i}' if listed is heads else '')
            yield place, head if isinstance(head, Mapping) else {}


def _wanted(cfg: Config, model: nn.Module) -> Iterator[tuple[str, object, object]]:
    """(key, value in the config, required value) of all channel numbers that depend on another."""
    backbone, parts = getattr(model, 'backbone', None), cfg.model
    channels = getattr(backbone, 'channels', None)
    ours = type(backbone).__module__.partition('.')[0] == 'selnext_mm'
    neck, head = _part(parts, 'neck'), _part(parts, 'head')
    if ours and channels is not None:
        widths = [channels[i] for i in backbone.out_indices]
        given = neck.get('in_channels')
        if isinstance(given, list | tuple):
            yield 'model.neck.in_channels', list(given), widths
        elif type(given) is int:
            yield 'model.neck.in_channels', given, widths[-1]
        if not neck or neck.get('type') == POOLING:
            yield 'model.head.in_channels', head.get('in_channels'), widths[-1]
    out = getattr(getattr(model, 'neck', None), 'out_channels', None)
    if type(out) is int:
        yield 'model.head.in_channels', head.get('in_channels'), out
        for place, node in _takers(parts) if str(neck.get('type')).endswith('FPN') else ():
            yield f'{place}.in_channels', node.get('in_channels'), out
        for key in ('bbox_roi_extractor', 'mask_roi_extractor'):
            given = _part(_part(parts, 'roi_head'), key).get('out_channels')
            yield f'model.roi_head.{key}.out_channels', given, out


def check_widths(cfg: Config, model: nn.Module) -> None:
    """Raise :class:`UserError` if a part of a model would get maps of another width.

    Covers the backbones of this package, and whatever uses the maps of a pyramid.
    """
    wrong = [
        (key, given, right)
        for key, given, right in _wanted(cfg, model)
        if type(given) in (int, list) and given != right
    ]
    if not wrong:
        return
    listed = ', '.join(f'{key} = {given}' for key, given, _ in wrong)
    source = 'the maps before it have' if len(wrong) == 1 else 'the maps before them have'
    counts = ', '.join(dict.fromkeys(str(right) for _, _, right in wrong))
    options = ' '.join(
        f'"{key}={right}"'.replace(' ', '') if isinstance(right, list) else f'{key}={right}'
        for key, _, right in wrong
    )
    raise UserError(
        f'{listed} in {cfg.filename}, but {source} {counts} channels; add --cfg-options {options}'
    )
