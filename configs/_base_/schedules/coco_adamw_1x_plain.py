# 12 epochs, AdamW with weight decay 1e-4 on all parameters, steps at 8 and 11 (PATNet, Table 8).
_base_ = 'mmdet::_base_/schedules/schedule_1x.py'

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=2e-4, betas=(0.9, 0.999), weight_decay=1e-4)
)
