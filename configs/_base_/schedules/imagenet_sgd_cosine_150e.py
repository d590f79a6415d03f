# 150 epochs, batch 512, SGD, lr 0.1, cosine: the NA paper's section 5.1 for lightweight models.
# Its published code differs where the paper says nothing or otherwise: weight decay 4e-5, none
# on norms, depth-wise convolutions and biases, and 5 epochs of warm-up.
_base_ = 'mmpretrain::_base_/schedules/imagenet_bs256.py'

train_cfg = dict(max_epochs=150)
param_scheduler = dict(
    _delete_=True, type='CosineAnnealingLR', T_max=150, by_epoch=True, convert_to_iter_based=True
)

# 8 processes x 64 images
auto_scale_lr = dict(enable=False, base_batch_size=512)
