"""The line per interval, and the bar, on a real runner of a toy model."""

import io
import json
import logging
import re
import sys
from math import nan

import pytest
import torch
from mmengine.model import BaseModel
from rich.console import Console
from torch import nn

from selnext_mm.engine.hooks.progress import (
    ConciseLogProcessor,
    ProgressBarHook,
    loss_text,
    rate_text,
)
from selnext_mm.engine.runner import ConciseRunner


class Toy(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, inputs, labels, mode='tensor'):
        loss = (self.layer(inputs) - labels).square().mean()
        return {'loss_a': loss, 'loss_b': loss * 0.5}


class Pairs(torch.utils.data.Dataset):
    metainfo = {'classes': ('cat', 'dog')}

    def __len__(self):
        return 16

    def __getitem__(self, index):
        return torch.ones(2), torch.ones(1)


@pytest.fixture
def make_runner(tmp_path):
    counter = iter(range(100))

    def make(**more):
        return ConciseRunner(
            model=Toy(),
            work_dir=str(tmp_path / 'work'),
            train_dataloader=dict(
                dataset=Pairs(),
                batch_size=2,
                sampler=dict(type='DefaultSampler', shuffle=False),
                collate_fn=dict(type='default_collate'),
            ),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
            train_cfg=dict(by_epoch=True, max_epochs=2),
            default_hooks=dict(logger=dict(type='LoggerHook', interval=4)),
            experiment_name=f'toy_{tmp_path.name}_{next(counter)}',
            **more,
        )

    return make


def test_the_banner_is_short_and_the_lines_are_one_line_each(make_runner, tmp_path):
    make_runner().train()
    (log,) = (tmp_path / 'work').glob('*/*.log')
    lines = log.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if 'selnext_mm 0' in line)
    banner = lines[start : start + 1]
    banner += [line for line in lines[start + 1 :] if line.startswith('  ')]
    assert 6 < len(banner) <= 15
    text = '\n'.join(banner)
    for part in ('Toy', 'all trained', '16 images', '2 classes: cat, dog', '2 epochs', 'SGD'):
        assert part in text
    assert '2 images x 1 process = 2' in text
    assert str(tmp_path / 'work') in text
    train = [line for line in lines if 'Epoch(train)' in line]
    assert len(train) == 4
    pattern = (
        r'Epoch\(train\) +\[\d\]\[\d/8\]  eta \d:\d\d:\d\d  [\d.]+ (?:it/s|s/it)  \d+ MB  '
        r'(?:\d+% waiting for data  )?lr 1.00e-02  loss \d\.\d{4} \(a \d.\d{3}, b \d.\d{3}\)$'
    )
    for line in train:
        assert re.search(pattern, line), line
    assert lines.index(train[0]) < 60
    environment = next((tmp_path / 'work').glob('*/environment.txt')).read_text()
    assert 'run parameters: 3, all trained' in environment


def test_a_run_beyond_its_last_iteration_has_no_time_left(make_runner, monkeypatch, tmp_path):
    """As with ``--resume`` and less data than before: mmengine says '-1 day, 23:59:27'."""
    runner = make_runner()
    monkeypatch.setattr(type(runner), 'max_iters', property(lambda self: 1))
    runner.train()
    (log,) = (tmp_path / 'work').glob('*/*.log')
    shown = re.findall(r'eta (\S+)', log.read_text())
    assert shown
    assert set(shown) == {'0:00:00'}


def test_the_scalars_are_those_of_the_stock_class(make_runner, tmp_path):
    make_runner().train()
    (file,) = (tmp_path / 'work').glob('*/vis_data/scalars.json')
    row = json.loads(file.read_text().splitlines()[-1])
    assert {'lr', 'loss', 'loss_a', 'loss_b', 'time', 'data_time', 'epoch', 'iter'} <= set(row)


def test_the_line_of_a_validation_leaves_out_single_classes(make_runner):
    runner, processor = make_runner(), ConciseLogProcessor()
    processor._get_dataloader_size = lambda runner, mode: 4  # the toy has no validation
    values = {'coco/traffic light_precision': 0.25, 'coco/bbox_mAP': 0.5, 'coco/cat_precision': nan}
    for key, value in values.items():
        runner.message_hub.update_scalar(f'val/{key}', value)
    scalars, line = processor.get_log_after_epoch(runner, 4, 'val')
    assert set(values) <= set(scalars)
    assert 'coco/bbox_mAP: 0.5000' in line
    assert '_precision' not in line
    assert 'traffic' not in line
    assert '0.25' not in line
    assert 'nan' not in line


def test_another_log_processor_is_left_alone(make_runner, tmp_path):
    from mmengine.registry import LOG_PROCESSORS
    from mmengine.runner import LogProcessor

    @LOG_PROCESSORS.register_module(force=True)
    class MyProcessor(LogProcessor):
        pass

    runner = make_runner(log_processor=dict(type='MyProcessor'))
    assert type(runner.log_processor) is MyProcessor


def test_the_bar_shows_all_and_log_lines_stay_whole(make_runner, monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(sys, '__stdout__', sys.stdout)
    runner = make_runner()
    console = Console(file=terminal, force_terminal=True, width=160, legacy_windows=False)
    bar = ProgressBarHook(console)
    runner.register_hook(bar)
    streams = [h.stream for h in runner.logger.handlers if type(h) is logging.StreamHandler]
    runner.train()
    shown = terminal.getvalue()
    plain = re.sub(r'\x1b\[[0-9;]*m', '', shown)  # colours
    plain = re.sub(r'\x1b\[[0-9;?]*[A-Za-z]', '\n', plain)  # moves of the cursor
    last = [line for line in plain.splitlines() if 'epoch 2/2' in line][-1]
    assert re.search(r'(it/s|s/it)  eta 0:00:00  \d+ MB  loss \d\.\d{4}', last), last
    assert bar.progress is None
    after = [h.stream for h in runner.logger.handlers if type(h) is logging.StreamHandler]
    assert after == streams, 'the log has its stream back'


def test_an_error_gives_the_terminal_back(make_runner, monkeypatch):
    import selnext_mm.engine.runner as module

    made = []

    class Bar(ProgressBarHook):
        def __init__(self) -> None:
            super().__init__(Console(file=io.StringIO(), force_terminal=True))
            made.append(self)

        def after_train_iter(self, *args, **kwargs) -> None:
            raise RuntimeError('broken')

    monkeypatch.setattr(module, 'on_terminal', lambda: True)
    monkeypatch.setattr(module, 'ProgressBarHook', Bar)
    with pytest.raises(RuntimeError, match='broken'):
        make_runner().train()
    assert made[0].progress is None
    assert made[0].handlers == []


def test_rates_and_losses():
    assert rate_text(0.25) == '4.00 it/s'
    assert rate_text(2.5) == '2.50 s/it'
    assert loss_text({}) == ''
    assert loss_text({'loss': 1.0, 'loss_cls': 1.0}) == 'loss 1.0000'
    many = {'loss': 1.0} | {f's{i}.loss_cls': 0.1 for i in range(9)}
    assert loss_text(many) == 'loss 1.0000'
