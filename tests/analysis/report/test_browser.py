"""The page in a real browser: no error, charts drawn, filters, themes, the width of a phone."""

import base64
import json
import os
import re
import shutil
import subprocess
from urllib.parse import unquote

import pytest

from selnext_mm.analysis.report.page import build_report
from tests.analysis.report.conftest import degrade, make_run

BROWSER = os.environ.get('CHROME') or next(
    filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome', 'chrome'))),
    None,
)
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not BROWSER, reason='install chromium, or set CHROME to a browser like it'),
]
# Runs in the page when all else has run; what it returns is read from the dumped document.
PROBE = """
<script>addEventListener('error', (e) => (window.faults = [...(window.faults ?? []), e.message]));
</script>"""
RESULT = """
<script>addEventListener('load', () => setTimeout(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  let answer;
  try { answer = (() => { %s })(); } catch (e) { answer = { failed: String(e) }; }
  answer = JSON.stringify({ faults: window.faults ?? [], ...answer });
  parent.postMessage(btoa(encodeURIComponent(answer)), '*');
}, 300));</script>"""
# Headless Chromium has no window narrower than 500 pixels, a frame may be.
OUTER = """<!doctype html>
<script>
addEventListener('message', (e) => { document.getElementById('probe').textContent = e.data; });
</script>
<iframe src="%s" style="width:%dpx;height:900px;border:0"></iframe><pre id="probe"></pre>"""


def visit(page, tmp_path, script, width=1200):
    """What ``script`` returns in the page, ``width`` pixels wide, and what the console said."""
    outer = tmp_path / 'outer.html'
    outer.write_text(OUTER % ('probed.html', width))
    copy = tmp_path / 'probed.html'
    text = page.read_text().replace('<head>', '<head>' + PROBE, 1)
    at = text.rindex('</body>')
    copy.write_text(text[:at] + RESULT % script + text[at:])
    result = subprocess.run(
        [
            *(BROWSER, '--headless', '--no-sandbox', '--disable-gpu', '--enable-logging=stderr'),
            *('--hide-scrollbars', f'--user-data-dir={tmp_path / "profile"}'),
            *('--window-size=1300,1000', '--virtual-time-budget=8000'),
            *('--dump-dom', outer.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=180,
    )
    found = re.search(r'<pre id="probe">([\w+/=]+)</pre>', result.stdout)
    assert found, result.stderr[-2000:]
    answer = json.loads(unquote(base64.b64decode(found[1]).decode()))
    answer['console'] = [line for line in result.stderr.splitlines() if ':CONSOLE' in line]
    return answer


@pytest.fixture(scope='module')
def pages(tmp_path_factory, shapes_root):
    """Pages of one run and of two, and the known faults of the predictions of the first."""
    folder = tmp_path_factory.mktemp('pages')
    content = json.loads((shapes_root / 'annotations' / 'instances_val2017.json').read_text())
    results, faults = degrade(content)
    one = make_run(folder / 'one', shapes_root, results)
    other = make_run(folder / 'other', shapes_root, results[: len(results) // 2], scale=2)
    build_report([one], folder / 'one.html')
    build_report([one, other], folder / 'two.html')
    return folder, faults


FILTERS = """
  const form = document.querySelector('.filters'), seen = {};
  const choose = (name, changes) => {
    form.reset();
    for (const [key, value] of Object.entries({ group: 'all', ...changes })) {
      const field = form.elements[key];
      if (field.type === 'checkbox') field.checked = value; else field.value = value;
    }
    form.dispatchEvent(new Event('input', { bubbles: true }));
    seen[name] = all('.cards article').length;
  };
  choose('all', {});
  for (const error of ['missed', 'false alarm', 'confused']) choose(error, { error });
  choose('nothing', { error: 'missed', class: form.elements.class.options.length - 2 });
  choose('score', { score: 0.85 });
  const labels = all('.cards .label');
  return {
    seen,
    charts: all('.plot').length,
    drawn: all('.plot').filter((p) => p.querySelector('.main-svg')).length,
    pictures: all('.cards img').filter((i) => i.naturalWidth > 0).length,
    images: all('.cards img').length,
    hidden: labels.filter((l) => l.style.display === 'none').length,
    low: labels.filter((l) => l.dataset.score < 0.85).length,
  };"""


def test_charts_are_drawn_and_the_filters_find_the_known_faults(pages, tmp_path):
    folder, faults = pages
    found = visit(folder / 'one.html', tmp_path, FILTERS)
    assert found['faults'] == found['console'] == []
    assert found['charts'] == found['drawn'] > 10
    assert found['pictures'] == found['images'] > 8
    seen = found['seen']
    assert seen['all'] == 8
    for error in ('missed', 'false alarm', 'confused'):
        assert seen[error] == faults[error], error
    assert seen['nothing'] <= 1
    assert found['hidden'] == found['low'] == faults['false alarm']


WIDTH = """
  const wide = all('main *').filter((n) => !n.closest('.scroll, pre, svg, .plot, .frame') &&
    n.getBoundingClientRect().right > innerWidth + 1);
  return { page: document.documentElement.scrollWidth, window: innerWidth,
    wide: wide.map((n) => n.tagName + '.' + n.className), cards: all('.cards article').length,
    drawn: all('.plot').filter((p) => p.querySelector('.main-svg')).length };"""


def test_two_runs_fit_on_a_phone(pages, tmp_path):
    found = visit(pages[0] / 'two.html', tmp_path, WIDTH, width=390)
    assert found['faults'] == found['console'] == []
    assert found['wide'] == []
    assert found['page'] <= found['window'] == 390
    assert found['drawn'] > 10
    assert found['cards'] > 0


THEME = """
  const root = document.documentElement, button = document.getElementById('theme');
  const light = (node, what) => {
    const [r, g, b] = getComputedStyle(node)[what].match(/[\\d.]+/g).map(Number);
    return (r + g + b) / 765;
  };
  const look = () => {
    const text = document.querySelector('.plot text');
    const page = light(document.body, 'backgroundColor'), ink = light(document.body, 'color');
    return { theme: root.dataset.theme, page, ink, chart: light(text, 'fill') };
  };
  const steps = [look()];
  for (let i = 0; i < 3; i += 1) { button.click(); steps.push(look()); }
  return { steps };"""


def test_the_button_changes_page_and_charts(pages, tmp_path):
    found = visit(pages[0] / 'one.html', tmp_path, THEME)
    assert found['faults'] == found['console'] == []
    system, light, dark, again = found['steps']
    assert (light['theme'], dark['theme']) == ('light', 'dark')
    assert again == system
    assert light['page'] > 0.9
    assert dark['page'] < 0.2
    assert max(light['ink'], light['chart']) < 0.3
    assert min(dark['ink'], dark['chart']) > 0.7


def test_an_error_in_the_page_is_noticed(pages, tmp_path):
    page = tmp_path / 'broken.html'
    text = (pages[0] / 'one.html').read_text()
    at = text.rindex('</body>')
    page.write_text(f'{text[:at]}<script>nope()</script>{text[at:]}')
    found = visit(page, tmp_path, 'return {};')
    assert any('nope is not defined' in text for text in found['faults'])
    assert found['console']
