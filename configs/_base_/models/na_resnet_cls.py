# NA-ResNet-50 classifier: mmdet's ResNet, trained as the authors train theirs.
_base_ = 'mmpretrain::_base_/models/resnet50.py'

custom_imports = dict(imports=['selnext_mm'], allow_failed_imports=False)

model = dict(
    backbone=dict(
        type='NAResNet',
        # mmdet's defaults are for fine-tuning: fixed statistics, last norms starting at 0.
        norm_eval=False,
        zero_init_residual=False,
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.'),
    )
)
