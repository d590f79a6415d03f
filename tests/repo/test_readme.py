"""What the README tells a user to type exists, and its configs load."""

import re
from pathlib import Path

import pytest

from selnext_mm.analysis.papers.figures import PAPER_FIGURES
from selnext_mm.cli import COMMANDS
from selnext_mm.config.load import load_config
from tests.printed_results import PRINTED

ROOT = Path(__file__).resolve().parents[2]
MODELS = {
    **{f'SELNeXt-{x}, ImageNet-1k': f'cls/selnext_{x.lower()}_in1k.py' for x in 'TSB'},
    'Mask R-CNN SELNeXt-T, 3x': 'mask_rcnn/selnext_t_3x_coco.py',
    **{
        f'Cascade Mask R-CNN SELNeXt-{x}, 3x': f'cascade_mask_rcnn/selnext_{x.lower()}_3x_coco.py'
        for x in 'TSB'
    },
    'MobileNetV3-L SELN, ImageNet-1k': 'cls/mobilenet_v3_l_seln_in1k.py',
    'NA-ResNet-50, ImageNet-1k': 'cls/na_resnet50_in1k.py',
    'NA-MobileNetV2, ImageNet-1k': 'cls/na_mobilenet_v2_in1k.py',
    'RetinaNet NA-ResNet-50, 2x': 'retinanet/na_r50_2x_coco.py',
    'Cascade R-CNN NA-ResNet-50, 2x': 'cascade_rcnn/na_r50_2x_coco.py',
    'PATNet-T2, ImageNet-1k': 'cls/patnet_t2_in1k.py',
    'Mask R-CNN PATNet-S, 1x': 'mask_rcnn/patnet_s_1x_coco.py',
}
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


def result_rows() -> dict[str, list[str]]:
    """model -> the other cells of the table of results, without its notes."""
    text = (
        (ROOT / 'README.md').read_text().partition('## Results')[2].partition('## What is where')[0]
    )
    rows = [line.strip('|').split('|') for line in text.splitlines() if line.startswith('|')]
    return {
        cells[0].strip(): [re.sub(r' \(\d\)$', '', cell.strip()) for cell in cells[1:]]
        for cells in rows[2:]
    }


def test_the_table_of_results_has_these_models():
    assert list(result_rows()) == list(MODELS)


@pytest.mark.parametrize('model', MODELS)
def test_results_are_the_printed_ones_beside_our_counts(model):
    *counts, printed, ours = result_rows()[model]
    figure = PAPER_FIGURES[MODELS[model]]
    for cell, quantity, unit in zip(counts, ('params', 'flops'), (1e6, 1e9), strict=True):
        paper, counted = cell.split(' / ')
        assert paper == getattr(figure, quantity)
        digits = len(counted.partition('.')[2])
        assert counted == f'{getattr(figure, f"exact_{quantity}") / unit:.{digits}f}'
    assert printed == PRINTED[MODELS[model]]
    assert ours == 'not run'


def test_the_index_leads_to_every_page():
    pages = {p.name for p in (ROOT / 'docs').glob('*.md')} - {'index.md'}
    linked = set(re.findall(r'\]\((\w+\.md)\)', (ROOT / 'docs' / 'index.md').read_text()))
    assert linked == pages


def test_pages_speak_of_the_project_alone():
    for page in PAGES:
        text = page.read_text()
        assert not re.search(r'(/root/|/home/\w|/work/|/tmp/\w)', text), page


def test_the_citation_is_the_published_one():
    """The first version named Ho-young, other pages and no DOI."""
    citation = (ROOT / 'README.md').read_text().partition('```bibtex')[2].partition('```')[0]
    for part in ('Jung, Ho-youl', '{3965--3981}', '{82}', '{10.32604/cmc.2025.059966}'):
        assert part in citation, part
