# long name: selnext-atto_fcmae-ft_8xb128-ema-600e_in1k   (fine-tuning, ConvNeXt V2-A's recipe)
_base_ = '../cls/selnext_t_in1k.py'

pretrained = None  # a checkpoint of selnext_atto_fcmae_in1k.py; None trains from scratch

model = dict(
    backbone=dict(arch='atto', drop_path_rate=0.1, init_cfg=dict(checkpoint=pretrained)),
    head=dict(in_channels=320, loss=dict(label_smooth_val=0.2)),
    train_cfg=None,  # neither mixup nor cutmix
)

optim_wrapper = dict(
    optimizer=dict(lr=8e-4, weight_decay=0.3), paramwise_cfg=dict(layer_decay_rate=0.9)
)
train_cfg = dict(max_epochs=600)
cosine = dict(type='CosineAnnealingLR', T_max=600, eta_min=1e-6, end=600)
param_scheduler = [dict(cosine, by_epoch=True, convert_to_iter_based=True)]
auto_scale_lr = dict(base_batch_size=1024)
