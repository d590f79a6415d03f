"""Duplicated images: what a copy is, and what is none."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from selnext_mm.datasets import duplicates
from selnext_mm.datasets.duplicates import find_duplicates, near_pairs, perceptual_hash
from selnext_mm.errors import UserError

pytest.importorskip('imagehash', reason='pip install -r requirements/formats.txt runs this')


def scene(seed, size=(160, 120)):
    """Smooth random shapes, different for each seed."""
    noise = np.random.default_rng(seed).integers(0, 255, (9, 12, 3), np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def pictures(tmp_path):
    """Twelve scenes in train, others in val; the path of an image by name."""
    for split, seeds in (('train', range(12)), ('val', range(100, 106))):
        (tmp_path / split).mkdir()
        for seed in seeds:
            scene(seed).save(tmp_path / split / f'{seed}.png')

    def paths():
        return {split: sorted(map(str, (tmp_path / split).iterdir())) for split in ('train', 'val')}

    return tmp_path, paths


def test_other_images_are_no_duplicates(pictures):
    found = find_duplicates(pictures[1]())
    assert (found.groups, found.compared, found.plain, found.unreadable) == ((), 18, (), ())


COPIES = {
    'the same file': lambda p: p,
    'half as large': lambda p: p.resize((80, 60), Image.Resampling.LANCZOS),
    'brighter': lambda p: ImageEnhance.Brightness(p).enhance(1.15),
    'grey': lambda p: p.convert('L'),
}


@pytest.mark.parametrize('kind', COPIES)
@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_copies_in_two_splits_are_found(kind, suffix, pictures):
    folder, paths = pictures
    copy = folder / 'val' / f'copy{suffix}'
    COPIES[kind](scene(3)).save(copy)
    found = find_duplicates(paths())
    assert found.groups == found.across
    (group,) = found.groups
    assert group.images == (('train', str(folder / 'train/3.png')), ('val', str(copy)))
    assert group.splits == ('train', 'val')
    assert group.distance <= 20


def test_groups_of_several_and_their_order(pictures):
    folder, paths = pictures
    for name in ('a', 'b'):
        scene(1).save(folder / 'train' / f'{name}.png')
    scene(100).save(folder / 'train' / 'c.png')
    found = find_duplicates(paths(), distance=0)
    names = [[(s, p.rpartition('/')[2]) for s, p in g.images] for g in found.groups]
    assert names == [
        [('train', 'c.png'), ('val', '100.png')],
        [('train', '1.png'), ('train', 'a.png'), ('train', 'b.png')],
    ]
    assert [g.splits for g in found.across] == [('train', 'val')]


def test_plain_and_unreadable_images_are_named(pictures):
    folder, paths = pictures
    for i, colour in enumerate(('white', 'black')):
        Image.new('RGB', (90, 60), colour).save(folder / 'train' / f'plain{i}.png')
    (folder / 'val' / 'z.png').write_bytes(b'no image')
    seen = []
    found = find_duplicates(paths(), workers=2, on_image=seen.append)
    assert found.groups == ()
    assert [p.rpartition('/')[2] for p in found.plain] == ['plain0.png', 'plain1.png']
    assert found.unreadable == (str(folder / 'val/z.png'),)
    assert sum(seen) == 21


@pytest.mark.parametrize('distance', [0, 3, 30])
def test_all_near_pairs_are_found(distance, monkeypatch):
    rng = np.random.default_rng(0)
    hashes = rng.random((50, 64)) < 0.5
    hashes[20:40] = hashes[:20] ^ (rng.random((20, 64)) < 0.05)
    expected = {
        (i, j, int(n))
        for i in range(50)
        for j in range(i + 1, 50)
        if (n := (hashes[i] != hashes[j]).sum()) <= distance
    }
    for block in (7, 50, 64):
        monkeypatch.setattr(duplicates, 'BLOCK', block)
        assert set(near_pairs(hashes, distance)) == expected
    assert distance == 0 or expected


def test_a_distance_out_of_range():
    with pytest.raises(UserError, match='distance 200; expected 0 to 127'):
        find_duplicates({}, distance=200)
    assert find_duplicates({}).groups == ()


def test_the_missing_library_is_named(monkeypatch, tmp_path):
    scene(0).save(tmp_path / 'a.png')
    monkeypatch.setitem(__import__('sys').modules, 'imagehash', None)
    with pytest.raises(UserError, match=r'pip install "selnext_mm\[formats\]"'):
        perceptual_hash(tmp_path / 'a.png')


@pytest.mark.realdata
def test_the_real_set_has_one_scene_in_two_splits(bccd_root):
    names = {
        split: (bccd_root / f'ImageSets/Main/{split}.txt').read_text().split()
        for split in ('train', 'val', 'test')
    }
    found = find_duplicates(
        {s: [str(bccd_root / f'JPEGImages/{n}.jpg') for n in sorted(v)] for s, v in names.items()}
    )
    assert found.compared == 364
    # The same blood smear, focused anew.
    (group,) = found.groups
    assert [(s, p[-9:]) for s, p in group.images] == [('train', '00038.jpg'), ('val', '00037.jpg')]
