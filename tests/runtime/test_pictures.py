"""Images prepared by the runtime against the transforms of mmcv and mmpretrain."""

import numpy as np
import pytest
from mmengine.config import Config

from selnext_mm.errors import UserError
from selnext_mm.export.pipeline import plain_steps
from selnext_mm.runtime.pictures import prepare, read_picture

TRANSFORMS = pytest.importorskip('mmpretrain.registry').TRANSFORMS
LOAD, PACK = dict(type='LoadImageFromFile'), dict(type='PackInputs')
PIPELINES = {
    'detection': [dict(type='mmcv.Resize', scale=(133, 80), keep_ratio=True)],
    'square': [dict(type='mmcv.Resize', scale=(37, 41), keep_ratio=False)],
    'one number': [dict(type='mmcv.Resize', scale=32, interpolation='area')],
    'classification': [
        dict(type='ResizeEdge', scale=48, edge='short', backend='pillow', interpolation='bicubic'),
        dict(type='CenterCrop', crop_size=40),
    ],
    'long edge': [dict(type='ResizeEdge', scale=50, edge='long')],
    'crop of a small image': [dict(type='CenterCrop', crop_size=91)],
}


def config(steps):
    pipeline = [LOAD, dict(type='LoadAnnotations'), *steps, PACK]
    return Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline))))


@pytest.mark.parametrize('name', PIPELINES)
@pytest.mark.parametrize('shape', [(90, 120), (121, 63), (200, 201)])
def test_the_same_pixels_as_the_pipeline(name, shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    data = dict(img=pixels.copy(), img_shape=shape, ori_shape=shape)
    for step in PIPELINES[name]:
        data = TRANSFORMS.build(step)(data)
    got = prepare(pixels, plain_steps(config(PIPELINES[name])))
    np.testing.assert_array_equal(got, data['img'])


@pytest.mark.parametrize(
    ('steps', 'text'),
    [
        ([dict(type='TenCrop')], 'has TenCrop: it is not supported'),
        ([dict(type='Resize', scale=32, interpolation='hamming')], 'interpolation=hamming'),
        ([dict(type='Resize', scale_factor=2)], 'scale_factor=2 is not supported'),
        ([dict(type='Resize', scale=(10, 0))], r'a size of \(10, 0\)'),
        ([dict(type='CenterCrop', crop_size=9, auto_pad=True)], 'auto_pad=True'),
    ],
)
def test_what_the_runtime_cannot_do_is_refused(steps, text):
    with pytest.raises(UserError, match=text):
        plain_steps(config(steps))


def test_a_file_is_read_as_the_pipeline_reads_it(tmp_path):
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # lying on its side
    Image.fromarray(noise).save(tmp_path / 'a.jpg', exif=exif)
    data = TRANSFORMS.build(LOAD)(dict(img_path=str(tmp_path / 'a.jpg')))
    assert data['img'].shape == (40, 30, 3)
    np.testing.assert_array_equal(read_picture(tmp_path / 'a.jpg'), data['img'])
