# long name: cascade-rcnn_na-r50_fpn_2x-18-22_coco
_base_ = './r50_2x_coco.py'

# A checkpoint of cls/na_resnet50_in1k.py as it is, or a file of: selnext-mm convert ... --from nanet
pretrained = None

# frozen_stages=1, as in the baseline: stem and first stage are not trained, and neither are the 6
# scalars of its 3 NA modules, which were trained with it. 26 of the 32 scalars are. From random
# weights (pretrained = None) set backbone.frozen_stages=-1 and backbone.norm_eval=False.
model = dict(
    backbone=dict(
        type='NAResNet',
        init_cfg=dict(checkpoint=pretrained, prefix='backbone.'),
    )
)
