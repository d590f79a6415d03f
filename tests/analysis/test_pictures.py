"""Batches from a folder of images: the channels in the order in which the model was trained."""

import pytest
import torch
from mmengine.model import ImgDataPreprocessor
from PIL import Image
from torch import nn

from selnext_mm.analysis.pictures import batches

RGB = (10, 20, 30)


def preprocessor(kind, swaps):
    if kind == 'mmengine':
        return ImgDataPreprocessor(mean=[1, 2, 3], std=[1, 1, 1], bgr_to_rgb=swaps)
    models = pytest.importorskip('mmpretrain.models')
    return models.ClsDataPreprocessor(mean=[1, 2, 3], std=[1, 1, 1], to_rgb=swaps)


@pytest.mark.parametrize('kind', ['mmengine', 'mmpretrain'])
@pytest.mark.parametrize(('swaps', 'wanted'), [(True, [9, 18, 27]), (False, [29, 18, 7])])
def test_channels_are_in_the_order_of_the_preprocessor(tmp_path, kind, swaps, wanted):
    """Configs without the swap train on what OpenCV reads: blue, green, red."""
    Image.new('RGB', (16, 16), RGB).save(tmp_path / 'a.png')
    model = nn.Conv2d(3, 1, 1)
    model.data_preprocessor = preprocessor(kind, swaps)
    (batch,) = batches([tmp_path / 'a.png'], model, 8)
    assert batch.shape == (1, 3, 8, 8)
    torch.testing.assert_close(batch[0, :, 0, 0], torch.tensor(wanted, dtype=torch.float))


def test_a_model_without_one_gets_red_first(tmp_path):
    Image.new('RGB', (16, 16), (255, 0, 0)).save(tmp_path / 'a.png')
    (batch,) = batches([tmp_path / 'a.png'], nn.Conv2d(3, 1, 1), 8)
    assert batch[0, 0, 0, 0] > 2 > -1 > batch[0, 2, 0, 0]
