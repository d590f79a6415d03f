"""The commands that run models over pictures, end to end on tiny models."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from selnext_mm.__main__ import main
from selnext_mm.analysis.complexity import build_model
from selnext_mm.analysis.image_folder import batches, find_images, read_image
from selnext_mm.engine.config import load_config

CONFIG = """
custom_imports = dict(imports=['selnext_mm'], allow_failed_imports=False)
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='SELNeXt',
        arch=dict(depths=(1, 1, 2, 1), channels=(8, 12, 16, 20)),
        attention_cfg=ATTENTION,
    ),
    head=dict(type='LinearClsHead', in_channels=20, num_classes=4),
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
)
"""


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / 'pictures'
    (folder / 'sub').mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, (h, w) in {'a.jpg': (60, 80), 'b.png': (90, 50), 'sub/c.JPG': (64, 64)}.items():
        Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)).save(folder / name)
    (folder / 'notes.txt').write_text('no picture')
    return folder


@pytest.fixture
def models(tmp_path):
    """Two tiny configs with checkpoints whose every weight matters."""
    paths = []
    for name, attention in (('plain', None), ('seln', dict(type='SELN', reduction=4))):
        config = tmp_path / f'{name}.py'
        config.write_text(CONFIG.replace('ATTENTION', repr(attention)))
        model = build_model(load_config(config))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        torch.save(dict(state_dict=model.state_dict()), tmp_path / f'{name}.pth')
        paths.append((str(config), str(tmp_path / f'{name}.pth')))
    return paths


def arguments(command, models, pictures, tmp_path, *extra):
    configs, checkpoints = zip(*models, strict=True)
    return [
        *(command, *configs, '--checkpoints', *checkpoints, '--images', str(pictures)),
        *('--size', '64', '--batch-size', '2', '--out', str(tmp_path / 'out.png')),
        *('--csv', str(tmp_path / 'out.csv'), '--json', str(tmp_path / 'out.json')),
        *extra,
    ]


def test_feature_distance(models, pictures, tmp_path, capsys):
    assert main(arguments('feature-distance', models, pictures, tmp_path)) == 0
    out = capsys.readouterr().out
    assert 'over 5 blocks, 3 images' in out
    rows = json.loads((tmp_path / 'out.json').read_text())
    assert [(r['model'], r['attention']) for r in rows[::5]] == [('plain', False), ('seln', True)]
    assert all(0 < r['mean'] < 0.6 and 0 <= r['std'] < 0.2 for r in rows)
    with open(tmp_path / 'out.csv', newline='') as file:
        assert [float(r['mean']) for r in csv.DictReader(file)] == [r['mean'] for r in rows]
    assert Image.open(tmp_path / 'out.png').size[0] > 800


def test_gate_scales(models, pictures, tmp_path, capsys):
    assert main(arguments('gate-scales', models[1:], pictures, tmp_path)) == 0
    assert 'seln stages.0.0.attention (SELN): after the gate' in capsys.readouterr().out
    rows = json.loads((tmp_path / 'out.json').read_text())
    assert len(rows) == 4 * (8 + 12 + 2 * 16 + 20)
    assert set(rows[0]) == {
        *('model', 'module', 'kind', 'channel'),
        *('before', 'before_std', 'after', 'after_std'),
    }
    assert Image.open(tmp_path / 'out.png').size[0] > 800


def test_several_batches_are_one(models, pictures, tmp_path):
    results = []
    for size in ('1', '3'):
        args = arguments('feature-distance', models, pictures, tmp_path, '--batch-size', size)
        assert main(args) == 0
        results.append(json.loads((tmp_path / 'out.json').read_text()))
    for a, b in zip(*results, strict=True):
        assert a['mean'] == pytest.approx(b['mean'], rel=1e-5)


@pytest.mark.parametrize(
    ('extra', 'message'),
    [
        (['--num', '0'], '--num 0; expected 1 or more'),
        (['--size', '8'], '--size 8; expected 32 or more'),
        (['--labels', 'a'], '--labels has 1 entries for 2 configs'),
        (['--labels', 'a', 'a'], 'not distinct'),
        (['--out', 'x.jpg'], r'ends in .png'),
        (['--images', 'nowhere'], 'nowhere is not a folder'),
        (['--device', 'warp'], '--device warp'),
    ],
)
def test_bad_options_end_in_one_message(models, pictures, tmp_path, extra, message, capsys):
    assert main(arguments('feature-distance', models, pictures, tmp_path, *extra)) == 2
    assert message in capsys.readouterr().err


def test_a_checkpoint_of_another_model_is_refused(models, pictures, tmp_path, capsys):
    swapped = [(models[1][0], models[0][1])]
    assert main(arguments('gate-scales', swapped, pictures, tmp_path)) == 2
    assert 'does not fit' in capsys.readouterr().err


def test_pictures_are_cropped_and_normalised(pictures):
    paths = find_images(pictures)
    assert [p.name for p in paths] == ['a.jpg', 'b.png', 'c.JPG']
    assert [p.name for p in find_images(pictures, 1)] == ['a.jpg']
    assert read_image(paths[1], 32).shape == (32, 32, 3)
    model = torch.nn.Conv2d(3, 3, 1)
    (x,) = batches(paths, model, 32)
    image = read_image(paths[0], 32)[:, :, 1].astype(float)
    assert x[0, 1].mean().item() == pytest.approx((image.mean() - 116.28) / 57.12, abs=1e-4)


def test_a_damaged_picture_is_named(pictures, models, tmp_path, capsys):
    (pictures / 'b.png').write_text('no picture')
    assert main(arguments('feature-distance', models, pictures, tmp_path)) == 2
    assert 'b.png is not a picture' in capsys.readouterr().err


@pytest.mark.realdata
def test_on_real_pictures(models, coco_root, tmp_path):
    for command, chosen in (('feature-distance', models), ('gate-scales', models[1:])):
        args = arguments(command, chosen, coco_root / 'train2017', tmp_path, '--num', '8')
        assert main(args) == 0
        assert (tmp_path / 'out.png').stat().st_size > 10_000
