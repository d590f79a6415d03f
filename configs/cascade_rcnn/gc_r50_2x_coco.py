# long name: cascade-rcnn_r50-gcb-r16-c2-c5_fpn_2x-18-22_coco
_base_ = './r50_2x_coco.py'

# In all four stages: that count is Table 4's. The blocks start as the identity.
model = dict(
    backbone=dict(
        plugins=[dict(cfg=dict(type='ContextBlock', ratio=1 / 16), position='after_conv3')]
    )
)
