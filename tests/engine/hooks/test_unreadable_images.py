"""Unreadable images in a run of mmengine's own runner: skipped, named, limited."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.model import BaseModel
from mmengine.registry import DATASETS

from selnext_mm.engine.hooks.unreadable_images import (
    FILE,
    GuardedLoad,
    UnreadableImagesHook,
    guard_image_loading,
)
from selnext_mm.engine.runner import ConciseRunner
from selnext_mm.errors import UserError

pytest.importorskip('mmcv')


@DATASETS.register_module(name='TwentyPictures', force=True)
class Pictures(BaseDataset):
    def load_data_list(self):
        return [dict(img_path=f'{self.data_root}/{i}.png') for i in range(20)]


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, img, mode='tensor', **kwargs):
        return dict(loss=self.weight * 0) if mode == 'loss' else [0]


def loader(root, workers=0, test_mode=False, wrapped=False):
    dataset = dict(
        type='TwentyPictures',
        data_root=str(root),
        pipeline=[dict(type='LoadImageFromFile')],
        test_mode=test_mode,
    )
    if wrapped:
        dataset = dict(type='RepeatDataset', times=1, dataset=dataset)
    return dict(
        batch_size=2,
        num_workers=workers,
        dataset=dataset,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'data').mkdir()
    for i in range(20):
        cv2.imwrite(str(tmp_path / 'data' / f'{i}.png'), np.full((4, 4, 3), i, np.uint8))
    return tmp_path / 'data'


def runner(tmp_path, train, hooks=None, cfg=None, **kwargs):
    return ConciseRunner(
        model=Model(),
        work_dir=str(tmp_path / 'work'),
        train_dataloader=train,
        train_cfg=cfg or dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=hooks,
        experiment_name=f'unreadable_{tmp_path.name}',
        log_level='INFO',
        **kwargs,
    )


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('wrapped', [False, True])
def test_broken_images_are_skipped_counted_and_named(
    folder, tmp_path, workers, wrapped, monkeypatch
):
    (folder / '3.png').write_bytes(b'broken')
    (folder / '7.png').unlink()
    run = runner(tmp_path, loader(folder, workers, wrapped=wrapped))
    warnings = []
    monkeypatch.setattr(run.logger, 'warning', lambda text, *args: warnings.append(text))
    run.train()
    assert run.iter == 20  # two epochs of ten iterations: none is lost
    lines = (tmp_path / 'work' / run.timestamp / FILE).read_text().splitlines()
    assert {line.split('\t')[0] for line in lines} == {str(folder / '3.png'), str(folder / '7.png')}
    text = '\n'.join(warnings)
    assert sum(line.startswith('skipped ') for line in warnings) == 2
    assert f'skipped {folder}/7.png: No such file' in text
    assert '(2 unreadable, limit 10)' in text
    assert warnings[-1].startswith('trained without 2 images that could not be used: ')
    assert warnings[-1].endswith(f'{run.timestamp}/{FILE}')


def test_loops_that_count_iterations_are_guarded_too(folder, tmp_path):
    """Their data loader starts its workers when the loop is built."""
    (folder / '0.png').unlink()
    run = runner(tmp_path, loader(folder, 1), cfg=dict(by_epoch=False, max_iters=10))
    run.train()
    assert (tmp_path / 'work' / run.timestamp / FILE).exists()


def test_above_the_limit_the_run_stops(folder, tmp_path):
    for i in range(0, 20, 4):
        (folder / f'{i}.png').write_bytes(b'')
    hooks = [dict(type='UnreadableImagesHook', min_images=3, interval=2)]
    run = runner(tmp_path, loader(folder), hooks)
    with pytest.raises(UserError, match=r'4 training images .* limit of 3.*still mounted'):
        run.train()
    assert run.iter < 10


def test_a_share_of_a_large_data_set_is_the_limit(folder, tmp_path):
    hook = UnreadableImagesHook(max_share=0.5, min_images=0)
    run = runner(tmp_path, loader(folder), [hook])
    run.train()
    assert hook.limit == 10
    assert sum(isinstance(h, UnreadableImagesHook) for h in run.hooks) == 1


@pytest.mark.parametrize('workers', [0, 1])
def test_an_evaluation_names_the_image_instead(folder, tmp_path, workers):
    (folder / '5.png').write_bytes(b'')
    run = runner(
        tmp_path,
        loader(folder),
        val_dataloader=loader(folder, workers, test_mode=True),
        val_cfg=dict(),
        val_evaluator=dict(type='DumpResults', out_file_path=str(tmp_path / 'a.pkl')),
    )
    with pytest.raises(UserError) as caught:
        run.val()
    message = str(caught.value)
    assert message.startswith(f'{folder}/5.png cannot be read')
    assert 'Traceback' not in message
    assert '\n' not in message


def test_the_config_of_the_run_is_left_as_it_is():
    cfg = ConfigDict(loader('x', wrapped=True))
    before = cfg.to_dict()
    guarded = guard_image_loading(cfg, 'list.txt', sizes=True)
    assert cfg.to_dict() == before
    assert guarded.dataset.dataset.pipeline[0] == dict(
        type='GuardedLoad',
        transform=dict(type='LoadImageFromFile'),
        record='list.txt',
        sizes=True,
    )


def test_an_image_of_another_size_than_annotated_is_given_up_or_one_message(folder, tmp_path):
    node = dict(type='LoadImageFromFile')
    sample = dict(img_path=str(folder / '0.png'), width=4, height=5)
    record = tmp_path / 'list.txt'
    assert GuardedLoad(node, record, sizes=True)(dict(sample)) is None
    assert record.read_text() == f'{folder}/0.png\tit is 4 x 4, annotated 4 x 5\n'
    with pytest.raises(UserError, match=r'0\.png cannot be used \(it is 4 x 4, annotated 4 x 5\)'):
        GuardedLoad(node, sizes=True)(dict(sample))
    for other in (dict(sample, height=4), dict(img_path=sample['img_path'])):
        assert GuardedLoad(node, sizes=True)(other)['img'].shape == (4, 4, 3)
    assert GuardedLoad(node)(dict(sample))['img'].shape == (4, 4, 3)


@pytest.mark.parametrize('name', ['mmdet.LoadImageFromFile', 'mmcv.LoadImageFromFile'])
def test_names_with_a_scope_are_known(name):
    assert guard_image_loading([dict(type=name)])[0]['type'] == 'GuardedLoad'
    assert guard_image_loading([dict(type='LoadImageFromFileX')])[0]['type'] == 'LoadImageFromFileX'


def test_what_a_decoder_raises_is_a_skipped_sample(tmp_path):
    def broken(results):
        raise AssertionError(f'failed to load image: {results["img_path"]}\n')

    record = tmp_path / 'list.txt'
    load = GuardedLoad(broken, record)
    assert load(dict(img_path='a.jpg')) is None
    assert GuardedLoad(lambda results: None, record)(dict(img_path='b.jpg')) is None
    assert record.read_text() == (
        'a.jpg\tit cannot be decoded\nb.jpg\tthe loader returned nothing\n'
    )
    with pytest.raises(UserError, match=r'a\.jpg cannot be read'):
        GuardedLoad(broken)(dict(img_path='a.jpg'))


def test_no_memory_is_not_taken_for_a_broken_image(tmp_path):
    def full(results):
        raise MemoryError

    with pytest.raises(MemoryError):
        GuardedLoad(full, tmp_path / 'list.txt')(dict(img_path='a.jpg'))


def test_mmcvs_own_loader_is_guarded(tmp_path):
    (tmp_path / 'a.jpg').write_bytes(b'no image')
    load = GuardedLoad(dict(type='mmcv.LoadImageFromFile'), tmp_path / 'list.txt')
    assert load(dict(img_path=str(tmp_path / 'a.jpg'))) is None
    assert load(dict(img_path=str(tmp_path / 'none.jpg'))) is None
    assert (tmp_path / 'list.txt').read_text().count('\n') == 2


@pytest.mark.parametrize('options', [dict(max_share=2), dict(min_images=-1), dict(interval=0)])
def test_limits_out_of_range_are_told(options):
    with pytest.raises(UserError, match='UnreadableImagesHook'):
        UnreadableImagesHook(**options)


def test_the_limit_of_one_process_stops_all(tmp_path, monkeypatch):
    """Another process has read more of the list."""
    hook = UnreadableImagesHook(min_images=3)
    hook.record, hook.limit = tmp_path / FILE, 3
    hook._look(None)
    monkeypatch.setattr(
        'selnext_mm.engine.hooks.unreadable_images.highest', lambda count: [count + 4]
    )
    with pytest.raises(UserError, match='4 training images cannot be used'):
        hook._look(None)
