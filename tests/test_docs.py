"""The documentation: blocks marked to run are run, output shown is printed, links hold.

``<!-- run -->`` before a fence: a bash or python block is run, one with a title is written to that
file; all blocks of a page one after another in an empty folder. ``<!-- output -->`` before a fence:
its lines are in the output of the block before, in this order; ``...`` stands for any lines, and a
digit for any number.
"""

import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / 'docs'
FENCE = re.compile(
    r'<!-- (?P<mark>run|output) -->\n(?P<tick>```+)(?P<language>\w*)'
    r'(?: title="(?P<title>[^"]+)")?[^\n]*\n(?P<text>.*?)\n(?P=tick)',
    re.S,
)


@dataclass
class Block:
    page: str
    mark: str
    language: str
    title: str | None
    text: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found = [
        Block(page.name, m['mark'], m['language'], m['title'], m['text'])
        for m in FENCE.finditer(text)
    ]
    marks = len(re.findall(r'<!-- (?:run|output) -->', text))
    assert len(found) == marks, f'{page.name}: a mark does not stand directly before its fence'
    return found


PAGES = {p.name: b for p in sorted(DOCS.glob('*.md')) if (b := blocks(p))}


def normal(line: str) -> str:
    return re.sub(r'\d+(?:\.\d+)?(?:e[+-]?\d+)?', '0', ' '.join(line.split()))


def missing_lines(shown: str, printed: str) -> list[str]:
    """Lines of ``shown`` that ``printed`` has not, in order; a line is found by its beginning."""
    rest = [normal(line) for line in printed.splitlines()]
    missing = []
    for line in shown.splitlines():
        wanted = normal(line)
        if wanted in ('', '...'):
            continue
        place = next((i for i, r in enumerate(rest) if r.startswith(wanted)), None)
        if place is None:
            missing.append(line)
        else:
            rest = rest[place + 1 :]
    return missing


def run(block: Block, folder: Path) -> str:
    if block.title:
        (folder / block.title).write_text(block.text + '\n')
        return ''
    if block.language == 'bash':
        shim = 'selnext-mm() { "$PYTHON" -W ignore -m selnext_mm "$@"; }\n'
        command = ['bash', '-euo', 'pipefail', '-c', shim + block.text]
    else:
        command = [sys.executable, '-W', 'ignore', '-c', block.text]
    result = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, 'PYTHON': sys.executable, 'PYTHONPATH': str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert result.returncode == 0, f'{block.page}:\n{block.text}\n{result.stdout[-3000:]}'
    # A page shows paths as a reader would have them: from the folder of the example.
    return result.stdout.replace(f'{folder}/', '')


def test_there_are_pages_with_blocks_to_run():
    runnable = [b for page in PAGES.values() for b in page if b.mark == 'run']
    assert len(PAGES) >= 3
    assert len(runnable) >= 10


def test_a_line_that_is_not_printed_is_noticed():
    printed = 'loss 0.25 (3 it/s)\nwrote a.png\n'
    assert missing_lines('loss 1.75 (12 it/s)\n...\nwrote a.png', printed) == []
    assert missing_lines('wrote a.png\nloss 1.75 (12 it/s)', printed) == ['loss 1.75 (12 it/s)']
    assert missing_lines('wrote b.png', printed) == ['wrote b.png']


@pytest.mark.integration
@pytest.mark.parametrize('page', PAGES)
def test_the_blocks_of_a_page_run_and_print_what_it_shows(page, tmp_path):
    printed = ''
    for block in PAGES[page]:
        if block.mark == 'run':
            printed = run(block, tmp_path)
        else:
            assert missing_lines(block.text, printed) == [], printed[-3000:]


def test_the_site_builds_without_a_broken_link(tmp_path):
    if importlib.util.find_spec('material') is None:
        pytest.skip('pip install -r requirements/docs.txt to build the site')
    result = subprocess.run(
        [sys.executable, '-m', 'mkdocs', 'build', '--strict', '-q', '-d', str(tmp_path / 'site')],
        cwd=ROOT,
        env={**os.environ, 'NO_MKDOCS_2_WARNING': '1'},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    pages = {p.stem for p in DOCS.glob('*.md')} - {'index'}
    assert pages == {p.parent.name for p in (tmp_path / 'site').glob('*/index.html')}
