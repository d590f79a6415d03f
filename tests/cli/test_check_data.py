"""The table, JSON and exit codes of check-data."""

import io
import json
import shutil

import pytest

from selnext_mm.__main__ import main
from selnext_mm.cli.terminal import show

CONFIG = 'mask_rcnn/selnext_atto_shapes.py'


def test_a_sound_data_set(shapes_root, capsys, tmp_path):
    out = tmp_path / 'report.json'
    code = main(['check-data', CONFIG, '--data-root', str(shapes_root), '--images'])
    text = capsys.readouterr().out
    assert code == 0
    assert '16 images' in text
    assert '0 errors' in text
    code = main(['check-data', CONFIG, '--data-root', str(shapes_root), '--json', str(out)])
    assert code == 0
    content = json.loads(out.read_text())
    assert content['ok']
    assert [d['name'] for d in content['datasets']] == ['train_dataloader', 'val_dataloader']
    truth = json.loads((shapes_root / 'annotations' / 'instances_train2017.json').read_text())
    names = {c['id']: c['name'] for c in truth['categories']}
    for name, counts in content['datasets'][0]['classes'].items():
        ours = [a for a in truth['annotations'] if names[a['category_id']] == name]
        assert counts == dict(annotations=len(ours), images=len({a['image_id'] for a in ours}))


@pytest.fixture
def broken(shapes_root, tmp_path):
    """The shapes with a truncated, a missing and a renamed thing."""
    root = tmp_path / 'shapes'
    shutil.copytree(shapes_root, root)
    pictures = sorted((root / 'train2017').iterdir())
    data = pictures[0].read_bytes()
    pictures[0].write_bytes(data[: len(data) * 9 // 10])
    sorted((root / 'val2017').iterdir())[0].unlink()
    path = root / 'annotations' / 'instances_train2017.json'
    content = json.loads(path.read_text())
    content['categories'][1]['name'] = 'sqare'
    path.write_text(json.dumps(content))
    return root, pictures[0].name


def test_what_is_wrong_is_in_the_table_and_in_the_exit_code(broken, capsys):
    root, picture = broken
    assert main(['check-data', CONFIG, '--data-root', str(root), '--images']) == 1
    text = capsys.readouterr().out
    assert f'{picture} is truncated' in text
    assert "'square' (did you mean 'sqare'?)" in text
    assert '1 of 8 images are missing' in text
    assert '3 errors' in text


def test_splits_and_json_on_the_screen(broken, capsys):
    root, _ = broken
    arguments = ['check-data', CONFIG, '--data-root', str(root), '--splits', 'val', '--json', '-']
    assert main(arguments) == 1
    content = json.loads(capsys.readouterr().out)
    (dataset,) = content['datasets']
    (finding,) = [f for f in dataset['findings'] if f['level'] == 'error']
    assert (finding['check'], finding['count']) == ('missing', 1)


def test_all_configs_with_coco_data_can_be_checked(shapes_root, capsys):
    """Stock data sets of the leaves are known: what is wrong with the shapes is their classes."""
    for name in ('retinanet/na_r50_2x_coco.py', 'cascade_rcnn/r50_2x_coco.py'):
        assert main(['check-data', name, '--data-root', str(shapes_root)]) == 1
        assert 'of the 80 classes of the config are not in the file' in capsys.readouterr().out


def test_half_a_character_in_a_name_is_shown_escaped(shapes_root, tmp_path, capsys):
    """Legal JSON, which no terminal takes."""
    root = tmp_path / 'shapes'
    shutil.copytree(shapes_root, root)
    path = root / 'annotations' / 'instances_train2017.json'
    content = json.loads(path.read_text())
    content['categories'][1]['name'] = 'squ\ud800re'
    content['images'][0]['file_name'] = '\udfff.png'
    path.write_text(json.dumps(content))
    assert main(['check-data', CONFIG, '--data-root', str(root)]) == 1
    out = capsys.readouterr().out
    assert 'squ\\ud800re' in out
    arguments = ['--data-root', str(root), '--json', str(tmp_path / 'report.json')]
    assert main(['check-data', CONFIG, *arguments]) == 1
    assert 'ud800' in (tmp_path / 'report.json').read_text()


def test_names_that_the_output_cannot_show(capsys, monkeypatch):
    """An ASCII terminal and the name of a class in Chinese, or half of a character."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding='ascii')
    monkeypatch.setattr('sys.stdout', stream)
    show([('', 'train: \u732b \ud800')])
    stream.flush()
    assert stream.buffer.getvalue() == b'train: \\u732b \\ud800\n'


def test_a_report_replaces_the_former_one_as_a_whole(shapes_root, tmp_path, monkeypatch):
    out = tmp_path / 'report.json'
    out.write_text('former')

    def full(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.replace', full)
    arguments = ['--data-root', str(shapes_root), '--json', str(out)]
    assert main(['check-data', CONFIG, *arguments]) == 2
    assert out.read_text() == 'former'
    assert sorted(p.name for p in tmp_path.iterdir()) == ['report.json']
