"""Class folders with equal folders inside: which level is the classes' is said, or asked for."""

import pytest

from selnext_mm.datasets.formats import find_dataset
from selnext_mm.errors import UserError
from tests.datasets.formats.bad_labels import folders


def names(*tops, inner=('ant', 'bee')):
    return [f'{top}/{name}/{top}{i}.png' for top in tops for name in inner for i in range(3)]


@pytest.mark.parametrize(
    'tops',
    [
        ('fold1', 'fold2', 'fold3'),
        ('Fold_0', 'Fold_1'),
        ('train/fold1', 'train/fold2', 'val/fold1', 'val/fold2'),
    ],
)
def test_folds_are_no_classes(tops, tmp_path):
    folders(*names(*tops))(tmp_path)
    with pytest.raises(UserError, match='has the folders ant, bee: these are folds') as told:
        find_dataset(tmp_path)
    assert tops[0].rpartition('/')[2] in str(told.value)
    assert 'train/ant/, train/bee/' in str(told.value)


def test_equal_folders_in_all_classes_are_told(tmp_path):
    folders(*names('dent', 'scratch', inner=('cam1', 'cam2')))(tmp_path)
    info = find_dataset(tmp_path)
    assert info.classes == ('dent', 'scratch')
    (line,) = [line for line in info.choices if 'has the folders' in line]
    assert 'each of dent, scratch has the folders cam1, cam2: the outer ones' in line


@pytest.mark.parametrize(
    'files',
    [
        names('ant', 'bee', inner=('images',)),
        [*names('ant', 'bee'), 'ant/1.png'],
        [*names('ant', inner=('x', 'y')), *names('bee', inner=('x', 'z'))],
        [f'fold{i}/{j}.png' for i in range(2) for j in range(5)],
    ],
)
def test_other_folders_are_no_news(files, tmp_path):
    folders(*files)(tmp_path)
    assert not [line for line in find_dataset(tmp_path).choices if 'has the folders' in line]
