"""The detection tables of docs/: printed figures, our counts, and configs that are there."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config

from selnext_mm.analysis.complexity import NUM_MASKS
from selnext_mm.analysis.papers.figures import PAPER_FIGURES
from selnext_mm.analysis.papers.patnet_detectors import MASK_TOP, OURS, TABLE2, WITHOUT_TOP
from selnext_mm.analysis.papers.printed import meets
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
    seen = set()
    for backbone, config, *cells in table:
        name = config.strip('`')
        if name not in TABLE2:
            assert config.startswith(('`mmdet::', "another backbone in PATNet-S's"))
            name = f'{OURS}, {backbone.removesuffix(" x1.5")}'
        else:
            model = name.removeprefix('mask_rcnn/').removesuffix('_1x_coco.py')
            assert cells[4:] == [str(IMAGES_PER_S[model]), PRINTED[name]]
            assert find_config(name).is_file()
        figure = TABLE2[name]
        assert cells[:4] == [
            *(figure.params, f'{figure.exact_params / 1e6:.2f}'),
            *(figure.flops, f'{figure.exact_flops / 1e9:.1f}'),
        ]
        seen.add(name)
    assert seen == TABLE2.keys()


def test_flops_of_table_2_lack_the_last_layers_of_the_mask_head():
    """The nine convolutional detectors, to the digit"""
    side, channels, classes = 28, 256, 80
    top = channels * channels * side * side + channels * side * side  # the deconvolution, biases
    top += channels * side * side  # its ReLU
    top += classes * side * side * (channels + 1)
    assert top * NUM_MASKS == MASK_TOP
    rows = [figure for figure in TABLE2.values() if figure.flops_reason == WITHOUT_TOP]
    assert len(rows) == 9
    for figure in rows:
        assert not meets(figure.exact_flops, figure.flops, 'flops')
        assert meets(figure.exact_flops - MASK_TOP, figure.flops, 'flops')
        assert meets(figure.exact_params, figure.params, 'params')


def test_the_config_of_another_backbone_is_that_of_its_row(root):
    text = (root / 'docs/patnet.md').read_text()
    block = text[text.index('title="poolformer_s24.py"') :].split('\n', 1)[1].split('```')[0]
    config = Config.fromstring(block.replace('selnext_mm::', f'{root}/configs/'), '.py')
    options = TABLE2[f'{OURS}, PoolFormer-S24'].options
    assert {'_delete_': True, **config.model.backbone} == options['backbone']
    assert config.model.neck.in_channels == options['neck.in_channels']


def test_stock_configs_that_a_page_names_exist(root):
    mmdet = pytest.importorskip('mmdet', reason='the page names configs of mmdet; install it')
    names = re.findall(r'`mmdet::(\S+?\.py)`', (root / 'docs/patnet.md').read_text())
    assert len(names) == 4
    for name in names:
        assert Path(mmdet.__file__).with_name('.mim').joinpath('configs', name).is_file(), name
