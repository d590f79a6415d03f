# Mask R-CNN with MobileNetV3-Large behind the FPN. Which maps feed it is not printed; these are
# timm's: the last of strides 4, 8, 16 (24, 40, 112 channels) and the 960 channels of the last
# convolution. Nothing is frozen, and the batch norms are SyncBN: 2 images are too few for BN.
_base_ = './mask_rcnn_selnext_fpn.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='AttentionMobileNetV3',
        arch='large',
        out_indices=(0, 1, 2, 3),
        norm_cfg=dict(type='SyncBN'),
        drop_path_rate=0.15,
        init_cfg=dict(type='Pretrained', checkpoint=None, prefix='backbone.'),
    ),
    neck=dict(in_channels=[24, 40, 112, 960]),
)
