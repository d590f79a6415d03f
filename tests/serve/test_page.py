"""The page in a real browser: an image is chosen, and what is in it is shown."""

from html import unescape
from importlib.resources import files

import pytest

from tests.browser import dump, find_browser
from tests.serve.echo import create_app, png, serving

# What a user does, as a script: choose a file, move the slider.
DRIVE = """
addEventListener('load', async () => {
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  const log = [];
  const step = async (name) => {
    for (let i = 0; i < 100 && (at('status').textContent + at('count').textContent) === ''; i++)
      await wait(20);
    log.push(`${name}: ${at('status').textContent}|${at('count').textContent}|` +
      [...at('rows').rows].map((r) => r.textContent).join(','));
  };
  const choose = async (path, kind) => {
    const bytes = await (await fetch(path)).blob();
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], 'photo.png', { type: kind }));
    at('count').textContent = '';
    at('file').files = transfer.files;
    at('file').dispatchEvent(new Event('change'));
    for (let i = 0; i < 200 && /Looking/.test(at('status').textContent); i++) await wait(20);
  };
  for (let i = 0; i < 100 && !model; i++) await wait(20);
  log.push(`title: ${at('name').textContent}|${at('about').textContent}`);
  await choose('sample.png', 'image/png');
  await step('found');
  const marks = at('marks');
  const drawn = marks.getContext('2d').getImageData(0, 0, marks.width, marks.height).data;
  log.push(`canvas: ${marks.width}x${marks.height}, ${drawn.some((v) => v) ? 'drawn' : 'empty'}`);
  at('threshold').value = '0.9';
  at('threshold').dispatchEvent(new Event('input'));
  await step('raised');
  await choose('page.css', 'image/png');
  await step('refused');
  log.push(`hidden: ${at('result').hidden}`);
  log.push(`wide: ${document.documentElement.scrollWidth <= innerWidth}`);
  const answer = document.createElement('pre');
  answer.id = 'answer';
  answer.textContent = log.join('\\n');
  document.body.append(answer);
});
"""


@pytest.mark.integration
def test_a_picture_is_chosen_and_its_objects_are_shown(model, tmp_path):
    from fastapi import Response

    find_browser()
    page = files('selnext_mm.serve').joinpath('page.html').read_text()
    page = page.replace('</head>', '<script src="drive.js" defer></script></head>')
    app = create_app(model)
    for path, content, kind in (
        ('/driven', page, 'text/html'),
        ('/drive.js', DRIVE, 'text/javascript'),
        ('/sample.png', png(60, 40, 153), 'image/png'),
    ):
        answer = Response(content, media_type=kind)
        app.add_route(path, lambda request, answer=answer: answer)
    with serving(app) as port:
        address = f'http://127.0.0.1:{port}/driven'
        done = dump(address, tmp_path / 'profile', '500,900', timeout=240)
    assert '<pre id="answer">' in done.stdout, done.stderr[-2000:]
    lines = unescape(done.stdout.partition('<pre id="answer">')[2].partition('</pre>')[0])
    assert lines.splitlines() == [
        'title: echo.onnx|detector, 2 classes',
        'found: |1 of 1 objects, 60 x 40 pixels|ant0.600',
        'canvas: 60x40, drawn',
        'raised: |0 of 1 objects, 60 x 40 pixels|',
        'refused: the body is not an image of a supported format (image/jpeg, image/png, '
        'image/webp, image/bmp)||',
        'hidden: true',
        'wide: true',
    ]
