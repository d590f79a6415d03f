"""The only loader of models for inference: a config, a checkpoint, the names of the classes."""

import inspect
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from torch import nn

from selnext_mm.checkpoints.files import read_metadata, take_weights
from selnext_mm.checkpoints.fit import check_finite, without_prefix, without_wrappers
from selnext_mm.checkpoints.hub import is_hub_address
from selnext_mm.config.build import build_model
from selnext_mm.config.load import load_config
from selnext_mm.config.walk import tested_dataset
from selnext_mm.engine.device import adapt_to_device
from selnext_mm.engine.preflight.weights import read_checkpoint
from selnext_mm.errors import UserError
from selnext_mm.inference.heads import speed_up_heads
from selnext_mm.ops.capabilities import has_bfloat16_instructions
from selnext_mm.text import counted, preview

# The dtypes that a backbone may compute in; None stands for the dtype of the weights.
DTYPES = {'float32': None, 'bfloat16': torch.bfloat16}


@dataclass
class LoadedModel:
    """``classes`` in the order of the labels; ``source`` says where the names come from."""

    model: nn.Module
    cfg: Config
    checkpoint: str
    classes: tuple[str, ...]
    source: str

    @property
    def is_classifier(self) -> bool:
        return is_classifier(self.model)


def is_classifier(model: nn.Module) -> bool:
    return not hasattr(model, 'bbox_head') and not hasattr(model, 'roi_head')


def is_segmentor(model: nn.Module) -> bool:
    return hasattr(model, 'decode_head')


def refuse_segmentor(model: nn.Module, what: str) -> None:
    """Raise :class:`UserError` if ``model`` is a segmentor, which ``what`` does not support."""
    if is_segmentor(model):
        raise UserError(
            f'{what} is for detectors and classifiers; this model is a segmentor. "selnext-mm test '
            'CONFIG CHECKPOINT --show-dir DIR" draws its label maps, and inference_model of '
            'mmseg.apis returns them'
        )


def choose_device(name: str = 'auto') -> torch.device:
    """The device called ``name``; for 'auto' the accelerator that mmengine finds, else the CPU.

    Raises:
        UserError: for a device that this torch does not have.
    """
    if name == 'auto':
        name = get_device()
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        if 'not compiled with' in reason:
            reason = f'this torch ({torch.__version__}) is built without it'
            raise UserError(f'--device {name}: {reason}; give cpu or auto') from error
        raise UserError(f'--device {name}: {reason}; give cpu, cuda, cuda:1 or auto') from error
    return device


def load_strictly(model: nn.Module, state: dict, what: str) -> None:
    """Load ``state``; :class:`UserError` for tensors that are missing, extra or of other shapes."""
    own = model.state_dict()
    state, prefix = without_prefix(own, without_wrappers(state))
    if prefix:
        print_log(f'{what}: removed the prefix {prefix!r} from all names', 'current')
    missing = [k for k in own if k not in state]
    extra = [k for k in state if k not in own]
    other = [k for k in state if k in own and state[k].shape != own[k].shape]
    kinds = {'missing': missing, 'of another shape': other, 'not in the model': extra}
    if wrong := [f'{len(k)} are {how} ({preview(k, 2)})' for how, k in kinds.items() if k]:
        raise UserError(
            f'{what} is not a checkpoint of this model with its {len(own)} tensors: '
            f'{", ".join(wrong)}. Use the config that trained it (a copy lies beside every '
            'checkpoint)'
        )
    check_finite(own, state, what)
    model.load_state_dict(state)


def deploy(model: nn.Module, dtype: str | None = None) -> list[str]:
    """Call ``switch_to_deploy`` on the outermost modules that have it; returns their names.

    Args:
        model: changed for good.
        dtype: of :data:`DTYPES`, for backbones that can compute in it; neck and heads stay in
            float32. None changes no dtype.

    Raises:
        UserError: if nothing in the model can compute in ``dtype``.
    """
    if dtype is not None and dtype not in DTYPES:
        raise UserError(f'dtype {dtype!r}; expected one of {", ".join(DTYPES)}')
    done: list[str] = []
    kind, converted = DTYPES[dtype or 'float32'], False
    for name, module in list(model.named_modules()):
        if any(name.startswith(f'{outer}.') for outer in done):
            continue
        if callable(getattr(module, 'switch_to_deploy', None)):
            if kind and 'dtype' in inspect.signature(module.switch_to_deploy).parameters:
                module.switch_to_deploy(dtype=kind)
                converted = True
            else:
                module.switch_to_deploy()
            done.append(name)
    if kind and not converted:
        backbone = type(getattr(model, 'backbone', model)).__name__
        raise UserError(
            f'--dtype {dtype}: {backbone} computes in float32 only (SELNeXt in either); leave out '
            '--dtype'
        )
    return done


def num_classes(model: nn.Module) -> int | None:
    """The number of classes of the (last) head, or None if it does not say."""
    head = getattr(model, 'roi_head', model)
    head = getattr(head, 'bbox_head', None) or getattr(model, 'head', None)
    if isinstance(head, nn.ModuleList):
        head = head[-1]
    return getattr(head, 'num_classes', None)


def _names(value) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, list | tuple) else ()


def find_classes(cfg: Config, meta: dict, count: int | None) -> tuple[tuple[str, ...], str]:
    """Class names and where they were found: the checkpoint, the config, or the data set's class.

    Raises:
        UserError: if there are none, or their number is not the model's.
    """
    stored = meta.get('dataset_meta') or meta
    # mmengine 0.x stored the names under a key in capitals.
    candidates = {'the checkpoint': stored.get('classes') or stored.get('CLASSES')}
    dataset = tested_dataset(cfg)
    candidates['the config'] = (dataset.get('metainfo') or {}).get('classes')
    if dataset.get('type'):
        scope = cfg.get('default_scope', 'mmengine')
        with DATASETS.switch_scope_and_registry(scope) as registry:
            cls = registry.get(dataset['type'])
        candidates[f"the data set's class {dataset['type']}"] = getattr(cls, 'METAINFO', {}).get(
            'classes'
        )
    for source, names in candidates.items():
        names = _names(names)
        if names and count is not None and len(names) != count:
            raise UserError(
                f'{source} names {counted(len(names), "class")} and the model has {count}; '
                'give the names '
                'with --classes'
            )
        if names:
            return names, source
    raise UserError(
        'neither the checkpoint nor the config names the classes; give them with --classes'
    )


def _meta(content: dict, path: str | Path) -> dict:
    """The ``meta`` of a checkpoint; for a safetensors file, the classes in its header."""
    meta = content.get('meta')
    if isinstance(meta, dict):
        return meta
    if '://' in str(path) and not is_hub_address(path):
        return {}
    try:
        return dict(classes=json.loads(read_metadata(path).get('classes', 'null')))
    except ValueError:
        return {}


def load_for_inference(
    config: str | Path,
    checkpoint: str | Path | None,
    device: str = 'auto',
    classes: list[str] | None = None,
    options: dict | None = None,
    deployed: bool = True,
    named: bool = True,
    dtype: str | None = None,
    content: dict | None = None,
) -> LoadedModel:
    """Build the model of ``config``, load all weights of ``checkpoint`` and make it fast.

    Only weights are read from the file. The model is in eval mode on ``device``. It normalises as
    the config says, wherever ``data_preprocessor`` is set there.

    Args:
        config: file or name of a config.
        checkpoint: ``.pth`` or ``.safetensors``; None for initial weights.
        device: 'auto', or as for ``torch.device``.
        classes: names of the classes; by default those that :func:`find_classes` finds.
        options: values to override in the config, as ``--cfg-options``.
        deployed: merge what can be merged (:func:`deploy`).
        named: whether the names of the classes are required; if not, they may be ().
        dtype: of the backbone's computation, one of :data:`DTYPES`; only with ``deployed``.
        content: of ``checkpoint``, as ``load_file`` returns it, if it has been read already.

    Raises:
        UserError: for a config, checkpoint, device or class names that cannot be used.
    """
    where = choose_device(device)
    cfg = load_config(config, options)
    adapt_to_device(cfg, where.type)
    if content is None and checkpoint is not None:
        content = read_checkpoint(str(checkpoint))
    model = build_model(cfg)
    if named and not hasattr(model, 'predict'):
        raise UserError(
            f'{config} is a training without labels: its {type(model).__name__} predicts nothing. '
            'Train a classifier or a detector from its checkpoint: backbone init_cfg=dict(type='
            "'Pretrained', checkpoint=FILE, prefix='backbone.')"
        )
    meta = {}
    if content is None:
        model.init_weights()
        print_log(f'{config}: no checkpoint, so initial weights are used', 'current')
    else:
        state, _ = take_weights(content, source=checkpoint)
        load_strictly(model, state, str(checkpoint))
        meta = _meta(content, str(checkpoint))
    names, source = _class_names(cfg, meta, num_classes(model), classes, named)
    model.dataset_meta = dict(classes=names)
    model.eval()
    if deployed:
        deploy(model, dtype)
        if where.type == 'cpu':
            speed_up_heads(model)
        if dtype == 'bfloat16' and where.type == 'cpu' and not has_bfloat16_instructions():
            print_log(
                'this processor has no bfloat16 instructions: float32 would be faster', 'current'
            )
    return LoadedModel(model.to(where), cfg, str(checkpoint), names, source)


def _class_names(
    cfg: Config, meta: dict, count: int | None, given: list[str] | None, named: bool
) -> tuple[tuple[str, ...], str]:
    if given:
        if twice := [name for name, times in Counter(given).items() if times > 1]:
            raise UserError(
                f'--classes names {preview(twice)} more than once; give every class a name of its '
                'own'
            )
        if count is not None and len(given) != count:
            raise UserError(
                f'--classes names {counted(len(given), "class")} and the model has {count}'
            )
        return tuple(given), '--classes'
    try:
        return find_classes(cfg, meta, count if named else None)
    except UserError:
        if named:
            raise
        return (), 'nowhere'
