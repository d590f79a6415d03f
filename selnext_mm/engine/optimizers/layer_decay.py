"""Layer-wise learning-rate decay for detectors, segmentors and classifiers."""

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

DECAY_TYPES = ('layer_wise', 'stage_wise')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """One parameter group per (depth, decayed or not), lr = base lr * rate ** (n - 1 - depth).

    The backbone provides ``get_layer_depth(name, prefix) -> (depth, n)``; everything outside it
    has depth n - 1 and the full lr. Parameters with one dimension and those named
    ``*.bias`` get no weight decay (layer scale, norms and SELN's norm among them).

    ``paramwise_cfg``: ``layer_decay_rate`` in (0, 1], default 1 (no decay, only the weight-decay
    rule); ``decay_type``, default ``'layer_wise'``. With ``'stage_wise'``, ConvNeXt's rule for
    semantic segmentation, stem and downsampling layers have depth 0 and all blocks of stage i
    (counted from 0) depth i + 1, whatever n is. So the last stage stays far below the full lr.
    Source: ConvNeXt's published fine-tuning recipes. The stock constructors cannot be used
    here: those of mmdet and mmseg require "ConvNeXt" in the class name, mmpretrain's requires
    ``get_layer_depth`` on the top module, which a detector does not have.

    Raises:
        ValueError: for an unknown option, an unknown type or a rate outside (0, 1].
        TypeError: if the model's backbone has no ``get_layer_depth``, or for ``'stage_wise'`` no
            ``downsample_layers`` and ``stages``.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        options = dict(self.paramwise_cfg)
        self.rate = options.pop('layer_decay_rate', 1.0)
        self.decay_type = options.pop('decay_type', 'layer_wise')
        if options:
            raise ValueError(
                f"paramwise_cfg has unknown options {sorted(options)}; known: 'layer_decay_rate', "
                "'decay_type'"
            )
        if self.decay_type not in DECAY_TYPES:
            raise ValueError(f'decay_type={self.decay_type!r}; expected one of {DECAY_TYPES}')
        if not 0 < self.rate <= 1:
            raise ValueError(f'layer_decay_rate={self.rate!r}; expected 0 < rate <= 1')
        # mmengine skips add_params, and so the weight-decay rule, for empty options.
        self.paramwise_cfg = dict(layer_decay_rate=self.rate)

    def add_params(self, params: list[dict], module: nn.Module, **kwargs) -> None:
        backbone = getattr(module, 'backbone', None)
        if not hasattr(backbone, 'get_layer_depth'):
            raise TypeError(
                f'{type(self).__name__} needs model.backbone.get_layer_depth(name, prefix); '
                f'{type(module).__name__} has the backbone {type(backbone).__name__}. Use '
                'SELNeXt or an mmpretrain backbone, or drop the constructor from optim_wrapper'
            )
        stages = hasattr(backbone, 'downsample_layers') and hasattr(backbone, 'stages')
        if self.decay_type == 'stage_wise' and not stages:
            raise TypeError(
                f"decay_type='stage_wise' needs a backbone with downsample_layers and stages; "
                f"{type(backbone).__name__} has not both. Use decay_type='layer_wise'"
            )
        groups: dict[tuple[int, bool], dict] = {}
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            depth, num_depths = backbone.get_layer_depth(name, 'backbone.')
            if self.decay_type == 'stage_wise':
                depth = stage_depth(name, num_depths)
            decayed = parameter.ndim > 1 and not name.endswith('.bias')
            scale = self.rate ** (num_depths - 1 - depth)
            group = groups.setdefault(
                (depth, decayed),
                dict(
                    params=[],
                    lr=self.base_lr * scale,
                    lr_scale=scale,
                    weight_decay=self.base_wd if decayed else 0.0,
                    layer_id=depth,
                ),
            )
            group['params'].append(parameter)
        params.extend(groups[key] for key in sorted(groups))
        self._log(params)

    def _log(self, groups: list[dict]) -> None:
        def count(decayed: bool) -> float:
            chosen = [g for g in groups if bool(g['weight_decay']) == decayed]
            return sum(p.numel() for g in chosen for p in g['params']) / 1e6

        rates = sorted({g['lr'] for g in groups})
        depths = len({g['layer_id'] for g in groups})
        kind = self.decay_type.removesuffix('_wise')
        print_log(
            f'{kind} decay {self.rate:g}: {depths} depths, lr {rates[0]:.3g} .. {rates[-1]:.3g}; '
            f'weight decay on {count(True):.2f} M parameters, none on {count(False):.2f} M',
            'current',
        )


def stage_depth(name: str, num_depths: int) -> int:
    """Depth of a parameter by stages: 0 .. 4 inside the backbone, else the last one."""
    parts = name.split('.')
    if parts[:2] == ['backbone', 'downsample_layers']:
        return 0
    if parts[:2] == ['backbone', 'stages']:
        return int(parts[2]) + 1
    return num_depths - 1
