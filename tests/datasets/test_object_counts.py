"""Counts per class and size."""

import pytest

from selnext_mm.datasets.object_counts import count_lines, count_objects, size_name
from tests.datasets.check.coco_samples import annotation, sound


@pytest.mark.parametrize(
    ('area', 'name'),
    [(1, 'small'), (1023, 'small'), (1024, 'medium'), (9215.9, 'medium'), (9216, 'large')],
)
def test_sizes_are_coco_s(area, name):
    assert size_name(area) == name


def test_counts_of_a_known_file():
    content = sound()
    content['annotations'].append(annotation(7, 1, 10, (1, 1, 40, 40)))
    content['annotations'].append(annotation(8, 3, 10, (1, 1, 40, 40)) | dict(iscrowd=1))
    counts = count_objects(content)
    assert list(counts) == ['cat', 'dog', 'traffic light']
    cat = counts['cat']
    assert (cat.objects, cat.images) == (3, 2)
    assert dict(cat.sizes) == dict(small=1, medium=2)  # 600, 8000 and 1600 square pixels
    assert count_lines(dict(train=counts, val={})) == [
        'class          split  objects   images    small   medium    large',
        'cat            train        3        2        1        2        0',
        'cat            val          0        0        0        0        0',
        'dog            train        2        2        1        1        0',
        'dog            val          0        0        0        0        0',
        'traffic light  train        2        2        2        0        0',
        'traffic light  val          0        0        0        0        0',
    ]


def test_counts_are_those_of_pycocotools(tmp_path):
    import json

    from pycocotools.coco import COCO

    path = tmp_path / 'a.json'
    path.write_text(json.dumps(sound()))
    coco = COCO(path)
    for name, counts in count_objects(path).items():
        ids = coco.getCatIds([name])
        assert counts.objects == len(coco.getAnnIds(catIds=ids))
        assert counts.images == len(coco.getImgIds(catIds=ids))
        assert counts.sizes['small'] == len(coco.getAnnIds(catIds=ids, areaRng=[0, 32**2]))


@pytest.mark.realdata
def test_the_real_set(bccd_root, tmp_path, monkeypatch):
    pytest.importorskip('defusedxml', reason='pip install -r requirements/formats.txt runs this')
    from selnext_mm.datasets.formats import find_dataset

    monkeypatch.setenv('SELNEXT_MM_CACHE', str(tmp_path))
    info = find_dataset(bccd_root)
    totals = {}
    for split in info.splits.values():
        for name, counts in count_objects(split.annotations).items():
            totals[name] = totals.get(name, 0) + counts.objects
            assert sum(counts.sizes.values()) == counts.objects
    assert totals == dict(Platelets=361, RBC=4155, WBC=372)
