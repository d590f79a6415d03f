"""The documentation: blocks are run, output shown is printed, every command is shown, links hold.

Before a bash or python fence stands what becomes of it:

``<!-- run -->``                    run; one with a title is written to that file. All blocks of a
                                    page one after another in a folder with a link to weights/
``<!-- run with VAR as PATH -->``   the same in a folder of their own, in which PATH leads to the
                                    data that the environment variable VAR names
``<!-- tested by FILE -->``         that file runs the commands of the block, so it names every
                                    command, script, make target, config and class of it
``<!-- not run: reason -->``        it cannot run here

``<!-- output -->`` before a fence: its lines are in the output of the block before, in this order;
``...`` stands for any lines, in a line for any characters, and a number for any number. Where the
numbers do not depend on machine or chance it is ``<!-- output exact -->``: whole lines, as printed.
"""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from selnext_mm.__main__ import usage
from selnext_mm.config_files import config_leaves

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / 'docs'
MARK = re.compile(
    r'<!-- (?:(?P<mark>run|output)(?P<exact>(?<=output) exact)?'
    r'(?: with (?P<needs>[A-Z0-9_]+) as (?P<place>\S+))?'
    r'|tested by (?P<tests>\S+)|not run: (?P<reason>.+)) -->'
)
FENCE = re.compile(r'(?P<tick>```+)(?P<language>\w*)(?: title="(?P<title>[^"]+)")?')


@dataclass
class Block:
    """A fence: ``mark`` is the match of :data:`MARK` in the line before, if there is one."""

    page: str
    line: int
    mark: re.Match | None
    language: str
    title: str | None
    text: str

    @property
    def does(self) -> str | None:
        return self.mark and self.mark['mark']


def blocks(page: Path) -> list[Block]:
    lines = page.read_text().splitlines()
    found, marks, i = [], 0, 0
    while i < len(lines):
        marks += lines[i].startswith('<!--')
        fence = FENCE.match(lines[i])
        if fence:
            end = next(j for j in range(i + 1, len(lines)) if lines[j] == fence['tick'])
            mark = MARK.fullmatch(lines[i - 1])
            text = '\n'.join(lines[i + 1 : end])
            found.append(Block(page.name, i + 1, mark, fence['language'], fence['title'], text))
            i = end
        i += 1
    known = sum(b.mark is not None for b in found)
    assert known == marks, f'{page.name}: a mark is not known, or not directly before its fence'
    return found


def parts(page: list[Block]) -> dict[str, list[Block]]:
    """What runs together, each with its outputs: '' or the variable that names the data."""
    result, name = {}, ''
    for block in page:
        if block.does == 'run':
            name = block.mark['needs'] or ''
        if block.does:
            result.setdefault(name, []).append(block)
    return result


PAGES = {p.name: blocks(p) for p in sorted(DOCS.glob('*.md'))}
PARTS = {(name, needs): part for name, page in PAGES.items() for needs, part in parts(page).items()}


def normal(line: str, exact: bool = False) -> str:
    line = ' '.join(line.split())
    return line if exact else re.sub(r'\d+(?:\.\d+)?(?:e[+-]?\d+)?', '0', line)


def missing_lines(shown: str, printed: str, exact: bool = False) -> list[str]:
    """Lines of ``shown`` that ``printed`` has not, in order; a line is found by its beginning.

    With ``exact`` every number counts, and the whole line.
    """
    rest = [normal(line, exact) for line in printed.splitlines()]
    missing = []
    for line in shown.splitlines():
        wanted = normal(line, exact)
        if wanted in ('', '...'):
            continue
        parts_of_line = (re.escape(part.strip()) for part in wanted.split('...'))
        pattern = re.compile('.*?'.join(parts_of_line) + ('$' if exact else ''))
        place = next((i for i, r in enumerate(rest) if pattern.match(r)), None)
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
        # A program, not a function: "kill $!" of a page ends it.
        shim = folder / '.bin' / 'selnext-mm'
        shim.parent.mkdir(exist_ok=True)
        shim.write_text(f'#!/bin/sh\nexec {sys.executable} -W ignore -m selnext_mm "$@"\n')
        shim.chmod(0o755)
        command = ['bash', '-euo', 'pipefail', '-c', block.text]
    else:
        command = [sys.executable, '-W', 'ignore', '-c', block.text]
    result = subprocess.run(
        command,
        cwd=folder,
        env={
            **os.environ,
            'PATH': f'{folder / ".bin"}:{os.environ["PATH"]}',
            'PYTHON': sys.executable,
            'PYTHONPATH': str(ROOT),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert result.returncode == 0, f'{block.page}:\n{block.text}\n{result.stdout[-3000:]}'
    # A page shows paths as a reader would have them: from the folder of the example.
    return result.stdout.replace(f'{folder}/', '')


def test_there_are_pages_with_blocks_to_run():
    runnable = [b for part in PARTS.values() for b in part if b.does == 'run']
    assert len({b.page for b in runnable}) >= 5
    assert len(runnable) >= 20


def named(block: Block) -> dict[str, str]:
    """What a test that runs the block has to name -> a pattern that finds it there."""
    text, found = block.text, {}
    for command in re.findall(r'selnext-mm ([a-z-]+)', text):
        found[f'selnext-mm {command}'] = rf'\b{command.replace("-", "[-_]")}\b'
    for extra in re.findall(r"^pip install '?selnext_mm\[(\w+)\]", text, re.M):
        found[f'selnext_mm[{extra}]'] = rf"'{extra}'"
    for target in re.findall(r'^make ([a-z]+)', text, re.M):
        found[f'make {target}'] = rf"\bmake\b[ ,']+{target}\b"
    for script in re.findall(r'(?:tools|dev|benchmarks)/(\w+)\.(?:py|sh)', text):
        found[script] = rf'\b{script}\.(?:py|sh)\b|import {script}\b|\b{script}\.main\b'
    for config in config_leaves():
        if re.search(rf'(?<![\w/]){re.escape(config)}|configs/{re.escape(config)}', text):
            found[config] = rf'\b{Path(config).stem}\b'
    if block.language == 'python':
        for name in re.findall(r"type='(\w+)'", text):
            found[name] = rf'\b{name}\b'
        for names in re.findall(r'^from selnext_mm\S* import (.+)$', text, re.M):
            found |= {name: rf'\b{name}\b' for name in names.split(', ')}
        for name in re.findall(r'\bselnext_mm\.(\w+)\(', text):
            found[name] = rf'\b{name}\b'
    return found


def source(path: Path) -> str:
    """A test file, and what it imports from other test files."""
    text = path.read_text()
    pieces = [text]
    for module, names in re.findall(r'^from (tests\.\S+) import (.+)$', text, re.M):
        other = (ROOT / module.replace('.', '/')).with_suffix('.py').read_text()
        for node in ast.parse(other).body:
            targets = [t.id for t in getattr(node, 'targets', []) if isinstance(t, ast.Name)]
            if {getattr(node, 'name', None), *targets} & set(names.split(', ')):
                pieces.append(ast.get_source_segment(other, node))
    return '\n'.join(pieces)


def unnamed(block: Block, tests: str) -> list[str]:
    return [what for what, pattern in named(block).items() if not re.search(pattern, tests)]


@pytest.mark.parametrize('page', PAGES)
def test_every_block_is_run_or_says_why_not(page):
    for block in PAGES[page]:
        if block.language in ('bash', 'python'):
            where = f'{page}:{block.line}'
            assert block.mark, f'{where}: say before the block what becomes of it, see {__file__}'
            if block.mark['tests']:
                assert named(block), f'{where}: nothing in it that a test could run'
                missing = unnamed(block, source(ROOT / block.mark['tests']))
                assert not missing, f'{where}: {block.mark["tests"]} does not name {missing}'


def test_a_file_that_does_not_run_the_block_is_noticed():
    text = 'make demo\ntools/train.py configs/cls/selnext_t_in1k.py\nselnext-mm check-data DIR'
    text += "\npip install 'selnext_mm[serve]'"
    block = Block('a.md', 1, None, 'bash', None, text)
    everything = "call('make', 'demo')\ncall('tools/train.py', 'selnext_t_in1k')\ncheck_data.main()"
    everything += "\nadd('serve')"
    assert unnamed(block, everything) == []
    assert unnamed(block, '') == [
        'selnext-mm check-data', 'selnext_mm[serve]', 'make demo', 'train', 'cls/selnext_t_in1k.py'
    ]  # fmt: skip
    # A word of the same name is not the script.
    assert unnamed(block, everything.replace('train.py', 'train')) == ['train']
    code = "from selnext_mm.inference import predict, Predictor\nhook = dict(type='AHook')"
    assert [*named(Block('a.md', 1, None, 'python', None, code))] == [
        'AHook', 'predict', 'Predictor'
    ]  # fmt: skip


def commands() -> list[str]:
    """The commands that ``selnext-mm --help`` lists."""
    return re.findall(r'^  ([a-z][a-z-]+)  ', usage(), re.M)


def test_help_lists_the_commands():
    assert len(commands()) >= 15
    assert {'train', 'check-data', 'trade-off'} <= set(commands())


@pytest.mark.parametrize('command', commands())
def test_every_command_is_shown_with_its_output(command):
    lines = (DOCS / 'commands.md').read_text().splitlines()
    assert f'## {command}' in lines, f'docs/commands.md has no section about {command}'
    start = lines.index(f'## {command}') + 1
    end = next((i for i in range(start, len(lines)) if lines[i].startswith('## ')), len(lines))
    section = [b for b in PAGES['commands.md'] if start < b.line <= end]
    shown = [i for i, b in enumerate(section) if f'selnext-mm {command} ' in f'{b.text} ']
    assert shown, f'docs/commands.md shows no call of {command}'
    outputs = [b for b in section[shown[0] :] if b.does == 'output' or not b.language]
    assert any(b.text.strip(' .\n') for b in outputs), f'docs/commands.md: no output of {command}'


def test_a_line_that_is_not_printed_is_noticed():
    printed = 'loss 0.25 (3 it/s)\nwrote a.png\n'
    assert missing_lines('loss 1.75 (12 it/s)\n...\nwrote a.png', printed) == []
    assert missing_lines('wrote a.png\nloss 1.75 (12 it/s)', printed) == ['loss 1.75 (12 it/s)']
    assert missing_lines('wrote b.png', printed) == ['wrote b.png']
    assert missing_lines('... 0.1 (... it/s)', printed) == []
    assert missing_lines('... 0.1 (... s/it)', printed) == ['... 0.1 (... s/it)']


def test_an_exact_number_that_is_not_printed_is_noticed():
    printed = 'params  35.127 M\n  3 gates of 4\n'
    assert missing_lines('params 35.127 M\n...\n3 gates of 4', printed, exact=True) == []
    assert missing_lines('params 35.128 M', printed) == []
    assert missing_lines('params 35.128 M', printed, exact=True) == ['params 35.128 M']
    assert missing_lines('3 gates', printed, exact=True) == ['3 gates']
    assert missing_lines('... gates of 4', printed, exact=True) == []


def test_marks_are_read(tmp_path):
    page = tmp_path / 'a.md'
    text = '<!-- run -->\n```bash\na\n```\n<!-- run with X_1 as d/e -->\n```bash\nb\n```\n'
    page.write_text(text + '<!-- output exact -->\n```\nc\n```\n````\n```\nd\n```\n````\n')
    found = blocks(page)
    assert [(b.line, b.does, b.text) for b in found] == [
        (2, 'run', 'a'),
        (6, 'run', 'b'),
        (10, 'output', 'c'),
        (13, None, '```\nd\n```'),
    ]
    assert {n: [b.text for b in part] for n, part in parts(found).items()} == {
        '': ['a'],
        'X_1': ['b', 'c'],
    }
    assert (found[1].mark['needs'], found[1].mark['place']) == ('X_1', 'd/e')
    assert [bool(b.mark and b.mark['exact']) for b in found] == [False, False, True, False]
    for wrong in ('<!-- runs -->', '<!-- run exact -->'):
        page.write_text(text.replace('<!-- run -->', wrong))
        with pytest.raises(AssertionError, match='a mark is not known'):
            blocks(page)


@pytest.mark.documentation
@pytest.mark.parametrize(('page', 'needs'), PARTS)
def test_the_blocks_of_a_page_run_and_print_what_it_shows(page, needs, tmp_path):
    if needs and not os.environ.get(needs):
        pytest.skip(f'set {needs} to run the blocks of {page} that need it')
    printed = ''
    (tmp_path / 'weights').symlink_to(ROOT / 'weights')
    for block in PARTS[page, needs]:
        if block.does == 'run':
            if needs:
                place = tmp_path / block.mark['place']
                place.parent.mkdir(parents=True, exist_ok=True)
                if not place.exists():
                    place.symlink_to(os.environ[needs])
            printed = run(block, tmp_path)
        else:
            missing = missing_lines(block.text, printed, bool(block.mark['exact']))
            assert missing == [], f'{page}:{block.line} {missing}\n{printed[-3000:]}'
    shutil.rmtree(tmp_path)  # an unpacked data set may be large


@pytest.mark.documentation
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
