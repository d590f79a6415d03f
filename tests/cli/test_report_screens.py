"""Both kinds of report page, on a desktop and a phone, in light and dark, in a real browser."""

import json
from itertools import product
from types import SimpleNamespace

import pytest

from selnext_mm.cli.report import main
from tests.browser import answer_of
from tests.report.conftest import degrade, make_run
from tests.report.test_classification import ROWS
from tests.report.test_classification import write as write_classes

KINDS, WIDTHS, THEMES = ('detector', 'classifier'), (1280, 390), ('light', 'dark')
SCREENS = {f'{k}-{w}-{t}': (k, w, t) for k, w, t in product(KINDS, WIDTHS, THEMES)}
CHARTS = {
    'detector': {'loss', 'lr', 'metrics', 'pr-segm-1', 'classes-bbox-1', 'sizes-segm-1'},
    'classifier': {'loss', 'lr', 'metrics', 'class-confusion-1', 'class-calibration'},
}

# A frame may be as narrow as a phone, a window of headless Chromium may not. All lie at one place:
# a browser gives no frames of animation to a page that is out of sight.
OUTER = """<!doctype html>
<style>iframe { position: fixed; left: 0; top: 0; height: 900px; border: 0 }</style>
<pre id="answers"></pre><script>
const answers = {};
addEventListener('message', (e) => {
  answers[e.data.screen] = e.data.answer;
  document.getElementById('answers').textContent = encodeURIComponent(JSON.stringify(answers));
});
</script>
"""
# A page is loaded once for both themes; its button goes round system, light and dark.
PROBE = """<script>
const light = (node, what) => {
  const [r, g, b] = getComputedStyle(node)[what].match(/[\\d.]+/g).map(Number);
  return (r + g + b) / 765;
};
const scrolls = (node) => node && (['auto', 'scroll'].includes(getComputedStyle(node).overflowX)
  || scrolls(node.parentElement));
const look = () => {
  const charts = [...document.querySelectorAll('.chart')];
  const shown = document.documentElement.clientWidth;
  const right = (node) => node.getBoundingClientRect().right;
  return {
    width: innerWidth,
    theme: document.documentElement.dataset.theme,
    overflow: document.documentElement.scrollWidth - shown,
    wide: [...document.querySelectorAll('body *')].filter((n) => right(n) > shown + 1 &&
      !n.closest('.plot') && !scrolls(n)).map((n) => `${n.tagName}.${n.className}`),
    charts: charts.map((c) => c.id),
    empty: charts.filter((c) => !c.querySelector('.trace, .heatmaplayer image, .bars path')).map(
      (c) => c.id),
    cut: charts.filter((c) => !scrolls(c) && right(c.querySelector('.main-svg')) > right(c) + 1
      ).map((c) => c.id),
    pictures: document.images.length,
    unseen: [...document.images].filter((i) => i.naturalWidth === 0).length,
    page: light(document.body, 'backgroundColor'),
    ink: [light(document.body, 'color'),
          ...[...document.querySelectorAll('.plot .xtick text')].map((n) => light(n, 'fill'))],
  };
};
const themes = ['light', 'dark'];
const step = () => {
  if (!themes.length) return;
  const theme = themes.shift(), button = document.getElementById('theme');
  for (let i = 0; i < 3 && button.textContent !== `theme: ${theme}`; i += 1) button.click();
  setTimeout(() => {
    parent.postMessage({ screen: `SCREEN-${theme}`, answer: look() }, '*');
    step();
  }, 300);
};
addEventListener('load', () => setTimeout(step, 300));
</script></body>"""


@pytest.fixture(scope='module')
def pages(tmp_path_factory, shapes_root):
    """A page of each kind, of two runs."""
    folder = tmp_path_factory.mktemp('pages')
    content = json.loads((shapes_root / 'annotations' / 'instances_val2017.json').read_text())
    results, _ = degrade(content)
    better = [*ROWS]
    better[3] = (1, (0.1, 0.8, 0.1))
    made = {}
    for kind in KINDS:
        runs = []
        for n, (objects, classes) in enumerate(((results, ROWS), (results[:-1], better))):
            run = folder / kind / f'run_{n}'
            make_run(run, shapes_root, objects if kind == 'detector' else None, scale=1 + n)
            if kind == 'classifier':
                write_classes(run, classes)
                as_classifier(run)
            runs.append(str(run))
        made[kind] = folder / f'{kind}.html'
        assert main([*runs, '--out', str(made[kind]), '--num', '4']) == 0
    return made


def as_classifier(run):
    """Make the config and the curves of ``make_run`` those of a classifier."""
    data = next(run.glob('*/vis_data'))
    text = "default_scope = 'mmpretrain'\nmodel = dict(type='ImageClassifier')\n"
    (data / 'config.py').write_text(text)
    rows = [json.loads(line) for line in (data / 'scalars.json').read_text().splitlines()]
    rows = [
        r if 'loss' in r else {'accuracy/top1': 50.0 + r['step'], 'step': r['step']} for r in rows
    ]
    (data / 'scalars.json').write_text('\n'.join(map(json.dumps, rows)) + '\n')


@pytest.fixture(scope='module')
def seen(pages, tmp_path_factory):
    """What one start of the browser finds on every screen, and its console."""
    folder = pages['detector'].parent
    frames = []
    for kind, width in product(KINDS, WIDTHS):
        head, _, end = pages[kind].read_text().rpartition('</body>')
        name = f'{kind}-{width}'
        (folder / f'{name}.html').write_text(head + PROBE.replace('SCREEN', name) + end)
        frames.append(f'<iframe src="{name}.html" style="width: {width}px"></iframe>')
    (folder / 'outer.html').write_text(OUTER + '\n'.join(frames))
    profile = tmp_path_factory.mktemp('profile')
    return answer_of(folder / 'outer.html', profile, 'answers', timeout=120)


@pytest.mark.parametrize('screen', SCREENS)
def test_a_screen_is_complete_and_fits(screen, seen):
    kind, width, theme = SCREENS[screen]
    found = SimpleNamespace(**seen[0][screen])
    assert (found.width, found.theme) == (width, theme)
    assert found.overflow <= 0
    assert found.wide == []
    assert CHARTS[kind] <= set(found.charts)
    assert found.empty == []
    assert found.cut == []
    assert found.pictures > 0
    assert found.unseen == 0
    if theme == 'dark':
        assert found.page < 0.2
        assert min(found.ink) > 0.5
    else:
        assert found.page > 0.9
        assert max(found.ink) < 0.5


def test_the_console_is_silent_on_every_screen(seen):
    assert set(seen[0]) == set(SCREENS)
    assert seen[1] == []
