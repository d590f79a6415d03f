# long name: na-resnet50_8xb32_in1k
# 100 epochs, batch 256, SGD, lr 0.1, x0.1 every 30, weight decay 1e-4: the NA paper's section 5.1,
# and mmpretrain's own recipe for ResNet-50.
_base_ = [
    '../_base_/models/na_resnet_cls.py',
    'mmpretrain::_base_/datasets/imagenet_bs32.py',
    'mmpretrain::_base_/schedules/imagenet_bs256.py',
    '../_base_/imagenet_runtime.py',
]

pretrained = None  # backbone weights to start from; None trains from scratch

# Tables 2 and 3: backbone.attention_cfg=dict(type='NAModule', embedding=True), context='mean'.
model = dict(backbone=dict(init_cfg=dict(checkpoint=pretrained)))
auto_scale_lr = dict(enable=False)
