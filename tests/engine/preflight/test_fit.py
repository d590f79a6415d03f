"""Parts of a config that do not fit together; most are in the table of bad inputs."""

import pytest
from mmengine.config import Config
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch import nn
from torch.utils.data import BatchSampler, DataLoader

from selnext_mm.config.load import load_config
from selnext_mm.engine.preflight.fit import (
    check_last_batch,
    check_masks,
    check_mixing,
    check_some_batch,
)
from selnext_mm.errors import UserError
from selnext_mm.models.attention.patnet_gates import MeanStdGate


def loader(images, batch, **options):
    data = list(range(images))
    return DataLoader(data, batch, sampler=DefaultSampler(data, shuffle=False), **options)


@pytest.mark.parametrize(('images', 'batch'), [(5, 4), (1, 4), (9, 2), (3, 1)])
def test_a_last_batch_of_one_image_is_told(images, batch):
    with pytest.raises(UserError, match=r'single image.*drop_last=True.*gate_norm_eval=True'):
        check_last_batch(loader(images, batch), nn.Sequential(MeanStdGate(8)))


@pytest.mark.parametrize(('images', 'batch', 'drop'), [(4, 4, False), (6, 4, False), (5, 4, True)])
def test_other_batches_are_taken(images, batch, drop):
    check_last_batch(loader(images, batch, drop_last=drop), nn.Sequential(MeanStdGate(8)))


def test_epochs_without_a_batch_are_told():
    with pytest.raises(UserError, match=r'3 images in batches of 4 .*drop_last.*batch_size=1'):
        check_some_batch(loader(3, 4, drop_last=True))
    check_some_batch(loader(3, 4))
    check_some_batch(loader(4, 4, drop_last=True))
    data = list(range(3))
    check_some_batch(DataLoader(data, 4, sampler=InfiniteSampler(data), drop_last=True))
    batches = BatchSampler(DefaultSampler(data), 4, drop_last=True)
    with pytest.raises(UserError, match=r'in batches of 4'):
        check_some_batch(DataLoader(data, batch_sampler=batches))


def test_a_gate_on_running_statistics_takes_one_image():
    class Fixed(MeanStdGate):
        def train(self, mode=True):
            return super().train(False)

    check_last_batch(loader(5, 4), nn.Sequential(Fixed(8)))
    check_last_batch(loader(5, 4), nn.Sequential(nn.BatchNorm2d(8)))


@pytest.mark.parametrize(
    'name',
    [
        'mask_rcnn/selnext_t_3x_coco.py',
        'cascade_mask_rcnn/selnext_t_3x_coco.py',
        'faster_rcnn/selnext_t_1x_coco.py',
        'retinanet/na_r50_2x_coco.py',
        'cls/selnext_t_in1k.py',
    ],
)
def test_the_recipes_fit(name):
    cfg = load_config(name)
    for loaders in (('train_dataloader', 'val_dataloader'), ('test_dataloader',)):
        check_masks(cfg, loaders)
        check_mixing(cfg, loaders)


def test_boxes_may_be_mixed():
    inner = dict(type='CocoDataset', pipeline=[dict(type='LoadAnnotations', with_bbox=True)])
    outer = dict(type='MultiImageMixDataset', dataset=inner, pipeline=[dict(type='mmdet.Mosaic')])
    check_mixing(Config(dict(train_dataloader=dict(dataset=outer))), ['train_dataloader'])
    inner['pipeline'][0]['with_mask'] = True
    with pytest.raises(UserError, match='Mosaic does not mix masks'):
        check_mixing(Config(dict(train_dataloader=dict(dataset=outer))), ['train_dataloader'])
