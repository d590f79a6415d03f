"""What the README tells a user to type exists, and its configs load."""

import re
from pathlib import Path

import pytest

from selnext_mm.cli import COMMANDS
from selnext_mm.engine.config import load_config

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]


def blocks(language: str) -> list[str]:
    return re.findall(rf'```{language}\n(.*?)```', (ROOT / 'README.md').read_text(), re.S)


def test_commands_exist():
    lines = [line.split('#')[0].strip() for b in blocks('bash') for line in b.splitlines()]
    assert len(lines) > 8
    makefile = (ROOT / 'Makefile').read_text()
    for line in lines:
        for target in re.findall(r'make (\w+)', line):
            assert f'\n{target}:' in makefile, line
        for command in re.findall(r'selnext-mm ([\w-]+)', line):
            assert command in COMMANDS, line
        for path in re.findall(r'(?:tools|configs)/\S+\.(?:py|sh)', line):
            assert (ROOT / path).is_file(), line


@pytest.mark.parametrize('index', range(len(blocks('python'))))
def test_configs_load_as_printed(index, tmp_path):
    path = tmp_path / 'my_config.py'
    path.write_text(blocks('python')[index])
    cfg = load_config(path)
    assert cfg.model.backbone.type == 'SELNeXt'


@pytest.mark.parametrize('page', PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    text = re.sub(r'`[^`]*`', '', page.read_text())
    for target in re.findall(r'\]\(([^)#]+)\)', text):
        if '://' not in target:
            assert (page.parent / target).exists(), target


def test_pages_speak_of_the_project_alone():
    for page in PAGES:
        text = page.read_text()
        assert not re.search(r'(/root/|/home/\w|/work/|/tmp/\w)', text), page
