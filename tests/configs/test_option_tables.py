"""The tables of docs/ whose rows are --cfg-options of a config: each is built and counted."""

import argparse
import re
from pathlib import Path

import pytest
import torch

from selnext_mm.analysis.complexity import build_model
from selnext_mm.analysis.papers.printed import meets
from selnext_mm.cli.arguments import Options
from selnext_mm.config.load import load_config

DOCS = Path(__file__).resolve().parents[2] / 'docs'
# page -> config -> row -> what the paper prints: millions of parameters, top-1
PRINTED = {
    'patnet.md': {
        'cls/patnet_t2_in1k.py': {
            'Tables 3, 4, 5, 10: PATNet-T2': ('12.6', '80.2'),
            'Table 3, F P P': ('13.0', '80.1'),
            'Table 3, P F P': ('12.6', '79.9'),
            'Table 3, P P F': ('14.5', '80.2'),
            'Table 4, no attention': ('11.1', '76.0'),
            'Table 4, PAT_ch': ('11.1', '77.4'),
            'Table 4, PAT_ch, PAT_sp': ('11.5', '78.9'),
            'Table 4, 2-2-8-2': ('9.7', '78.8'),
            'Table 5, Conv': ('15.8', '79.9'),
            'Table 5, DWConv': ('15.8', '79.6'),
            'Table 10, SRM': ('12.2', '79.6'),
            'Table 10, SE-NET': ('12.3', '79.8'),
        }
    },
    'na.md': {
        'cls/na_resnet50_in1k.py': {
            'Tables 1-3, ResNet50': ('25.557', '75.8974'),
            'Table 1, SE': ('28.088', '77.2877'),
            'Table 1, GE': ('25.557', '76.2357'),
            'Table 1, SK': ('26.154', '77.3657'),
            'Table 1, CBAM': ('28.090', '77.2840'),
            'Tables 1-3, NA': ('25.557', '77.3078'),
            'Table 2, NA with embedding': ('25.558', '77.2183'),
            'Table 3, NA (mean)': ('25.557', '76.901'),
        },
        'cls/na_mobilenet_v2_in1k.py': {
            'Table 1, MobileNetV2': ('3.505', '71.0320'),
            'Table 1, SE': ('3.563', '72.0482'),
            'Table 1, GE': ('3.555', '72.2776'),
            'Table 1, CBAM': ('3.565', '71.9069'),
            'Table 1, NA': ('3.50', '72.2596'),
        },
    },
}


def tables(page):
    """config -> row -> (options, parameters as printed, ours, top-1)."""
    found, config = {}, None
    for line in (DOCS / page).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        head = re.match(r'`--cfg-options` of `(\S+)`', cells[1]) if len(cells) == 5 else None
        if head:
            config = head[1]
        elif config and line.startswith('|') and not line.startswith('|---'):
            found.setdefault(config, {})[cells[0]] = cells[1:]
        elif not line.startswith('|'):
            config = None
    return found


ROWS = [
    (config, name, *cells)
    for page in PRINTED
    for config, rows in tables(page).items()
    for name, cells in rows.items()
]


def parse(cell):
    """The options of a cell, as the commands read them."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=Options)
    words = [] if cell == 'none' else ['--cfg-options', *cell.strip('`').split()]
    return parser.parse_args(words).cfg_options


def test_the_tables_are_those_of_the_papers():
    for page, configs in PRINTED.items():
        for config, rows in tables(page).items():
            shown = {k: (v[1].split()[0], v[3]) for k, v in rows.items()}
            assert shown == configs[config]
        assert set(tables(page)) == set(configs)


@pytest.mark.parametrize(
    ('config', 'name', 'options', 'paper', 'ours', 'top1'),
    ROWS,
    ids=[' '.join(r[:2]) for r in ROWS],
)
def test_a_row_builds_with_its_parameters(config, name, options, paper, ours, top1):
    cfg = load_config(config, parse(options))
    with torch.device('meta'):
        model = build_model(cfg)
    count = sum(p.numel() for p in model.parameters())
    assert f'{count:,}' == ours
    printed, *note = paper.split()
    assert meets(count, printed, 'params') == (not note)


def test_some_rows_were_found():
    assert len(ROWS) == 25
