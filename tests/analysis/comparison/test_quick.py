"""The quick recipe: what a batch is made of, against the steps that a config's pipeline has."""

import math
import os

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from PIL import Image

from selnext_mm.analysis.comparison.quick import (
    CropFlipPreprocessor,
    DecodedImages,
    crop_and_flip,
    use_quick_recipe,
)
from selnext_mm.analysis.comparison.table import resolved
from selnext_mm.config.build import build_model
from selnext_mm.config.load import load_config
from selnext_mm.errors import UserError


@pytest.fixture
def listed(tmp_path):
    """Four images of 6 x 5 pixels and the list of their labels."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (4, 5, 6, 3)).astype('uint8')
    (tmp_path / 'train').mkdir()
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / 'train' / f'{i}.png')
    (tmp_path / 'train.txt').write_text(''.join(f'{i}.png {i % 2}\n' for i in range(4)))
    return tmp_path, pixels


def data_set(folder):
    return DecodedImages(str(folder), 'train', str(folder / 'train.txt'), dict(classes=('a', 'b')))


def test_images_are_decoded_once_and_read_by_the_batch(listed):
    folder, pixels = listed
    first = data_set(folder)
    for path in (folder / 'train').iterdir():
        path.unlink()
    again = data_set(folder)  # from the file beside the list
    assert len(again) == 4
    assert again.metainfo['classes'] == ('a', 'b')
    for data in (first, again):
        batch = data.__getitems__([3, 0])
        assert batch['inputs'].dtype == torch.uint8
        np.testing.assert_array_equal(batch['inputs'], pixels[[3, 0]].transpose(0, 3, 1, 2))
        assert batch['labels'].tolist() == [1, 0]


def test_replaced_images_are_decoded_again(listed):
    folder, pixels = listed
    data_set(folder)
    other = folder / 'other.png'
    Image.fromarray(255 - pixels[2]).save(other)
    os.utime(other, (0, 0))  # older than what it replaces, as from an archive
    other.replace(folder / 'train' / '2.png')
    found = data_set(folder).__getitems__([1, 2])['inputs']
    np.testing.assert_array_equal(found[0], pixels[1].transpose(2, 0, 1))
    np.testing.assert_array_equal(found[1], 255 - pixels[2].transpose(2, 0, 1))


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda p: Image.new('RGB', (7, 5)).save(p), '2.png is 7 x 5 pixels, .*0.png 6 x 5; '),
        (lambda p: p.write_bytes(b'no image'), '2.png cannot be read as an image'),
    ],
)
def test_images_that_do_not_fit_are_named(spoil, message, listed):
    folder, _ = listed
    spoil(folder / 'train' / '2.png')
    with pytest.raises(UserError, match=message):
        data_set(folder)
    assert not list(folder.glob('*.npy'))


def test_every_crop_is_a_window_of_the_padded_image_either_way_round():
    count, height, width, padding = 600, 3, 4, 2
    images = (
        torch.arange(1, 1 + 2 * height * width).view(1, 2, height, width).repeat(count, 1, 1, 1)
    )
    padded = torch.nn.functional.pad(images[0], (padding,) * 4)
    windows = {}
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            window = padded[:, top : top + height, left : left + width]
            windows[tuple(window.flatten().tolist())] = (top, left, False)
            windows[tuple(window.flip(-1).flatten().tolist())] = (top, left, True)
    seen = [windows[tuple(x.flatten().tolist())] for x in crop_and_flip(images, padding)]
    # 50 kinds, each expected 12 times: a kind that cannot come is missing with certainty.
    assert len(set(seen)) == 50
    # 300 expected, standard deviation 12.2
    assert 240 < sum(flipped for *_, flipped in seen) < 360


def test_the_model_gets_what_the_pipeline_of_the_config_gives(listed):
    """Without augmentation: OpenCV's resize of bytes rounds, so half a step of 255 apart."""
    from mmcv.transforms import Compose

    folder, _ = listed
    cfg = load_config('cls/cifar10/selnext_atto_cifar10.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        pipeline = Compose(cfg.test_dataloader.dataset.pipeline)
        packed = [
            pipeline(dict(img_path=str(folder / 'train' / f'{i}.png'), gt_label=i))
            for i in range(4)
        ]
        stock = build_model(cfg).data_preprocessor
    batch = dict(
        inputs=[p['inputs'] for p in packed], data_samples=[p['data_samples'] for p in packed]
    )
    expected = stock(batch)['inputs']
    ours = CropFlipPreprocessor(cfg.data_preprocessor.mean, cfg.data_preprocessor.std, 64)
    out = ours(data_set(folder).__getitems__(range(4)))
    assert out['inputs'].shape == (4, 3, 64, 64)
    assert [int(s.gt_label) for s in out['data_samples']] == [0, 1, 0, 1]
    steps = (out['inputs'] - expected).abs() * torch.tensor(cfg.data_preprocessor.std).view(3, 1, 1)
    assert steps.max() < 1  # cv2 computes in fixed point and rounds


def test_the_recipe_changes_length_batch_rate_and_layer_scale():
    cfg = load_config('cls/cifar10/selnext_atto_cifar10.py')
    use_quick_recipe(cfg, 256)
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[0].total_steps == 20
    assert cfg.train_dataloader.batch_size == 256
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(1e-3 * math.sqrt(256 / 64))
    assert cfg.param_scheduler[0].eta_max == cfg.optim_wrapper.optimizer.lr
    model = build_model(cfg)
    assert model.backbone.stages[0][0].gamma.unique().tolist() == [1.0]
    # A backbone without layer scale has none afterwards either.
    for name in ('patnet_t0', 'na_resnet18'):
        cfg = load_config(f'cls/cifar10/{name}_cifar10.py')
        before = dict(cfg.model.backbone)
        use_quick_recipe(cfg)
        assert dict(cfg.model.backbone) == before


def test_what_is_resolved_is_the_interval_of_a_difference():
    from scipy.stats import ttest_ind

    one, two = [40.0, 44.0, 42.0], [47.0, 45.0, 49.0]
    rows = [dict(seeds=[0, 1, 2], top1=np.mean(x), top1_std=np.std(x, ddof=1)) for x in (one, two)]
    interval = ttest_ind(one, two).confidence_interval(0.95)
    assert resolved(rows) == pytest.approx((interval.high - interval.low) / 2)
    distances = [
        dict(row, distance_block=row['top1'] / 100, distance_block_std=row['top1_std'] / 100)
        for row in rows
    ]
    assert resolved(distances, 'distance_block') == pytest.approx(resolved(rows) / 100)
    assert resolved(rows[:1]) is None
    assert resolved([dict(seeds=[0], top1=1.0, top1_std=None)] * 2) is None
