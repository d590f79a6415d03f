"""The channels that one part of a model gives and the next one takes."""

import re

import pytest

from selnext_mm.config.build import build_model
from selnext_mm.config.load import load_config
from selnext_mm.errors import UserError

CIFAR = 'cls/cifar10/selnext_atto_cifar10.py'
SHAPES = 'mask_rcnn/selnext_atto_shapes.py'


@pytest.mark.parametrize(
    ('config', 'options', 'wanted'),
    [
        (CIFAR, {'model.backbone.arch': 'yocto'}, 'model.head.in_channels=128'),
        (CIFAR, {'model.head.in_channels': 64}, 'model.head.in_channels=320'),
        ('cls/patnet_t0_in1k.py', {'model.backbone.arch': 't1'}, 'model.neck.in_channels=384'),
        ('cls/patnet_t0_in1k.py', {'model.head.in_channels': 256}, 'model.head.in_channels=1280'),
        (SHAPES, {'model.backbone.arch': 'yocto'}, '"model.neck.in_channels=[16,32,64,128]"'),
        (
            SHAPES,
            {'model.neck.out_channels': 32},
            'model.rpn_head.in_channels=32 model.roi_head.bbox_head.in_channels=32 '
            'model.roi_head.mask_head.in_channels=32 '
            'model.roi_head.bbox_roi_extractor.out_channels=32 '
            'model.roi_head.mask_roi_extractor.out_channels=32',
        ),
        (
            'retinanet/selnext_t_1x_coco.py',
            {'model.bbox_head.in_channels': 128},
            'model.bbox_head.in_channels=256',
        ),
    ],
)
def test_parts_that_do_not_fit_are_told_with_what_fits(config, options, wanted):
    """Each would be a RuntimeError about shapes, in the first iteration."""
    pytest.importorskip('mmdet' if 'cls' not in config else 'mmpretrain')
    with pytest.raises(UserError, match=re.escape(f'--cfg-options {wanted}') + '$'):
        build_model(load_config(config, options))
