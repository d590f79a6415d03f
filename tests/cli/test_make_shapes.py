import json

import cv2
import pytest

from selnext_mm.cli.make_shapes import main
from selnext_mm.errors import UserError

ARGS = ['--train', '3', '--val', '2', '--size', '64']


def test_writes_and_summarises(tmp_path, capsys):
    folder = tmp_path / 'shapes'
    assert main([str(folder), *ARGS]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f'wrote {folder}'
    table = {row.split()[0]: [int(v) for v in row.split()[1:]] for row in lines[3:]}
    assert table['images'] == [3, 2]
    for i, split in enumerate(('train', 'val')):
        content = json.loads((folder / f'annotations/instances_{split}2017.json').read_text())
        assert table['objects'][i] == len(content['annotations'])
        rings = [a for a in content['annotations'] if a['category_id'] == 5]
        assert table['ring'][i] == len(rings)
        small = [a for a in content['annotations'] if a['area'] < 1024]
        assert table['small'][i] == len(small)
        assert sum(table[n][i] for n in ('small', 'medium', 'large')) == table['objects'][i]


def test_second_run_says_that_it_is_there_already(tmp_path, capsys):
    main([str(tmp_path / 's'), *ARGS])
    capsys.readouterr()
    assert main([str(tmp_path / 's'), *ARGS]) == 0
    assert capsys.readouterr().out.startswith('left alone, the same data set is there already')


def test_preview_shows_the_validation_images(tmp_path, capsys):
    target = tmp_path / 'new/preview.png'
    assert main([str(tmp_path / 's'), *ARGS, '--preview', str(target)]) == 0
    assert str(target) in capsys.readouterr().out
    sheet = cv2.imread(str(target))
    assert sheet.shape[0] > 280
    assert sheet.shape[1] > 2 * 280  # two images, side by side
    assert sheet.std() > 20


@pytest.mark.parametrize(
    ('extra', 'message'),
    [
        (['--size', '32'], 'size=32; expected a whole number from 64 to 1024'),
        (['--val', '0'], 'val=0'),
        (['--seed', '-1'], 'seed=-1'),
        (['--preview', 'x.jpg'], r'x\.jpg; expected a file name that ends in \.png'),
    ],
)
def test_bad_value_is_named(tmp_path, extra, message):
    with pytest.raises(UserError, match=message):
        main([str(tmp_path / 's'), *ARGS, *extra])
    assert not list(tmp_path.iterdir())


def test_preview_inside_the_data_set_is_refused(tmp_path):
    with pytest.raises(UserError, match='outside'):
        main([str(tmp_path / 's'), *ARGS, '--preview', str(tmp_path / 's/a.png')])
    assert not list(tmp_path.iterdir())
