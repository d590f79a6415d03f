# long name: selnext-t_fcmae-ft_8xb128-ema-300e_in1k   (fine-tuning, ConvNeXt V2-T's recipe)
_base_ = '../cls/selnext_t_in1k.py'

pretrained = None  # a checkpoint of selnext_t_fcmae_in1k.py; None trains from scratch

model = dict(backbone=dict(drop_path_rate=0.2, init_cfg=dict(checkpoint=pretrained)))

optim_wrapper = dict(optimizer=dict(lr=3.2e-3), paramwise_cfg=dict(layer_decay_rate=0.9))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, end=40, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        T_max=260,
        eta_min=1e-6,
        by_epoch=True,
        begin=40,
        end=300,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=1024)
