"""Class folders and lists of images: shifted labels, empty classes, wrong lines."""

import pytest

from selnext_mm.datasets.check.folders import check_folder, check_list, compare_folders
from selnext_mm.datasets.hidden_folders import skip_hidden_folders
from selnext_mm.errors import UserError


def make(root, **classes):
    for name, count in classes.items():
        folder = root / name / 'sub'
        folder.mkdir(parents=True)
        for i in range(count):
            (folder / f'{i}.JPEG').touch()
    return root


def words(report):
    return ' | '.join(f'{f.level} {f.check} {f.sentence()}' for f in report.findings)


@pytest.mark.parametrize('deep', [True, False])
def test_a_sound_folder_has_no_findings(tmp_path, deep):
    report = check_folder(make(tmp_path, cat=2, dog=3), ('Katze', 'Hund'), deep=deep)
    assert report.findings == []
    assert report.classes == ({'cat': [2, 2], 'dog': [3, 3]} if deep else report.classes)
    assert report.images == (5 if deep else 2)


@pytest.mark.parametrize('deep', [True, False])
def test_names_in_another_order_than_the_folders_are_an_error(tmp_path, deep):
    """Labels are the places of the folders: the second class would be called by another's name."""
    folder = make(tmp_path, ape=1, cat=1, dog=1)
    assert 'error order' in words(check_folder(folder, ('dog', 'cat', 'ape'), deep=deep))
    assert 'error order' in words(check_folder(folder, ('Affe', 'dog', 'cat'), deep=deep))
    assert check_folder(folder, ('ape', 'cat', 'dog'), deep=deep).findings == []
    assert check_folder(folder, ('Affe', 'cat', 'Hund'), deep=deep).findings == []


@pytest.mark.parametrize('deep', [True, False])
def test_other_suffixes_are_counted(tmp_path, deep):
    folder = make(tmp_path, cat=1, dog=1)
    for name in ('cat/1.webp', 'cat/2.jfif', 'dog/1.webp', 'dog/readme.txt'):
        (folder / name).touch()
    stock = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif')
    report = check_folder(folder, None, deep=deep, extensions=stock)
    assert 'suffix: 2 .webp, 1 .jfif' in words(report)
    assert (
        check_folder(folder, None, deep=deep, extensions=(*stock, '.WEBP', '.jfif')).findings == []
    )


def test_hidden_files_and_folders_do_not_count(tmp_path):
    folder = make(tmp_path, cat=1, dog=1)
    (folder / '.ipynb_checkpoints').mkdir()
    (folder / 'cat' / '._0.JPEG').touch()
    report = check_folder(folder, ('cat', 'dog'))
    assert report.errors == []
    assert report.images == 2
    assert 'note hidden' in words(report)


def test_training_does_not_count_hidden_folders_either(tmp_path):
    custom = pytest.importorskip('mmpretrain.datasets.custom')
    skip_hidden_folders()
    (make(tmp_path, cat=1, dog=1) / '.ipynb_checkpoints').mkdir()
    assert custom.find_folders(str(tmp_path)) == (['cat', 'dog'], {'cat': 0, 'dog': 1})
    data = custom.CustomDataset(data_root=str(tmp_path), pipeline=[])
    assert [data.get_data_info(i)['gt_label'] for i in range(len(data))] == [0, 1]


def test_numbers_of_classes_differ(tmp_path):
    report = check_folder(make(tmp_path, cat=1, dog=1), ('cat', 'dog', 'fox'))
    assert 'error classes 2 class folders for the 3 classes of the config: cat, dog' in words(
        report
    )


def test_empty_classes_and_empty_folders(tmp_path):
    assert 'warn classes classes without an image: fox' in words(
        check_folder(make(tmp_path / 'a', cat=1, fox=0), None)
    )
    (tmp_path / 'b' / 'cat').mkdir(parents=True)
    (tmp_path / 'b' / 'cat' / 'notes.txt').touch()
    assert 'error images no images' in words(check_folder(tmp_path / 'b', None))
    with pytest.raises(UserError, match='cannot be listed'):
        check_folder(tmp_path / 'none', None)


def test_folders_that_differ_between_training_and_validation_shift_the_labels(tmp_path):
    train = check_folder(make(tmp_path / 'train', cat=1, dog=1, fox=1), None, 'train_dataloader')
    val = check_folder(make(tmp_path / 'val', cat=1, fox=1, owl=1), None, 'val_dataloader')
    compare_folders(train, val)
    assert 'lacks dog and has owl besides' in words(val)
    same = check_folder(make(tmp_path / 'same', cat=1, dog=0, fox=1), None)
    compare_folders(train, same)
    assert same.errors == []


def test_a_list_of_images_and_labels(tmp_path):
    path = tmp_path / 'list.txt'
    path.write_text('a b/1.jpg 0\na/2.jpg 1\na/3.jpg 1\n')
    report = check_list(path, tmp_path, ('cat', 'dog'))
    assert report.findings == []
    assert report.classes == {'cat': [1, 1], 'dog': [2, 2]}
    assert str(tmp_path / 'a b/1.jpg') in report.paths


@pytest.mark.parametrize(
    ('numbers', 'said'),
    [((0, 1, 2), ''), ((1, 2, 0), '6 of 6 images lie in the folder of another class')],
)
def test_labels_by_another_order_of_the_classes(tmp_path, numbers, said):
    folders = zip(('ape', 'cat', 'dog'), numbers, strict=True)
    lines = [f'train/{name}/{i}.jpg {label}' for name, label in folders for i in (1, 2)]
    path = tmp_path / 'list.txt'
    path.write_text('\n'.join(lines))
    found = words(check_list(path, tmp_path, ('ape', 'cat', 'dog')))
    assert said in found
    assert bool(found) == bool(said)


def test_a_few_labels_may_correct_their_folder(tmp_path):
    path = tmp_path / 'list.txt'
    path.write_text('cat/1.jpg 0\ncat/2.jpg 1\ndog/3.jpg 1\n')
    assert words(check_list(path, tmp_path, ('cat', 'dog'))) == ''


@pytest.mark.parametrize(
    'line', ['a.jpg', 'a.jpg dog', 'a.jpg 2', 'a.jpg -1', '', 'a.jpg 1.0', '7']
)
def test_lines_that_are_none_are_told(tmp_path, line):
    path = tmp_path / 'list.txt'
    path.write_text(f'a.jpg 0\n{line}\nb.jpg 1\n')
    assert 'labels 1 of 3 lines' in words(check_list(path, tmp_path, ('cat', 'dog')))


def test_lists_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match='No such file'):
        check_list(tmp_path / 'none.txt', tmp_path, None)
    (tmp_path / 'a.txt').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(UserError, match='UTF-8'):
        check_list(tmp_path / 'a.txt', tmp_path, None)
    for encoding, said in (('utf-8-sig', 'byte order mark'), ('utf-16', 'but in UTF-16')):
        (tmp_path / 'a.txt').write_text('a.jpg 0\n', encoding=encoding)
        with pytest.raises(UserError, match=f'{said}.* save it as UTF-8'):
            check_list(tmp_path / 'a.txt', tmp_path, None)
    (tmp_path / 'b.txt').touch()
    assert 'is empty' in words(check_list(tmp_path / 'b.txt', tmp_path, None))


@pytest.mark.parametrize('deep', [True, False])
def test_formats_that_are_not_read_are_told(tmp_path, deep):
    for name in ('a/1.jpg', 'b/2.jpg', 'b/3.heic', 'b/4.AVIF'):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b'x')
    (found,) = check_folder(tmp_path, None, deep=deep).findings
    assert found.text == 'images of formats that are not read: 1 .heic, 1 .avif'
    assert 'Convert' in found.remedy
