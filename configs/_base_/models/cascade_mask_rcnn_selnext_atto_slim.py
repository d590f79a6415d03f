# The cascade for 224x224 images of six classes: SELNeXt-atto, 64-channel FPN and heads.
# Lists are replaced as a whole by a child config, hence the heads and stages in full.
_base_ = './cascade_mask_rcnn_selnext_fpn.py'


def bbox_head(*target_stds):
    return dict(
        type='ConvFCBBoxHead',
        num_shared_convs=2,
        num_shared_fcs=1,
        in_channels=64,
        conv_out_channels=64,
        fc_out_channels=256,
        num_classes=6,
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=list(target_stds)),
        reg_decoded_bbox=True,
        norm_cfg=dict(type='SyncBN'),
        loss_cls=dict(type='CrossEntropyLoss'),
        loss_bbox=dict(type='GIoULoss', loss_weight=10.0),
    )


def stage(iou):
    return dict(
        assigner=dict(
            type='MaxIoUAssigner',
            pos_iou_thr=iou,
            neg_iou_thr=iou,
            min_pos_iou=iou,
            match_low_quality=False,
        ),
        sampler=dict(type='RandomSampler', num=64, pos_fraction=0.5, add_gt_as_proposals=True),
        mask_size=28,
        pos_weight=-1,
        debug=False,
    )


model = dict(
    backbone=dict(arch='atto'),
    neck=dict(in_channels=[40, 80, 160, 320], out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64, finest_scale=28, roi_layer=dict(sampling_ratio=2)),
        bbox_head=[
            bbox_head(0.1, 0.1, 0.2, 0.2),
            bbox_head(0.05, 0.05, 0.1, 0.1),
            bbox_head(0.033, 0.033, 0.067, 0.067),
        ],
        mask_roi_extractor=dict(out_channels=64, finest_scale=28, roi_layer=dict(sampling_ratio=1)),
        mask_head=dict(in_channels=64, conv_out_channels=64, num_convs=2, num_classes=6),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=200),
        rcnn=[stage(iou) for iou in (0.5, 0.6, 0.7)],
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=200)),
)
