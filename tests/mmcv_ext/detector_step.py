"""One training step and one prediction of detectors, on a random image.

usage: python detector_step.py NAME...; prints a line of JSON for each. NAME@elsewhere makes the
step on a second device (elsewhere.py).
"""

import json
import sys
from contextlib import nullcontext

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData

import selnext_mm  # noqa: F401 - provides the operators where mmcv has none
from tests.mmcv_ext.elsewhere import move, other_device

# name -> (config of mmdet, SELNeXt's out_indices, or None for the ResNet of the config)
DETECTORS = {
    'retinanet': ('retinanet/retinanet_r50_fpn_1x_coco.py', (0, 1, 2, 3)),
    'fcos': ('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', (0, 1, 2, 3)),
    'faster_rcnn': ('faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', (0, 1, 2, 3)),
    'mask_rcnn': ('mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', (0, 1, 2, 3)),
    'cascade_rcnn': ('cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py', (0, 1, 2, 3)),
    'rtmdet': ('rtmdet/rtmdet_tiny_8xb32-300e_coco.py', (1, 2, 3)),
    'dino': ('dino/dino-4scale_r50_8xb2-12e_coco.py', (1, 2, 3)),
    'detr': ('detr/detr_r50_8xb2-150e_coco.py', (3,)),
    'dcn': ('dcn/mask-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py', None),
    'dcn_v2': ('dcnv2/faster-rcnn_r50-mdconv-c3-c5_fpn_1x_coco.py', None),
}
CHANNELS = (40, 80, 160, 320)  # of SELNeXt atto
BOXES = [[8.0, 8.0, 60.0, 70.0], [40.0, 30.0, 120.0, 90.0]]


def read_config(name, folder='.'):
    """The stock config with a small backbone that needs no download."""
    base, out = DETECTORS[name]
    path = f'{folder}/{name}.py'
    with open(path, 'w') as file:
        file.write(f"_base_ = 'mmdet::{base}'\n")
    cfg = Config.fromfile(path)
    if out is None:
        cfg.model.backbone.init_cfg = None
    else:
        cfg.model.backbone = dict(type='SELNeXt', arch='atto', out_indices=out)
        cfg.model.neck.in_channels = [CHANNELS[i] for i in out]
    # A detector that has not been trained is sure of nothing.
    test = cfg.model.test_cfg
    for part in (test, test.get('rcnn', {})):
        if 'score_thr' in part:
            part.score_thr = 0.0
    return cfg


def picture(cfg):
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    # DINO wants 900 positions to choose its queries from.
    height, width = (256, 320) if cfg.model.get('num_queries', 0) >= 900 else (96, 128)
    values = np.random.RandomState(0)
    image = torch.from_numpy(values.randint(0, 255, (3, height, width)).astype(np.uint8))
    size = (height, width)
    item = DetDataSample(
        metainfo=dict(
            img_shape=size, ori_shape=size, pad_shape=size, scale_factor=(1.0, 1.0), img_id=0
        )
    )
    item.gt_instances = InstanceData(bboxes=torch.tensor(BOXES), labels=torch.tensor([1, 3]))
    if cfg.model.get('roi_head', {}).get('mask_head'):
        masks = np.zeros((len(BOXES), height, width), np.uint8)
        for mask, box in zip(masks, BOXES, strict=True):
            x1, y1, x2, y2 = map(int, box)
            mask[y1:y2, x1:x2] = values.rand(y2 - y1, x2 - x1) > 0.3
        item.gt_instances.masks = BitmapMasks(masks, height, width)
    return dict(inputs=[image], data_samples=[item])


def step(name):
    """Loss, norm of the gradient, and what is predicted before the step."""
    name, _, device = name.partition('@')
    cfg = read_config(name)
    with DefaultScope.overwrite_default_scope('mmdet'):
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        model.init_weights()
        with torch.no_grad():
            # Offsets of deformable convolutions begin with 0.
            for layer, parameter in model.named_parameters():
                if 'conv_offset' in layer:
                    parameter.normal_(std=0.05)
        with other_device() if device else nullcontext():
            if device:
                move(model)
            answer = both_passes(model, cfg)
    return dict(name=name, **answer)


def both_passes(model, cfg):
    model.eval()
    with torch.no_grad():
        found = model.test_step(picture(cfg))[0].pred_instances
    model.train()
    torch.manual_seed(1)
    np.random.seed(1)
    losses = model(**model.data_preprocessor(picture(cfg), training=True), mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    squares = [float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None]
    return dict(
        loss=float(total),
        norm=sum(squares) ** 0.5,
        scores=found.scores.tolist()[:20],
        boxes=found.bboxes.tolist()[:20],
        found=len(found),
    )


if __name__ == '__main__':
    for name in sys.argv[1:]:
        print(json.dumps(step(name)), flush=True)
