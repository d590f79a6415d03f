"""``check-data`` on folders of labels."""

import json
import shutil

import pytest

import selnext_mm
from selnext_mm.__main__ import main
from selnext_mm.errors import UserError
from selnext_mm.recipes.check import check_data, is_labels
from tests.datasets.formats.writers import SMALL, WRITERS, picture

pytest.importorskip('mmdet', reason='needs mmdet')


@pytest.mark.parametrize('kind', WRITERS)
def test_every_format_is_checked_and_counted(kind, tmp_path, capsys):
    folder = WRITERS[kind](SMALL, tmp_path / kind)
    assert main(['check-data', str(folder), '--no-duplicates', '--json', '-']) == 0
    content = json.loads(capsys.readouterr().out)
    images = {d['name'].split('_')[0]: d['images'] for d in content['datasets']}
    assert images == {split: len(c['images']) for split, c in SMALL.items()}
    assert main(['check-data', str(folder), '--no-duplicates']) == 0
    text = capsys.readouterr().out
    for name in ('ape', 'cat', 'dog'):
        assert f'{name}    train' in text
    assert '0 errors' in text


def test_class_folders_are_checked(folders, capsys):
    pytest.importorskip('mmpretrain', reason='needs mmpretrain')
    assert main(['check-data', str(folders.root), '--no-duplicates']) == 0
    text = capsys.readouterr().out
    assert 'task classification' in text
    assert 'cat' in text


def test_an_image_in_two_splits_is_told(tmp_path, capsys):
    pytest.importorskip('imagehash', reason='pip install -r requirements/formats.txt runs this')
    folder = WRITERS['coco2017'](SMALL, tmp_path / 'coco')
    images = {p.name: p for p in folder.rglob('*.png')}
    shutil.copy(images['train_000.png'], images['val_000.png'])
    assert main(['check-data', str(folder)]) == 0
    text = capsys.readouterr().out
    assert '1 group of duplicate images in two splits' in text
    assert 'train train_000.png, val val_000.png (0 of 256 bits differ)' in text


@pytest.mark.parametrize('images', [False, True])
def test_a_damaged_image_is_found_once(images, tmp_path):
    pytest.importorskip('imagehash', reason='pip install -r requirements/formats.txt runs this')
    folder = WRITERS['coco2017'](SMALL, tmp_path / 'coco')
    damaged = next(folder.rglob('val_000.png'))
    picture(64, 48).save(damaged, 'JPEG')  # the conversion reads no more than a JPEG's header
    damaged.write_bytes(damaged.read_bytes()[:-900])
    result = check_data(folder, images=images)
    assert result.errors == 1
    (found,) = [f for report in result.reports for f in report.findings if f.level == 'error']
    assert f'1 of {len(SMALL["val"]["images"])} images cannot be used' in found.text
    assert str(damaged) in str(found.examples)


def test_what_is_labels_and_what_a_config(tmp_path):
    (tmp_path / 'config.json').write_text('{"model": {"type": "X"}}')
    (tmp_path / 'labels.json').write_text('{"images": [], "annotations": [], "categories": []}')
    (tmp_path / 'data.yaml').write_text('train: images\nnames: [cat]\n')
    (tmp_path / 'config.yaml').write_text('model:\n  names: x\n')
    found = {p.name: is_labels(p) for p in tmp_path.iterdir()}
    assert found == {
        'config.json': False,
        'labels.json': True,
        'data.yaml': True,
        'config.yaml': False,
    }
    assert is_labels(tmp_path)
    assert not is_labels('mask_rcnn/selnext_atto_shapes.py')


def test_from_python_it_returns_what_the_command_shows(tmp_path, capsys):
    folder = WRITERS['yolo'](SMALL, tmp_path / 'yolo')
    steps = []

    def progress(name, total):
        steps.append([name, total, 0])

        def advance(count):
            steps[-1][2] += count

        return advance

    result = selnext_mm.check_data(folder, images=True, duplicates=False, progress=progress)
    assert (result.errors, result.images_read) == (0, True)
    assert steps
    assert all(total == done for _, total, done in steps)
    assert main(['check-data', str(folder), '--images', '--no-duplicates']) == 0
    shown = capsys.readouterr().out
    assert shown.endswith('\n'.join(line for _, line in result.lines()) + '\n')
    assert main(['check-data', str(folder), '--images', '--no-duplicates', '--json', '-']) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(result.as_dict()))
    with pytest.raises(selnext_mm.UserError, match='nowhere'):
        selnext_mm.check_data(tmp_path / 'nowhere')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(source=3), 'check_data: source=3; expected a string or a path'),
        (dict(source='.', splits='train'), "splits='train'; expected a list of strings"),
        (dict(source='.', images='yes'), "images='yes'; expected True or False"),
        (dict(source='.', workers='2'), "workers='2'; expected a whole number or None"),
        (dict(source='.', progress=True), 'progress=True; expected a function'),
    ],
)
def test_an_argument_of_the_wrong_kind(options, message):
    with pytest.raises(UserError, match=message):
        selnext_mm.check_data(**options)


CONFIG = 'mask_rcnn/selnext_atto_shapes.py'


@pytest.mark.parametrize('command', ['check-data', 'browse'])
@pytest.mark.parametrize(
    ('of_labels', 'options', 'words'),
    [
        (True, ['--data-root', 'x'], 'is labels, for which --data-root would change nothing'),
        (True, ['--cfg-options', 'a=1'], 'is labels, for which --cfg-options would change'),
        (False, ['--format', 'coco'], 'is a config, for which --format would change nothing'),
    ],
)
def test_options_of_the_other_kind_of_source(
    command, of_labels, options, words, shapes_root, tmp_path, capsys
):
    """They were taken, and changed nothing."""
    source = [str(shapes_root)] if of_labels else [CONFIG, '--data-root', str(shapes_root)]
    out = ['--out', str(tmp_path / 'a.png')] if command == 'browse' else []
    assert main([command, *source, *options, *out]) == 2
    assert words in capsys.readouterr().err


def test_a_split_that_labels_do_not_have(shapes_root):
    with pytest.raises(UserError, match=r'--splits test: .* has train, val alone'):
        check_data(shapes_root, splits=['test'])
