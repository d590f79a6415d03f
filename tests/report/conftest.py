"""A work dir with predictions whose faults are known, on the synthetic data of the demo."""

import copy
import functools
import json
from pathlib import Path

import pytest

from selnext_mm.config.load import load_config, set_data_root


def degrade(content: dict) -> tuple[list[dict], dict[str, int]]:
    """Predictions made from the truth with known faults; and how many of each.

    Of the images in order: the first is predicted as it is, the second misses its first object,
    in the third the first object has another class, the fourth has one false alarm, the rest is
    as it is.
    """
    categories = [c['id'] for c in content['categories']]
    images = [i['id'] for i in content['images']]
    truth = {i: [a for a in content['annotations'] if a['image_id'] == i] for i in images}
    results = []
    for place, image in enumerate(images):
        for n, a in enumerate(truth[image]):
            if place == 1 and n == 0:
                continue
            r = {k: a[k] for k in ('image_id', 'category_id', 'bbox', 'segmentation')}
            if place == 2 and n == 0:
                r['category_id'] = next(c for c in categories if c != a['category_id'])
            results.append({**copy.deepcopy(r), 'score': 0.9})
    corner = {'image_id': images[3], 'category_id': categories[0], 'bbox': [0, 0, 3, 3]}
    square = [[0, 0, 3, 0, 3, 3, 0, 3]]
    results.append({**corner, 'segmentation': square, 'score': 0.8})
    objects = len(content['annotations'])
    return results, {'right': objects - 2, 'missed': 1, 'confused': 1, 'false alarm': 1}


@functools.cache
def config_text(root: Path) -> str:
    """The demo's config as a run dumps it, with its data in ``root``."""
    cfg = load_config('mask_rcnn/selnext_atto_shapes.py')
    set_data_root(cfg, str(root))
    return cfg.pretty_text


def make_run(folder: Path, shapes_root: Path, results: list[dict] | None, scale: float = 1) -> Path:
    """A work dir as training and test leave it."""
    session = folder / '20260101_120000'
    (session / 'vis_data').mkdir(parents=True)
    text = config_text(shapes_root).replace('lr=0.001', f'lr={0.001 * scale:g}')
    (session / 'vis_data' / 'config.py').write_text(text)
    rows = [
        {
            'lr': 1e-3 * scale,
            'loss': 4 * scale / i,
            'loss_cls': 1 / i,
            'loss_bbox': 3 / i,
            'time': 0.5,
            'grad_norm': 9.0,
            'epoch': 1 + (i > 4),
            'iter': 10 * i,
            'step': 10 * i,
        }
        for i in range(1, 9)
    ]
    rows[4:4] = [{'coco/bbox_mAP': 0.1, 'coco/segm_mAP': 0.05, 'coco/bbox_mAP_50': 0.2, 'step': 1}]
    rows += [{'coco/bbox_mAP': 0.3, 'coco/segm_mAP': 0.25, 'coco/bbox_mAP_50': 0.5, 'step': 2}]
    (session / 'vis_data' / 'scalars.json').write_text('\n'.join(map(json.dumps, rows)) + '\n')
    (session / 'environment.txt').write_text(
        'Python: 3.11.7\nPyTorch: 2.13.0\n\nhooks:\n...\n\nrun parameters: 5.33 M, all trained\n'
    )
    if results is not None:
        for kind in ('bbox', 'segm'):
            (folder / f'results.{kind}.json').write_text(json.dumps(results))
    return folder


@pytest.fixture
def run_dir(tmp_path, shapes_root, annotations):
    results, _ = degrade(json.loads(annotations.read_text()))
    return make_run(tmp_path / 'work', shapes_root, results)
