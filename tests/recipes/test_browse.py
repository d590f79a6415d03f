"""``browse``: what is drawn is what the files say, and what the model gets."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from selnext_mm.__main__ import main
from selnext_mm.recipes.browse import View, _tile, build_dataset, raw_view, trained_view
from selnext_mm.recipes.options import Options
from selnext_mm.recipes.resolve import resolve


@pytest.fixture
def masks_dataset(masks):
    pytest.importorskip('mmdet')
    cfg, _ = resolve(masks, 'selnext_atto', Options(image_size=96))
    return build_dataset(cfg)


def test_the_labels_are_those_of_the_file(masks_dataset, shapes_root):
    names = list(masks_dataset.metainfo['classes'])
    path, view = raw_view(masks_dataset, 0, names)
    file = shapes_root / 'annotations' / 'instances_train2017.json'
    content = json.loads(file.read_text())
    (image,) = (i['id'] for i in content['images'] if path.endswith(i['file_name']))
    annotations = [a for a in content['annotations'] if a['image_id'] == image]
    assert [i.bbox for i in view.instances] == [list(map(float, a['bbox'])) for a in annotations]
    assert view.image.shape == (96, 96, 3)


def test_what_is_trained_on_is_drawn_from_the_tensors(masks_dataset):
    item = masks_dataset[0]
    view = trained_view(item, list(masks_dataset.metainfo['classes']))
    assert np.array_equal(view.image[..., ::-1].transpose(2, 0, 1), item['inputs'].numpy())
    objects = item['data_samples'].gt_instances
    assert len(view.instances) == len(objects)
    x, y, w, h = view.instances[0].bbox
    assert np.allclose([x, y, x + w, y + h], objects.bboxes.tensor[0].numpy(), atol=1e-4)
    assert view.instances[0].segmentation is not None


@pytest.mark.parametrize('form', ['labels', 'config'])
def test_a_sheet_and_a_page_are_written(form, masks, shapes_root, tmp_path, capsys):
    pytest.importorskip('mmdet')
    data = [str(shapes_root)]
    if form == 'config':
        data = ['mask_rcnn/selnext_atto_shapes.py', '--data-root', str(shapes_root)]
    out = tmp_path / 'made' / 'sheet.png'
    assert main(['browse', *data, '--out', str(out), '--num', '3', '--variants', '2']) == 0
    assert capsys.readouterr().out == f'wrote {out}, {out.with_suffix(".html")}\n'
    assert min(Image.open(out).size) > 300
    page = out.with_suffix('.html').read_text()
    assert page.count('<section>') == 3
    assert page.count('data:image/jpeg') == 9
    assert not re.search(r'(src|href)="(?!data:)', page), 'it wants the network'
    assert 'circle' in page


def test_classes_of_folders_are_written_under_the_images(folders, tmp_path, capsys):
    pytest.importorskip('mmpretrain')
    out = tmp_path / 'sheet.png'
    assert main(['browse', str(folders.root), '--out', str(out), '--num', '2']) == 0
    page = out.with_suffix('.html').read_text()
    assert set(re.findall(r'<figcaption>(.*?)</figcaption>', page)) <= {'cat', 'dog'}


def test_an_image_that_cannot_be_read_is_a_grey_tile(tmp_path, capsys):
    """One damaged file of thousands ended the command."""
    pytest.importorskip('mmpretrain')
    data = tmp_path / 'set'
    for kind in ('cat', 'dog'):
        for number in range(3):
            path = data / 'train' / kind / f'{number}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new('RGB', (40, 30), 'navy').save(path)
    bad = data / 'train' / 'dog' / '1.png'
    bad.write_bytes(bad.read_bytes()[:40])
    out = tmp_path / 'sheet.png'
    command = ['browse', str(data), '--out', str(out), '--num', '9']
    assert main(command) == 0
    page = out.with_suffix('.html').read_text()
    assert 'cannot be read: 1.png' in page
    assert page.count('<figcaption>cannot be read</figcaption>') == 1
    for path in data.rglob('*.png'):
        path.write_bytes(path.read_bytes()[:40])
    assert main(command) == 2
    assert 'none of the' in capsys.readouterr().err


@pytest.mark.parametrize('size', [(9000, 9), (9, 9000), (1, 1), (32, 32)])
def test_a_thin_image_does_not_fill_the_sheet(size):
    """A line of 9000 pixels was enlarged to 58,000."""
    height, width = _tile(View(np.zeros((size[1], size[0], 3), np.uint8)), {}, {}).shape[:2]
    assert 280 <= max(height, width) <= 840


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--num', '0'], '--num 0; expected 1 or more'),
        (['--out', 'sheet.jpg'], 'the name has to end in .png'),
        (['--split', 'test'], '--split test: .* has train, val'),
    ],
)
def test_a_mistake_is_one_message(arguments, message, masks, shapes_root, tmp_path, capsys):
    out = ['--out', str(tmp_path / 'a.png')] if '--out' not in arguments else []
    assert main(['browse', str(shapes_root), *out, *arguments]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())
