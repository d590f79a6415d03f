"""The test pipeline of a config as plain steps, for programs without torch and mmcv.

``selnext_mm.runtime.pictures`` runs them. A step that it cannot run is an error that names it,
because images that are prepared differently give other results.
"""

import json
from typing import Any

from mmengine.config import Config

from selnext_mm.config.walk import tested_dataset
from selnext_mm.errors import UserError
from selnext_mm.inference.loading import LoadedModel

# Steps that do not change the pixels.
SILENT = ('PackInputs', 'PackDetInputs', 'ImageToTensor')
INTERPOLATIONS = {
    'cv2': ('nearest', 'bilinear', 'bicubic', 'area', 'lanczos'),
    'pillow': ('nearest', 'bilinear', 'bicubic', 'box', 'lanczos', 'hamming'),
}


def _refuse(step: dict, reason: str) -> UserError:
    return UserError(
        f'the test pipeline has {step.get("type")}: {reason}. Exported files can only use '
        'LoadImageFromFile, Resize, ResizeEdge and CenterCrop'
    )


def _take(step: dict, defaults: dict[str, Any]) -> dict[str, Any]:
    """``defaults`` updated with the arguments of ``step``; refuses any other argument."""
    given = {k: v for k, v in step.items() if k not in ('type', '_scope_', 'clip_object_border')}
    if unknown := set(given) - set(defaults):
        raise _refuse(step, f'{min(unknown)}={given[min(unknown)]} is not supported')
    return defaults | given


def _method(step: dict, values: dict[str, Any]) -> dict[str, str]:
    backend, interpolation = values['backend'] or 'cv2', values['interpolation']
    if interpolation not in INTERPOLATIONS.get(backend, ()):
        raise _refuse(step, f'backend={backend}, interpolation={interpolation} is not supported')
    return dict(backend=backend, interpolation=interpolation)


def _pair(step: dict, value: Any) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value or ())
    if len(pair) != 2 or not all(isinstance(v, int) and v > 0 for v in pair):
        raise _refuse(step, f'a size of {value}; expected one or two whole numbers')
    return pair


def _load(step: dict) -> None:
    values = _take(
        step,
        dict(
            to_float32=False,
            color_type='color',
            imdecode_backend='cv2',
            file_client_args=None,
            ignore_empty=False,
            backend_args=None,
        ),
    )
    for key, wanted in dict(color_type='color', imdecode_backend='cv2', to_float32=False).items():
        if values[key] != wanted:
            raise _refuse(step, f'{key}={values[key]} is not supported')


def _step(step: dict) -> dict[str, Any]:
    kind = str(step.get('type')).split('.')[-1]
    how = dict(backend='cv2', interpolation='bilinear')
    if kind == 'Resize':
        values = _take(step, dict(scale=None, keep_ratio=False) | how)
        width, height = _pair(step, values['scale'])
        keep = dict(keep_ratio=bool(values['keep_ratio']))
        return dict(op='resize', width=width, height=height, **keep, **_method(step, values))
    if kind == 'ResizeEdge':
        values = _take(step, dict(scale=None, edge='short') | how)
        edge = dict(scale=_pair(step, values['scale'])[0], edge=values['edge'])
        return dict(op='resize_edge', **edge, **_method(step, values))
    if kind == 'CenterCrop':
        values = _take(step, dict(crop_size=None, auto_pad=False, pad_cfg=None))
        if values['auto_pad']:
            raise _refuse(step, 'auto_pad=True is not supported')
        width, height = _pair(step, values['crop_size'])
        return dict(op='center_crop', width=width, height=height)
    raise _refuse(step, 'it is not supported')


def plain_steps(cfg: Config) -> list[dict[str, Any]]:
    """What the test pipeline does to an image after reading it, in order.

    ``{'op': 'resize', 'width': 1333, 'height': 800, 'keep_ratio': True, 'backend': 'cv2',
    'interpolation': 'bilinear'}``, and likewise ``resize_edge`` and ``center_crop``.

    Raises:
        UserError: for a step or an argument that is not supported, and if the pipeline does not
            start with ``LoadImageFromFile``.
    """
    steps = tested_dataset(cfg).get('pipeline') or cfg.get('test_pipeline') or []
    steps = [dict(s) for s in steps if not str(s.get('type')).endswith('Annotations')]
    if not steps or str(steps[0].get('type')).split('.')[-1] != 'LoadImageFromFile':
        first = steps[0].get('type') if steps else 'nothing'
        raise UserError(
            f'the test pipeline of {cfg.filename} starts with {first}; expected LoadImageFromFile'
        )
    _load(steps[0])
    return [_step(s) for s in steps[1:] if str(s.get('type')).split('.')[-1] not in SILENT]


def classifier_metadata(loaded: LoadedModel) -> dict[str, str]:
    """How ``selnext_mm.runtime.Classifier`` prepares images and turns logits into scores.

    If the pipeline cannot be written as plain steps, ``pipeline_missing`` gives the reason. Other
    programs can still use the file if they prepare the images themselves.
    """
    # mmpretrain's heads apply a softmax, except for the multi-label ones.
    names = {base.__name__ for base in type(loaded.model.head).__mro__}
    result = dict(activation='softmax') if 'ClsHead' in names else {}
    try:
        divisor = getattr(loaded.model.data_preprocessor, 'pad_size_divisor', 1)
        if divisor > 1:
            raise UserError(f'data_preprocessor.pad_size_divisor={divisor} is not supported')
        return result | dict(pipeline=json.dumps(plain_steps(loaded.cfg)))
    except UserError as error:
        return result | dict(pipeline_missing=str(error))
