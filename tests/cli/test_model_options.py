"""The commands that run models over images, end to end on tiny models."""

import csv
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from selnext_mm.__main__ import main
from selnext_mm.analysis.complexity import build_model
from selnext_mm.analysis.pictures import batches, find_images, read_image
from selnext_mm.config.load import load_config
from selnext_mm.inference import loading
from selnext_mm.inference.loading import load_for_inference
from selnext_mm.models.backbones import SELNeXt

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


def load(config, checkpoint):
    return load_for_inference(config, checkpoint, 'cpu', deployed=False, named=False).model


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / 'pictures'
    (folder / 'sub').mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, (h, w) in {'a.jpg': (60, 80), 'b.png': (90, 50), 'sub/c.JPG': (64, 64)}.items():
        Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)).save(folder / name)
    (folder / 'notes.txt').write_text('no image')
    return folder


@pytest.fixture
def models(tmp_path):
    """Two tiny configs with checkpoints whose every weight matters."""
    paths = []
    for name, attention in (('plain', None), ('seln', dict(type='SELN', reduction=4))):
        config = tmp_path / f'{name}.py'
        config.write_text(CONFIG.replace('ATTENTION', repr(attention)))
        model = build_model(load_config(config)).eval()
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


def test_cam(models, pictures, tmp_path, capsys):
    checkpoint = torch.load(models[1][1])
    checkpoint['meta'] = dict(dataset_meta=dict(classes=['cat', 'dog, hound', 'cow', 'hen']))
    torch.save(checkpoint, models[1][1])
    assert main(arguments('cam', models, pictures, tmp_path)) == 0
    out = capsys.readouterr().out
    assert 'plain: 3 maps at stages.3' in out
    assert 'seln: 3 maps at stages.3' in out
    rows = json.loads((tmp_path / 'out.json').read_text())
    assert [(r['model'], r['image'].rpartition('/')[2]) for r in rows] == [
        (m, f) for m in ('plain', 'seln') for f in ('a.jpg', 'b.png', 'c.JPG')
    ]
    for (config, _), model, label in zip(models, (rows[:3], rows[3:]), 'ps', strict=True):
        assert {r['method'] for r in model} == {'ablation'}
        # The scores are those of the model itself on the same images.
        net = load(config, config.replace('.py', '.pth'))
        (x,) = batches(find_images(pictures), net, 64)
        scores = net(x, mode='tensor').softmax(1)
        assert [r['predicted'] for r in model] == scores.argmax(1).tolist()
        assert [r['score'] for r in model] == pytest.approx(scores.amax(1).tolist(), rel=1e-4)
        names = ['cat', 'dog, hound', 'cow', 'hen'] if label == 's' else None
        for r in model:
            wanted = names[r['predicted']] if names else f'class {r["predicted"]}'
            assert r['predicted_name'] == wanted
    picture = np.asarray(Image.open(tmp_path / 'out.png').convert('RGB')).astype(int)
    # Three rows of three tiles: the last two columns are in the colours of a heat map.
    assert picture.shape[0] > 3 * 248
    assert picture.shape[1] > 3 * 248
    third = picture.shape[1] // 3
    warm = (picture[:, :, 0] - picture[:, :, 2] > 60).mean(0)
    assert warm[third:].mean() > warm[:third].mean()


def test_cam_explains_the_class_that_is_asked_for(models, pictures, tmp_path):
    config, checkpoint = models[1]
    args = ['--images', str(pictures), '--size', '64', '--out', str(tmp_path / 'new' / 'out.png')]
    args += ['--json', str(tmp_path / 'out.json'), '--target-class', '2', '--layer', 'stages.2']
    args += ['--method', 'gradcam', '--num', '1']
    assert main(['cam', '--model', f'ours={config}@{checkpoint}', *args]) == 0
    (row,) = json.loads((tmp_path / 'out.json').read_text())
    net = load(config, checkpoint)
    (x,) = batches(find_images(pictures, 1), net, 64)
    score = net(x, mode='tensor').softmax(1)[0, 2].item()
    assert (row['model'], row['target'], row['method']) == ('ours', 2, 'gradcam')
    assert row['layer'] == 'stages.2'
    assert row['target_score'] == pytest.approx(score, rel=1e-4)


def test_classes_are_named_by_the_data_set_of_the_config(tmp_path):
    config = tmp_path / 'cifar.py'
    data = "test_dataloader = dict(dataset=dict(type='CIFAR10', data_root='x'))"
    config.write_text(CONFIG.replace('ATTENTION', 'None') + data)
    assert load(config, None).dataset_meta['classes'][3] == 'cat'
    config.write_text(config.read_text().replace("'x'", "'x', metainfo=dict(classes=('a', 'b'))"))
    assert load(config, None).dataset_meta['classes'] == ('a', 'b')


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
        (['--labels', 'a'], '--labels has 1 entry for 2 configs'),
        (['--labels', 'a', 'a'], 'not distinct'),
        (['--out', 'x.jpg'], r'ends in .png'),
        (['--images', 'nowhere'], 'nowhere is not a folder'),
        (['--device', 'warp'], '--device warp'),
        (['--model', 'a=b.py'], 'not both'),
    ],
)
def test_bad_options_end_in_one_message(models, pictures, tmp_path, extra, message, capsys):
    assert main(arguments('feature-distance', models, pictures, tmp_path, *extra)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out.json').exists()


@pytest.mark.parametrize(
    ('extra', 'message'),
    [
        (['--target-class', 'cat'], '--target-class cat: neither the checkpoint nor the config'),
        (['--target-class', '4'], 'has the classes 0..3'),
        (['--layer', 'stages.7'], 'stages.0, stages.1, stages.2, stages.3'),
        (['--layer', 'a', 'b', 'c'], '--layer has 3 entries for 2 configs'),
    ],
)
def test_bad_options_of_cam_end_in_one_message(models, pictures, tmp_path, extra, message, capsys):
    assert main(arguments('cam', models, pictures, tmp_path, *extra)) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob('out.*'))


@pytest.mark.parametrize(
    ('models', 'message'),
    [
        ([], 'no model: give configs, or --model'),
        (['--model', 'x.py'], '--model x.py; expected NAME=CONFIG'),
        (['mask_rcnn/selnext_t_1x_coco.py'], 'need a classifier'),
    ],
)
def test_what_is_no_classifier_is_refused(models, message, pictures, tmp_path, capsys):
    out = ['--images', str(pictures), '--out', str(tmp_path / 'out.png')]
    assert main(['cam', *models, *out]) == 2
    assert message in capsys.readouterr().err


def test_a_checkpoint_of_another_model_is_refused(models, pictures, tmp_path, capsys):
    swapped = [(models[1][0], models[0][1])]
    assert main(arguments('gate-scales', swapped, pictures, tmp_path)) == 2
    assert 'is not a checkpoint of this model' in capsys.readouterr().err


def test_pictures_are_cropped_and_normalised(pictures):
    paths = find_images(pictures)
    assert [p.name for p in paths] == ['a.jpg', 'b.png', 'c.JPG']
    assert [p.name for p in find_images(pictures, 1)] == ['a.jpg']
    assert read_image(paths[1], 32).shape == (32, 32, 3)
    model = torch.nn.Conv2d(3, 3, 1)
    (x,) = batches(paths, model, 32)
    image = read_image(paths[0], 32)[:, :, 1].astype(float)
    assert x[0, 1].mean().item() == pytest.approx((image.mean() - 116.28) / 57.12, abs=1e-4)


def test_pictures_are_read_ahead_in_order_and_no_further(pictures, monkeypatch):
    paths = find_images(pictures) * 4
    seen, lock = [], threading.Lock()

    def read(path, size):
        with lock:
            seen.append((path, threading.current_thread() is threading.main_thread()))
        return read_image(path, size)

    monkeypatch.setattr('selnext_mm.analysis.pictures.read_image', read)
    model = torch.nn.Conv2d(3, 3, 1)
    stream = batches(paths, model, 32, batch_size=2)
    first = next(stream)
    assert len(seen) <= 5
    stream.close()
    assert len(seen) <= 5, 'reading went on after the consumer had stopped'
    assert not any(main for _, main in seen)
    whole = torch.cat([*batches(paths, model, 32, batch_size=5)])
    single = torch.cat([*batches(paths, model, 32, batch_size=1)])
    assert torch.equal(whole, single)
    assert torch.equal(whole[:2], first)
    assert torch.equal(whole[:3], whole[3:6])


def test_the_device_is_mmengines_unless_it_is_named(models, pictures, tmp_path, monkeypatch):
    used = []
    real = loading.load_for_inference

    def spy(config, checkpoint, device, **kwargs):
        used.append(device)
        return real(config, checkpoint, 'cpu', **kwargs)

    monkeypatch.setattr(loading, 'load_for_inference', spy)
    monkeypatch.setattr(loading, 'get_device', lambda: 'meta')
    assert main(arguments('feature-distance', models, pictures, tmp_path)) == 0
    assert main(arguments('feature-distance', models, pictures, tmp_path, '--device', 'cpu')) == 0
    assert used == ['meta'] * 2 + ['cpu'] * 2


def test_mps_is_chosen_where_torch_has_it(monkeypatch):
    monkeypatch.setattr(loading, 'get_device', lambda: 'mps')
    monkeypatch.setattr(loading.torch, 'empty', lambda *size, device: None)  # no MPS in the tests
    assert loading.choose_device() == torch.device('mps')
    assert loading.choose_device('cpu') == torch.device('cpu')


def test_left_over_tensors_are_refused(models, pictures, tmp_path, capsys):
    """A model without its attention would load the rest, and give other numbers."""
    (plain, _), (_, seln) = models
    assert main(arguments('feature-distance', [(plain, seln)], pictures, tmp_path)) == 2
    assert 'are not in the model (' in capsys.readouterr().err


COLOUR = (40, 90, 200)  # red, green, blue
MEAN, STD = (10.0, 20.0, 30.0), (2.0, 4.0, 8.0)
PREPROCESSOR = f"""
data_preprocessor = dict(num_classes=4, mean={list(MEAN)}, std={list(STD)}, to_rgb=True)
test_dataloader = dict(
    dataset=dict(
        type='CustomDataset',
        metainfo=dict(classes=('a', 'b', 'c', 'd')),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(64, 64)),
            dict(type='PackInputs'),
        ],
    )
)
"""


@pytest.mark.parametrize(
    'command', ['feature-distance', 'gate-scales', 'cam', 'predict', 'export --to onnx --normalize']
)
def test_the_preprocessor_at_the_top_of_a_config_normalises(command, models, tmp_path, monkeypatch):
    """As configs/cls/cifar10 has it; every command gives the model the same input."""
    config, checkpoint = models[1]
    start, end = CONFIG.split('    data_preprocessor=')
    text = (start + end.split('\n', 1)[1] + PREPROCESSOR).replace(
        'ATTENTION', "dict(type='SELN', reduction=4)"
    )
    Path(config).write_text(text)
    folder = tmp_path / 'one'
    folder.mkdir()
    Image.new('RGB', (64, 64), COLOUR).save(folder / 'a.png')
    seen = []
    real = SELNeXt.forward

    def spy(self, x):
        if x.numel() and not hasattr(x, 'fake_mode'):
            seen.append(x.detach().clone())
        return real(self, x)

    monkeypatch.setattr(SELNeXt, 'forward', spy)
    name, *options = command.split()
    if name == 'predict':
        argv = [name, config, checkpoint, str(folder), '--out', str(tmp_path / 'out')]
    elif name == 'export':
        pytest.importorskip('onnxruntime')
        out = tmp_path / 'model.onnx'
        argv = [name, config, checkpoint, *options, '--check', '1x64x64', '--out', str(out)]
    else:
        argv = arguments(name, [(config, checkpoint)], folder, tmp_path)
    assert main(argv) == 0
    wanted = torch.tensor([(c - m) / s for c, m, s in zip(COLOUR, MEAN, STD, strict=True)])
    if name == 'export':
        import onnxruntime

        session = onnxruntime.InferenceSession(out)
        pixels = torch.tensor(COLOUR, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, 64, 64)
        (given,) = session.run(None, {session.get_inputs()[0].name: pixels.numpy()})
        net = load(config, checkpoint)
        exact = net(wanted.view(1, 3, 1, 1).expand(1, 3, 64, 64), mode='tensor')
        assert torch.from_numpy(given).allclose(exact, atol=1e-4)
        return
    inputs = [x for x in seen if x.shape[-1] == 64 and x.std((0, 2, 3)).max() < 1e-3]
    assert inputs
    assert all(torch.allclose(x[0, :, 0, 0], wanted, atol=1e-4) for x in inputs)


def test_a_damaged_picture_is_named(pictures, models, tmp_path, capsys):
    (pictures / 'b.png').write_text('no image')
    assert main(arguments('feature-distance', models, pictures, tmp_path)) == 2
    assert 'b.png is not an image' in capsys.readouterr().err


@pytest.mark.realdata
def test_on_real_pictures(models, coco_root, tmp_path):
    for command, chosen in (
        ('feature-distance', models),
        ('gate-scales', models[1:]),
        ('cam', models),
    ):
        args = arguments(command, chosen, coco_root / 'train2017', tmp_path, '--num', '8')
        assert main(args) == 0
        assert (tmp_path / 'out.png').stat().st_size > 10_000
