"""Small detectors of every kind that is exported whole, with random weights that find a lot."""

import torch
from torch import nn

from tests.small_models import CONFIGS, SHAPES, save_model

SELNEXT = "dict(_delete_=True, type='SELNeXt', arch=dict(depths=[1, 1, 1, 1], \
channels=[16, 24, 32, 40]), out_indices=(0, 1, 2, 3), gap_before_final_norm=False)"
PATNET = "dict(_delete_=True, type='PATNet', arch=dict(depths=[1, 1, 1, 1], \
channels=[16, 24, 32, 40]), out_indices=(0, 1, 2, 3), output_norm=True)"
NA_RESNET = "dict(_delete_=True, type='NAResNet', depth=18, base_channels=16, \
out_indices=(0, 1, 2, 3), norm_eval=False, zero_init_residual=False)"
WIDTHS = {SELNEXT: [16, 24, 32, 40], PATNET: [16, 24, 32, 40], NA_RESNET: [16, 32, 64, 128]}

# The shapes' pipeline and six classes, on a model of mmdet made small.
TEXT = """
_base_ = [
    'mmdet::_base_/models/{base}.py',
    '{configs}/_base_/datasets/shapes_instance.py',
    '{configs}/_base_/schedules/shapes_adamw.py',
    '{configs}/_base_/coco_runtime.py',
]
custom_imports = dict(imports=['selnext_mm'], allow_failed_imports=False)
extractor = dict(out_channels=16, finest_scale=28)
model = dict(
    backbone={backbone},
    neck=dict(in_channels={widths}, out_channels=16),
    {heads}
)
"""
RPN = 'rpn_head=dict(in_channels=16, feat_channels=16),'
BOX = 'in_channels=16, fc_out_channels=64, num_classes=6'
# Few proposals: among a thousand random boxes some IoU is within a rounding of the threshold.
FEW = 'test_cfg=dict(rpn=dict(nms_pre=100, max_per_img=150)),'
RCNN = RPN + FEW + 'roi_head=dict(bbox_roi_extractor=extractor, bbox_head={head}, {mask}),'
MASK = """mask_roi_extractor=extractor,
    mask_head=dict(in_channels=16, conv_out_channels=16, num_convs=1, num_classes=6)"""
# Lists of a base config are replaced as a whole: three stages, the last shares one box.
CASCADE = f"""[dict(type='Shared2FCBBoxHead', {BOX}, roi_feat_size=7, reg_class_agnostic=shared,
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_cls=dict(type='CrossEntropyLoss'), loss_bbox=dict(type='SmoothL1Loss'))
        for shared in (False, True, False)]"""

KINDS = {
    'retinanet': ('retinanet_r50_fpn', NA_RESNET, """
        bbox_head=dict(in_channels=16, feat_channels=16, stacked_convs=1, num_classes=6),
        test_cfg=dict(nms_pre=100),"""),
    'faster_rcnn': ('faster-rcnn_r50_fpn', PATNET, RCNN.format(head=f'dict({BOX})', mask='')),
    'mask_rcnn': ('mask-rcnn_r50_fpn', SELNEXT, RCNN.format(head=f'dict({BOX})', mask=MASK)),
    'cascade_rcnn': ('cascade-rcnn_r50_fpn', NA_RESNET, RCNN.format(head=CASCADE, mask='')),
    'cascade_mask_rcnn': (
        'cascade-mask-rcnn_r50_fpn', SELNEXT, RCNN.format(head=CASCADE, mask=MASK)
    ),
}  # fmt: skip


def config_text(kind: str) -> str:
    base, backbone, heads = KINDS[kind]
    return TEXT.format(
        base=base, configs=CONFIGS, backbone=backbone, widths=WIDTHS[backbone], heads=heads
    )


def enliven(model: nn.Module) -> None:
    """Wider weights in the last layers: scores and boxes that differ, and no ties between them."""
    generator = torch.Generator().manual_seed(1)
    for name, value in model.named_parameters():
        last = name.split('.')[-2]
        width = {
            'fc_cls': 0.35,
            'fc_reg': 0.15,
            'rpn_cls': 0.5,
            'rpn_reg': 0.1,
            'retina_cls': 0.35,
            'retina_reg': 0.1,
            'conv_logits': 1.0,
        }.get(last)
        if width and name.endswith('weight'):
            with torch.no_grad():
                value.normal_(0, width, generator=generator)


def save_detector(folder, kind: str):
    """Config, checkpoint and model (:func:`tests.small_models.save_model`) of a ``kind``."""
    saved = save_model(folder, config_text(kind), SHAPES)
    enliven(saved.model)
    meta = dict(dataset_meta=dict(classes=SHAPES))
    torch.save(dict(meta=meta, state_dict=saved.model.state_dict()), saved.checkpoint)
    return saved
