"""Images with predictions: which ones, under which name, and what cannot be drawn."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import BaseDataElement
from PIL import Image

from selnext_mm.config.visualizer import show_predictions
from selnext_mm.engine.hooks.prediction_images import PredictionImagesHook
from selnext_mm.errors import UserError


class Visualizer:
    """Stands for mmdet's: keeps what it is asked to draw."""

    def __init__(self):
        self.drawn = []

    def add_datasample(self, name, image, data_sample, pred_score_thr, step):
        self.drawn.append((name, step, image.shape, pred_score_thr))


def evaluate(hook, paths, batch=2, epoch=3):
    loader = SimpleNamespace(sampler=range(len(paths)))
    loop = SimpleNamespace()
    runner = SimpleNamespace(
        val_dataloader=loader,
        visualizer=Visualizer(),
        epoch=epoch,
        iter=99,
        train_loop=loop,
        _train_loop=loop,
    )
    hook.before_val_epoch(runner)
    for start in range(0, len(paths), batch):
        samples = [BaseDataElement(metainfo={'img_path': p}) for p in paths[start : start + batch]]
        inputs = [torch.zeros(3, 4, 6, dtype=torch.uint8)] * len(samples)
        hook.after_val_iter(runner, start // batch, {'inputs': inputs}, samples)
    return runner.visualizer.drawn


@pytest.fixture
def paths(tmp_path):
    names = [f'a b{n}.png' for n in range(5)]
    for name in names:
        Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(tmp_path / name)
    return [str(tmp_path / name) for name in names]


def test_the_same_images_are_drawn_in_every_evaluation(paths):
    hook = PredictionImagesHook(2)
    first = evaluate(hook, paths)
    assert first == [
        ('prediction_0_a_b0', 3, (8, 9, 3), 0.3),
        ('prediction_1_a_b2', 3, (8, 9, 3), 0.3),
    ]
    assert [name for name, *_ in evaluate(hook, paths, epoch=4)] == [name for name, *_ in first]
    assert len(evaluate(PredictionImagesHook(9), paths)) == 5


def test_an_image_without_a_file_is_that_of_the_batch_and_an_unreadable_one_is_left_out(paths):
    assert evaluate(PredictionImagesHook(1), [None]) == [('prediction_0_image', 3, (4, 6, 3), 0.3)]
    with open(paths[0], 'wb') as file:
        file.write(b'no image')
    assert [name for name, *_ in evaluate(PredictionImagesHook(5), paths)] == [
        f'prediction_{n}_a_b{n}' for n in range(1, 5)
    ]


def test_mistakes_are_told():
    cfg = Config(dict(visualizer=dict(type='mmdet.DetLocalVisualizer')))
    with pytest.raises(UserError, match='--show-predictions 0; expected 1 or more'):
        show_predictions(cfg, 0)
    show_predictions(cfg, 4)
    assert cfg.custom_hooks == [dict(type='PredictionImagesHook', num=4)]
    with pytest.raises(UserError, match=r'the visualizer of the config \(none\) draws no'):
        show_predictions(Config(dict()), 4)
