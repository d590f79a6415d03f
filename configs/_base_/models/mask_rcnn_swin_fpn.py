# The detector of mask_rcnn_selnext_fpn.py with Swin in the place of SELNeXt.
_base_ = ['./mask_rcnn_selnext_fpn.py', './swin_t.py']

model = dict(backbone=dict(_base_.swin, _delete_=True))
