"""Run in a foreign project: one training step and one inference of each config's model.

usage: python plugin_step.py CONFIG...; prints one line per config, or the end of its traceback.
"""

import sys
import traceback

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData


def sample(cfg):
    # DINO wants 900 positions to choose its queries from.
    height, width = (256, 320) if cfg.model.get('num_queries', 0) >= 900 else (96, 128)
    image = torch.randint(0, 255, (3, height, width), dtype=torch.uint8)
    if cfg.default_scope == 'mmpretrain':
        from mmpretrain.structures import DataSample

        return dict(
            inputs=[image, image], data_samples=[DataSample().set_gt_label(i) for i in (0, 1)]
        )
    from mmdet.structures import DetDataSample

    item = DetDataSample(
        metainfo=dict(
            img_shape=(height, width),
            ori_shape=(height, width),
            scale_factor=(1.0, 1.0),
            img_id=0,
            pad_shape=(height, width),
        )
    )
    item.gt_instances = InstanceData(
        bboxes=torch.tensor([[8.0, 8.0, 60.0, 70.0], [40.0, 30.0, 120.0, 90.0]]),
        labels=torch.tensor([1, 3]),
    )
    return dict(inputs=[image], data_samples=[item])


def step(path):
    cfg = Config.fromfile(path)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        # The runner does this where the config keeps the preprocessor apart.
        if 'data_preprocessor' in cfg:
            cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
        model = MODELS.build(cfg.model).train()
        model.init_weights()  # as the runner does; some of DINO's tensors have no values before
        data = model.data_preprocessor(sample(cfg), training=True)
        losses = model(**data, mode='loss')
        total, _ = model.parse_losses(losses)
        total.backward()
        # A pyramid that starts at the second map leaves the first one's norm unused.
        unused = 'norm0.' if cfg.model.get('neck', {}).get('start_level', 0) else 'no such'
        lost = [
            name
            for name, p in model.backbone.named_parameters()
            if p.requires_grad and p.grad is None and not name.startswith(unused)
        ]
        assert torch.isfinite(total), losses
        assert not lost, f'no gradient: {lost}'
        model.eval()
        with torch.no_grad():
            (result, *_) = model.test_step(sample(cfg))
        fields = sorted(result.keys())
    print(path, type(model).__name__, type(model.backbone).__name__, round(float(total), 3), fields)


for name in sys.argv[1:]:
    try:
        step(name)
    except Exception:
        print(name, traceback.format_exc()[-2000:].replace('\n', ' | '))
