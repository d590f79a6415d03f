"""The detection tables of docs/: printed figures, our counts, and configs that are there."""

import re
from pathlib import Path

import pytest

from selnext_mm.analysis.papers.figures import PAPER_FIGURES
from selnext_mm.config_files import find_config
from tests.printed_results import PRINTED

# FPS on an RTX 2080 Ti (Table 5) and images/s on an MI250 (PATNet's Table 2), as printed.
FPS = {
    'mask_rcnn': dict(swin_t=11.8, convnext_t=12.5, selnext_t=12.5),
    'cascade_mask_rcnn': {
        **dict(swin_t=4.8, convnext_t=4.9, selnext_t=5.0),
        **dict(swin_s=4.4, convnext_s=4.4, selnext_s=4.4),
        **dict(swin_b=3.9, convnext_b=3.9, selnext_b=3.9),
    },
}
IMAGES_PER_S = dict(
    **dict(fasternet_s=121, patnet_s=122, fasternet_m=62, patnet_m=65),
    **dict(fasternet_l=35, patnet_l=39),
)


def rows(root, page, first):
    """Cells of the table that begins with the heading ``first``."""
    text = (root / 'docs' / page).read_text()
    table = text[text.index(f'\n{first}') + 1 :].split('\n\n')[0]
    return [[c.strip() for c in line.strip('|').split('|')] for line in table.splitlines()[2:]]


def test_table_5(root):
    table = rows(root, 'ablations.md', '| config | params M | FLOPs G | FPS |')
    names = [cells[0].strip('`') for cells in table]
    assert sorted(names) == sorted(
        f'{detector}/{model}_3x_coco.py' for detector, models in FPS.items() for model in models
    )
    for name, (_, params, flops, fps, ap) in zip(names, table, strict=True):
        figure = PAPER_FIGURES[name]
        detector, model = name.removesuffix('_3x_coco.py').split('/')
        assert params == f'{figure.params} / {figure.exact_params / 1e6:.2f}'
        noted = ' (a)' if figure.flops_reason else ''
        assert flops == f'{figure.flops} / {figure.exact_flops / 1e9:.1f}{noted}'
        assert fps == f'{FPS[detector][model]} / not run'
        assert ap == PRINTED[name]


def test_table_2_of_patnet(root):
    table = rows(root, 'patnet.md', '| backbone | config | params M, paper |')
    assert len(table) == 15
    others = ('`mmdet::', 'none here')
    ours = {c[1].strip('`'): c[2:] for c in table if not c[1].startswith(others)}
    assert sorted(ours) == sorted(f'mask_rcnn/{model}_1x_coco.py' for model in IMAGES_PER_S)
    for name, cells in ours.items():
        figure = PAPER_FIGURES[name]
        model = name.removeprefix('mask_rcnn/').removesuffix('_1x_coco.py')
        assert cells == [
            *(figure.params, f'{figure.exact_params / 1e6:.2f}'),
            *(figure.flops, f'{figure.exact_flops / 1e9:.1f}'),
            *(str(IMAGES_PER_S[model]), PRINTED[name]),
        ]
        assert find_config(name).is_file()


def test_stock_configs_that_a_page_names_exist(root):
    mmdet = pytest.importorskip('mmdet', reason='the page names configs of mmdet; install it')
    names = re.findall(r'`mmdet::(\S+?\.py)`', (root / 'docs/patnet.md').read_text())
    assert len(names) == 4
    for name in names:
        assert Path(mmdet.__file__).with_name('.mim').joinpath('configs', name).is_file(), name
