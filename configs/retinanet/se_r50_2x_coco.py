# long name: retinanet_se-r50_fpn_2x-18-22_coco
_base_ = './r50_2x_coco.py'

# mmpretrain's SE-ResNet-50 and its published weights.
model = dict(
    backbone=dict(
        type='mmpretrain.SEResNet',
        init_cfg=dict(
            checkpoint='https://download.openmmlab.com/mmclassification/v0/se-resnet/'
            'se-resnet50_batch256_imagenet_20200804-ae206104.pth',
            prefix='backbone.',
        ),
    )
)
