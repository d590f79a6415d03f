"""Masked pretraining in a session: trained, resumed exactly, and a start for a classifier."""

import json

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS
from PIL import Image

from selnext_mm import Session, UserError
from selnext_mm.config.load import load_config

pytest.importorskip('mmpretrain')
LEAF = 'ssl/selnext_yocto_fcmae_cifar10.py'
ARCH = dict(_delete_=True, depths=[1, 1, 1, 1], channels=[16, 24, 32, 40])
SMALL = {
    'model.backbone.arch': ARCH,
    'train_dataloader.batch_size': 8,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'default_hooks.logger.interval': 1,
}


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp('classes')
    rng = np.random.default_rng(0)
    for name in load_config(LEAF).train_dataloader.dataset.metainfo.classes:
        for split in ('train', 'test'):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(3):
                Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(
                    folder / f'{i}.png'
                )
    return root


@pytest.fixture(scope='module')
def pretrained(folders, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('pretrained') / 'run'
    Session(LEAF, folders, work_dir, {**SMALL, 'train_cfg.max_epochs': 2}).train()
    return work_dir / 'epoch_2.pth'


def losses(work_dir):
    lines = [json.loads(line) for p in work_dir.rglob('scalars.json') for line in p.open()]
    return {line['step']: line['loss'] for line in lines}


def test_it_goes_on_exactly_after_a_stop(folders, pretrained, tmp_path):
    options = {**SMALL, 'train_cfg.max_epochs': 2}
    Session(LEAF, folders, tmp_path / 'run', options).train()  # the same seed
    whole = losses(pretrained.parent)
    assert losses(tmp_path / 'run') == whole
    (tmp_path / 'run' / 'epoch_2.pth').unlink()
    (tmp_path / 'run' / 'last_checkpoint').write_text(str(tmp_path / 'run' / 'epoch_1.pth'))
    for log in (tmp_path / 'run').rglob('scalars.json'):
        log.unlink()
    Session(LEAF, folders, tmp_path / 'run', options).train(resume='auto')
    after = losses(tmp_path / 'run')
    assert after
    assert after == {step: loss for step, loss in whole.items() if step in after}
    both = [
        torch.load(p, weights_only=False)['state_dict']
        for p in (pretrained, tmp_path / 'run' / 'epoch_2.pth')
    ]
    assert all(torch.equal(both[0][key], both[1][key]) for key in both[0])


def test_a_classifier_starts_from_it(folders, pretrained, tmp_path, capfd):
    options = {
        **{k: v for k, v in SMALL.items() if 'arch' not in k},
        'model.backbone.arch': ARCH,
        'model.backbone.init_cfg': dict(
            type='Pretrained', checkpoint=str(pretrained), prefix='backbone.'
        ),
        'model.head.in_channels': 40,
        'train_cfg.max_epochs': 1,
        'train_cfg.val_interval': 1,
        **{f'{s}_dataloader.num_workers': 0 for s in ('val', 'test')},
        **{f'{s}_dataloader.persistent_workers': False for s in ('val', 'test')},
    }
    session = Session('cls/cifar10/selnext_atto_cifar10.py', folders, tmp_path / 'run', options)
    session.train()
    loaded = len([k for k in torch.load(pretrained)['state_dict'] if k.startswith('backbone.')])
    assert f'loaded {loaded} of {loaded} tensors' in ''.join(capfd.readouterr())


def test_it_has_nothing_to_test(folders, pretrained, tmp_path):
    session = Session(LEAF, folders, tmp_path / 'run', SMALL)
    with pytest.raises(UserError, match='cannot be tested: it has no test_dataloader'):
        session.test(pretrained)


def test_the_images_of_the_recipe_have_the_size_that_the_cells_need(folders):
    cfg = load_config(LEAF)
    cfg.train_dataloader.dataset.data_root = str(folders)
    image = DATASETS.build(dict(cfg.train_dataloader.dataset, _scope_='mmpretrain'))[0]['inputs']
    assert image.shape == (3, 64, 64)
    assert cfg.model.patch_size == 16
