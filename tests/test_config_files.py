"""What is said about a word that names no config."""

import pytest

from selnext_mm.config_files import find_config
from selnext_mm.errors import UserError


@pytest.mark.parametrize('name', ['weights/bccd_selnext_yocto', 'nope', '/nowhere/runs/selnext_t'])
def test_a_folder_that_is_not_there_is_no_misspelt_config(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f'there is no {name}') as caught:
        find_config(name)
    assert (str(tmp_path) in str(caught.value)) != name.startswith('/')
    assert 'did you mean' not in str(caught.value)


@pytest.mark.parametrize('name', ['mask_rcnn/selnext_t_3x.py', 'mask_rcnn/selnext_t_3x_cocoo'])
def test_a_misspelt_config_is_told_its_neighbours(name):
    with pytest.raises(UserError, match=r'did you mean mask_rcnn/selnext_t_3x_coco\.py'):
        find_config(name)


def test_a_long_name_that_is_nearly_one():
    with pytest.raises(
        UserError, match=r'did you mean .*mask-rcnn_selnext-t_fpn_amp-ms-crop-3x_coco'
    ):
        find_config('mask-rcnn_selnext-t_fpn_amp-ms-crop-3x')


@pytest.mark.parametrize(
    ('name', 'meant'),
    [
        ('bcdc.py', 'bccd.py'),
        ('mine/bcdc.py', 'mine/bccd.py'),
        ('{at}/bcdc.py', '{at}/bccd.py'),
    ],
)
def test_a_config_of_ones_own_is_the_nearest_name(name, meant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine').mkdir()
    for folder in (tmp_path, tmp_path / 'mine'):
        (folder / 'bccd.py').write_text('')
        (folder / 'bcdc.txt').write_text('')
    with pytest.raises(UserError) as caught:
        find_config(name.format(at=tmp_path))
    assert str(caught.value).endswith(f'; did you mean {meant.format(at=tmp_path)}?')
