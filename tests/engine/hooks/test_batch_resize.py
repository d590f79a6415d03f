from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from selnext_mm.engine.hooks.batch_resize import BatchResizeHook, resize

SIZES = (128, 160, 192, 224, 256, 288)


def test_every_size_is_drawn_about_equally_often():
    hook = BatchResizeHook([(0, SIZES)])
    counts = Counter(hook.side(0, i) for i in range(6000))
    assert set(counts) == set(SIZES)
    assert min(counts.values()) > 850


def test_the_draw_is_a_function_of_seed_and_iteration():
    draws = [
        [BatchResizeHook([(0, SIZES)], seed=s).side(0, i) for i in range(50)] for s in (0, 0, 1)
    ]
    assert draws[0] == draws[1] != draws[2]


def test_the_switch_of_the_published_code():
    hook = BatchResizeHook([(0, (192,)), (280, (224,))])
    assert [hook.side(e, 5) for e in (0, 279, 280, 299)] == [192, 192, 224, 224]


@pytest.mark.parametrize('stacked', [False, True])
def test_a_batch_is_resized_before_the_step(stacked):
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    batch = dict(inputs=images if stacked else list(images), data_samples=[1, 2, 3, 4])
    runner = SimpleNamespace(epoch=0, iter=3)
    BatchResizeHook([(0, (32,))]).before_train_iter(runner, 0, batch)
    assert len(batch['inputs']) == 4
    for image, before in zip(batch['inputs'], images, strict=True):
        assert image.shape == (3, 32, 32)
        assert image.dtype == torch.uint8
        assert abs(image.float().mean() - before.float().mean()) < 1
    assert batch['data_samples'] == [1, 2, 3, 4]


def test_a_constant_image_stays_constant_and_the_right_size_untouched():
    image = torch.full((3, 64, 64), 255, dtype=torch.uint8)
    assert (resize(image, 96) == 255).all()
    assert resize(image, 64) is image


@pytest.mark.parametrize(
    ('schedule', 'text'),
    [
        ([], 'from epoch 0'),
        ([(1, (64,))], 'from epoch 0'),
        ([(0, ())], 'from epoch 0'),
        ([(0, (64,)), (0, (96,))], 'in order'),
        ([(0, (100,))], 'multiples of 32'),
    ],
)
def test_a_wrong_schedule_is_refused(schedule, text):
    with pytest.raises(ValueError, match=text):
        BatchResizeHook(schedule)
