"""Which images a second run made better or worse."""

import json

import pytest

from selnext_mm.evaluation.matching import match_all
from selnext_mm.report import gallery
from selnext_mm.report.comparison import changes, comparison
from selnext_mm.report.page import build_report
from tests.report.conftest import degrade, make_run


@pytest.fixture
def runs(annotations):
    """Two runs: the second finds what the first one missed, and makes another mistake."""
    content = json.loads(annotations.read_text())
    first, _ = degrade(content)
    images = [i['id'] for i in content['images']]
    missed = next(a for a in content['annotations'] if a['image_id'] == images[1])
    keys = ('image_id', 'category_id', 'bbox', 'segmentation')
    second = [*first, {**{k: missed[k] for k in keys}, 'score': 0.9}]
    second = [r for r in second if r is not next(s for s in first if s['image_id'] == images[5])]
    return content, images, first, second


def test_what_changed_is_listed_with_its_reasons(runs):
    content, images, *results = runs
    matches = [match_all(content, r, 'segm', None, 0.3) for r in results]
    rows = changes(*matches)
    assert [image for _, image, _, _ in rows] == [images[5], images[1]]
    assert rows[0][0] < 0 < rows[1][0]
    assert rows[1][3] == 1.0
    files = {i['id']: i['file_name'] for i in content['images']}
    (part,) = comparison(['a', 'b'], matches, files)
    assert part['head'] == 'Images that got better: 1, worse: 1, unchanged: 6'
    worse, better = part['table']['rows']
    assert (worse[0], better[0]) == (files[images[5]], files[images[1]])
    before, after = (m[images[1]].found_state.count('right') for m in matches)
    assert better[4:] == [f'{before} → {after}', '1 → 0', '0 → 0']
    assert after == before + 1
    assert worse[5] == '0 → 1'
    groups = {image: of for image, of, _ in gallery.choose(matches, 1)}
    assert 'better' in groups[images[1]]
    assert 'worse' in groups[images[5]]
    assert sum('better' in of or 'worse' in of for of in groups.values()) == 2


def test_the_page_has_the_comparison_of_two_runs_only(runs, tmp_path, shapes_root):
    folders = [make_run(tmp_path / n, shapes_root, r) for n, r in zip('ab', runs[2:], strict=True)]
    build_report(folders, tmp_path / 'two.html')
    text = (tmp_path / 'two.html').read_text()
    assert 'b against a, by image' in text
    assert 'Images that got better: 1, worse: 1, unchanged: 6' in text
    assert 'value="better"' in text
    build_report(folders[:1], tmp_path / 'one.html')
    text = (tmp_path / 'one.html').read_text()
    assert 'by image' not in text
    assert 'value="better"' not in text
