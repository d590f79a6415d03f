_base_ = './selnext_t.py'

pretrained = None  # ImageNet-1k weights, e.g. a checkpoint of cls/selnext_s_in1k.py

model = dict(backbone=dict(arch='small'))
