"""Tables of the pages that are those of files in benchmarks/results/."""

import json
import statistics
from pathlib import Path

import pytest

from selnext_mm.analysis.comparison.table import resolved

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / 'benchmarks' / 'results'


def rows_of(name):
    return json.loads((RESULTS / name).read_text())['rows']


def lines_of(page):
    return (ROOT / 'docs' / page).read_text().splitlines()


def test_the_quick_comparison():
    lines, rows = lines_of('results.md'), rows_of('cifar10_quick.json')
    # What is significant, with the largest deviations that are rounded to those of the file.
    bounds = []
    for kind, half in (('top1', 0.0), ('distance_expansion', 5e-4), ('distance_block', 5e-4)):
        with_std = [{f'{kind}_std': r[kind][1] + half, 'seeds': r['seeds']} for r in rows]
        bounds.append(resolved(with_std, kind))
    assert round(bounds[0], 1) == 1.5
    assert max(bounds[1:]) <= 0.002
    assert any('A difference of 1.5 points or more is significant' in line for line in lines)
    assert any(line.startswith('0.002 in a distance') for line in lines)
    for row in rows:
        kinds = ('top1', 1), ('distance_expansion', 3), ('distance_block', 3)
        cells = [f'{row[key][0]:.{n}f} ± {row[key][1]:.{n}f}' for key, n in kinds]
        assert f'| {row["model"]} | 0 1 2 | {" | ".join(cells)} |' in lines


@pytest.mark.parametrize(('labels', 'epochs'), [(30, 40), (300, 5)])
@pytest.mark.parametrize(('kind', 'name'), [('box_ap', 'boxes'), ('mask_ap', 'masks')])
def test_masked_pretraining_on_the_shapes(labels, epochs, kind, name):
    rows = rows_of('masked_pretraining_shapes.json')
    chosen = [r for r in rows if (r['labels'], r['epochs']) == (labels, epochs)]
    by = {
        start: {r['seed']: r[kind] for r in chosen if r['pretrained'] is start}
        for start in (False, True)
    }
    assert all(set(runs) == {0, 1, 2} for runs in by.values())
    cells = [
        f'{statistics.mean(runs.values()):.3f} ± {statistics.stdev(runs.values()):.3f}'
        for runs in by.values()
    ]
    gains = ', '.join(f'{by[True][seed] - by[False][seed]:.3f}' for seed in range(3))
    end = f'| {name} | {cells[0]} | {cells[1]} | {gains} |'
    assert any(line.endswith(end) for line in lines_of('masked_pretraining.md')), end


def test_the_longer_runs_of_masked_pretraining():
    text = ' '.join(' '.join(lines_of('masked_pretraining.md')).split())
    long = [r for r in rows_of('masked_pretraining_shapes.json') if r['epochs'] in (160, 20)]
    assert len(long) == 4
    for row in long:
        assert f'{row["box_ap"]:.3f} / {row["mask_ap"]:.3f}' in text


@pytest.mark.parametrize('size', ['mask_rcnn_t', 'cascade_mask_rcnn_t', 'cascade_mask_rcnn_s',
                                  'cascade_mask_rcnn_b'])  # fmt: skip
def test_the_detectors_beside_convnext(size):
    lines = lines_of('ablations.md')
    title = 'Cascade Mask R-CNN' if size.startswith('cascade') else 'Mask R-CNN'
    names = {'convnext': 'ConvNeXt', 'swin': 'Swin', 'selnext': 'SELNeXt'}
    for row in rows_of(f'detectors_{size}_cpu.json'):
        name = names[row['label'].partition('/')[2].partition('_')[0]]
        start = f'| {title} | {name}-{size[-1].upper()} | {row["median_s"]:.2f} | '
        start += f'{row["backbone_s"]:.2f} | {row["ratio"]:.3f}'
        if name != 'ConvNeXt':
            start += f' [{row["ratio_q25"]:.2f}, {row["ratio_q75"]:.2f}]'
        assert any(line.startswith(f'{start} | ') for line in lines), start


@pytest.mark.parametrize('size', 'sml')
def test_patnets_detectors_beside_fasternets(size):
    rows = {r['label']: r for r in rows_of('detectors_patnet_cpu.json')}
    base, ours = (rows[f'mask_rcnn/{n}_{size}_1x_coco.py'] for n in ('fasternet', 'patnet'))
    ratio = ours['median_s'] / base['median_s']
    rounds = sorted(a / b for a, b in zip(ours['seconds'], base['seconds'], strict=True))
    end = f'| {ratio:.3f} [{rounds[1]:.2f}, {rounds[3]:.2f}] |'
    assert any(
        line.startswith(f'| {size.upper()} |') and end in line for line in lines_of('patnet.md')
    )


def test_slices_of_large_images():
    lines = lines_of('predict.md')
    for row in rows_of('slices_cpu.json'):
        scores = [f'{row[kind][name]:.3f}' for kind in ('bbox', 'segm') for name in row['bbox']]
        cells = [str(row['slice'] or 'none'), *scores, f'{row["seconds"]:.0f}', str(row['mb'])]
        assert f'| {" | ".join(cells)} |' in lines


def test_how_long_labels_take():
    lines = lines_of('your_own_data.md')
    names = dict(yolo='YOLO', voc='Pascal VOC', coco='COCO')
    for row in rows_of('label_formats_cpu.json'):
        cells = [f'{row[key]:.0f}' for key in ('seconds', 'again_seconds', 'peak_mb')]
        assert f'| {names[row["format"]]} | {" | ".join(cells)} |' in lines
        assert row['images_kept'] == row['boxes_exact'] == 1
