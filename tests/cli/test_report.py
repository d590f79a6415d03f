"""``selnext-mm report``: its options, and its page in a real browser."""

import json

import pytest

from selnext_mm.__main__ import call
from selnext_mm.cli.report import main
from tests.browser import answer_of, find_browser
from tests.report.conftest import degrade, make_run

# The answer of the page in the frame goes into the document, which the browser prints when all is
# quiet.
FRAME = """<!doctype html><pre id="answer"></pre>
<script>
addEventListener('message', (e) => { document.getElementById('answer').textContent = e.data; });
</script>
<iframe src="%s" style="width:1280px;height:900px;border:0"></iframe>"""


@pytest.fixture
def browse(tmp_path):
    """Open a page in headless Chromium, run a script in it; its answer, and the console."""
    find_browser()

    def run(page, script):
        probed, outer = page.with_name('tested.html'), page.with_name('outer.html')
        tail = (
            '<script>addEventListener("load", () => setTimeout(() => {'
            f'const answer = (() => {{ {script} }})();'
            'parent.postMessage(encodeURIComponent(JSON.stringify(answer)), "*"); }, 300));'
            '</script></body>'
        )
        head, _, end = page.read_text().rpartition('</body>')
        probed.write_text(head + tail + end)
        outer.write_text(FRAME % probed.name)
        return answer_of(outer, tmp_path / 'profile', 'answer', timeout=240)

    return run


@pytest.fixture
def pages(tmp_path, shapes_root, annotations):
    """The page of two runs with known faults; the second run has one false alarm less."""
    results, _ = degrade(json.loads(annotations.read_text()))
    first = make_run(tmp_path / 'one', shapes_root, results)
    second = make_run(tmp_path / 'two', shapes_root, results[:-1], scale=2)
    out = tmp_path / 'report.html'
    assert main([str(first), str(second), '--out', str(out), '--num', '8']) == 0
    return out


FILTERS = """
const form = document.querySelector('.filters');
const count = () => document.querySelectorAll('.cards article').length;
const set = (name, value) => {
  const field = form.elements[name];
  if (field.type === 'checkbox') field.checked = value; else field.value = value;
  form.dispatchEvent(new Event('input', { bubbles: true }));
};
const visible = (selector) => [...document.querySelectorAll(selector)].filter(
  (n) => getComputedStyle(n).display !== 'none').length;
const found = { said: form.querySelector('.count').textContent };
set('group', 'all'); found.all = count();
for (const error of ['missed', 'false alarm', 'confused']) {
  set('error', error);
  found[error] = count();
}
set('error', '');
found.items = visible('.cards .item');
set('score', '0.85'); found.strict = visible('.cards .item');
set('score', '0.3');
found.masks = visible('.cards path'); set('masks', false); found.unmasked = visible('.cards path');
set('masks', true);
found.labels = visible('.cards article.card:not(.crowded) .label');
set('labels', false); found.unlabelled = visible('.cards .label');
set('class', '0'); found.oneClass = count();
const names = [...form.elements.class.options].map((o) => o.text);
set('group', 'best'); set('error', 'missed'); set('class', '');
found.text = document.querySelector('.cards').textContent.trim().slice(0, 60);
found.names = names;
document.querySelector('#theme').click();
found.theme = document.documentElement.dataset.theme;
return found;
"""

CHARTS = """
const charts = [...document.querySelectorAll('.chart')];
const mark = '.trace, .heatmaplayer image, .bars path';
const select = document.querySelector('#pr-segm-1 select');
const lines = () => document.querySelectorAll('#pr-segm-1 .scatterlayer .trace').length;
const before = lines();
select.value = '1'; select.dispatchEvent(new Event('change'));
return {
  drawn: charts.filter((c) => c.querySelector('.main-svg .subplot')).map((c) => c.id),
  all: charts.map((c) => c.id),
  empty: charts.filter((c) => !c.querySelector(mark)).map((c) => c.id),
  images: [...document.querySelectorAll('.frame img')].filter((i) => i.naturalWidth > 0).length,
  frames: document.querySelectorAll('.frame img').length,
  before, after: lines(),
  options: [...select.options].map((o) => o.text),
};
"""


def test_all_charts_are_drawn_and_the_console_is_silent(pages, browse):
    found, console = browse(pages, CHARTS)
    assert console == []
    assert found['empty'] == []
    assert sorted(found['drawn']) == sorted(found['all'])
    assert {'loss', 'lr', 'metrics', 'pr-segm-1', 'classes-bbox-1', 'sizes-segm-1'} <= set(
        found['drawn']
    )
    assert sum(c.startswith('confusion-') for c in found['drawn']) == 2
    assert found['images'] == found['frames'] > 0
    assert found['options'][0] == 'all classes (mean)'
    assert found['before'] == found['after'] == 6  # two runs at three thresholds


def test_the_gallery_filters_work(pages, browse, annotations):
    content = json.loads(annotations.read_text())
    found, console = browse(pages, FILTERS)
    assert console == []
    # Eight images: four are worst, which is shown first.
    assert found['said'] == '4 of 8 images'
    assert found['all'] == 8
    assert (found['missed'], found['false alarm'], found['confused']) == (1, 1, 1)
    # The false alarm, of score 0.8 and in one run, is all that a threshold of 0.85 hides.
    assert found['items'] - found['strict'] == 1
    assert found['masks'] == found['items']
    assert found['unmasked'] == found['unlabelled'] == 0
    assert found['labels'] > 0
    first = content['categories'][0]['id']
    with_class = {a['image_id'] for a in content['annotations'] if a['category_id'] == first}
    # ... and the image of the false alarm and possibly that of the wrong class.
    assert len(with_class) <= found['oneClass'] <= len(with_class) + 2
    assert found['names'] == ['any', *(c['name'] for c in content['categories'])]
    assert found['text'] == 'No image here fits these filters.'
    assert found['theme'] == 'light'


THEMES = """
const light = (node, what) => {
  const [r, g, b] = getComputedStyle(node)[what].match(/[\\d.]+/g).map(Number);
  return (r + g + b) / 765;
};
const look = () => ({
  theme: document.documentElement.dataset.theme,
  page: light(document.body, 'backgroundColor'),
  ink: [light(document.body, 'color'), light(document.querySelector('.plot text'), 'fill')],
});
const steps = [look()];
for (let i = 0; i < 3; i += 1) { document.querySelector('#theme').click(); steps.push(look()); }
return steps;
"""


def test_the_button_changes_page_and_charts(pages, browse):
    (system, light, dark, again), console = browse(pages, THEMES)
    assert console == []
    assert again == system
    assert (light['theme'], dark['theme']) == ('light', 'dark')
    assert light['page'] > 0.9
    assert max(light['ink']) < 0.3
    assert dark['page'] < 0.2
    assert min(dark['ink']) > 0.7


def test_a_browser_that_was_promised_may_not_be_missing(monkeypatch):
    monkeypatch.setenv('PATH', '')
    monkeypatch.delenv('SELNEXT_MM_REQUIRE_BROWSER', raising=False)
    with pytest.raises(pytest.skip.Exception, match='no browser on PATH'):
        find_browser()
    monkeypatch.setenv('SELNEXT_MM_REQUIRE_BROWSER', '1')
    with pytest.raises(pytest.fail.Exception, match='no browser on PATH'):
        find_browser()


ERRORS = {
    'no such folder': (['nowhere'], 'nowhere is not a folder'),
    'num': (['RUN', '--num', '0'], '--num 0'),
    'threshold': (['RUN', '--score-thr', '1'], '--score-thr 1'),
    'suffix': (['RUN', '--out', 'a.pdf'], 'ends in .html'),
    'page': (['RUN', '--out', '/dev/null/a.html'], '--out /dev/null'),
    'annotations': (['RUN', '--ann', 'no.json'], '--ann no.json'),
    'images': (['RUN', '--images', 'no'], '--images no'),
    'predictions': (['RUN', '--predictions', 'no.json'], 'no predictions no.json'),
    'thresholds': (['RUN', '--thresholds', 'b.json'], 'nothing to choose from: no predictions'),
    'thresholds of two': (['RUN', '.', '--thresholds', 'b.json'], 'a single work dir; 2 are given'),
    'file of thresholds': (['RUN', '--thresholds', 'b.txt'], 'ends in .json'),
}


@pytest.mark.parametrize('case', sorted(ERRORS))
def test_a_users_mistake_ends_with_one_message(case, tmp_path, shapes_root, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = make_run(tmp_path / 'run', shapes_root, None)
    arguments, text = ERRORS[case]
    arguments = [str(run) if a == 'RUN' else a for a in arguments]
    assert call(main, arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert text in error
    assert not (tmp_path / 'report.html').exists()
    assert not (tmp_path / 'b.json').exists()


def test_the_best_scores_are_written_for_the_export(tmp_path, shapes_root, annotations, capsys):
    """Right predictions have 0.9 or, of the first class, 0.8; a false one of it has 0.6.

    Those of the second class are never right: no score of it is worth showing.
    """
    content = json.loads(annotations.read_text())
    names = [c['name'] for c in sorted(content['categories'], key=lambda c: c['id'])]
    first = content['categories'][0]['id']
    results = [
        {k: a[k] for k in ('image_id', 'category_id', 'bbox', 'segmentation')}
        | {'score': 0.88889 if a['category_id'] == first else 0.9}
        for a in content['annotations']
    ]
    second = sorted({a['category_id'] for a in content['annotations']} - {first})[0]
    for result in results:
        if result['category_id'] == second:
            result |= dict(bbox=[0, 0, 2, 2], segmentation=[[0, 0, 2, 0, 2, 2, 0, 2]])
    results.append({**results[0], 'category_id': first, 'bbox': [0, 0, 3, 3], 'score': 0.6,
                    'segmentation': [[0, 0, 3, 0, 3, 3, 0, 3]]})  # fmt: skip
    run, out = make_run(tmp_path / 'run', shapes_root, results), tmp_path / 'best_f1.json'
    line = [str(run), '--out', str(tmp_path / 'r.html'), '--num', '1', '--thresholds', str(out)]
    assert main(line) == 0
    assert f'wrote {out}' in capsys.readouterr().out
    found = json.loads(out.read_text())
    there = {a['category_id'] for a in content['annotations']} - {second}
    wanted = [0.8888, *(0.9 if c['id'] in there else None for c in content['categories'][1:])]
    assert [found['thresholds'][name] for name in names] == wanted
    assert (found['kind'], found['F1'][names[0]]) == ('segm', 1.0)
