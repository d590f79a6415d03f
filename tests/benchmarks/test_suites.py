"""The tables of benchmarks/: their models exist, their printed ratios are the papers'."""

import pytest
import torch
from _models import Setting, packaged_config, start, tensors
from _rows import find_baseline, paper_ratio
from _suites import SUITES

from selnext_mm.config_files import find_config

ROWS = [pytest.param(row, id=f'{name}-{row.label}') for name, s in SUITES.items() for row in s.rows]


def test_the_suites_have_the_rows_of_their_tables():
    printed = {n: sum(bool(r.paper) for r in s.rows) for n, s in SUITES.items()}
    # Table 7's two hybrid networks stand there at two sizes.
    expected = {'table2': 17, 'table7': 7 + 2, 'table9': 6, 'patnet': 42}
    assert {n: printed[n] for n in expected} == expected
    for suite in SUITES.values():
        labels = [row.label for row in suite.rows]
        assert len(labels) == len(set(labels))
        assert all(find_baseline(row, suite.rows) for row in suite.rows)


@pytest.mark.slow
@pytest.mark.parametrize('suite', ['fast', 'fast-detection', 'training'])
def test_backbones_build_and_give_what_the_suite_needs(suite):
    pytest.importorskip('mmpretrain')
    # Swin's windows of 7 need maps of 7 in the third stage.
    setting = Setting(device=torch.device('cpu'), batch=1, size=(224, 256))
    for row in SUITES[suite].rows:
        if row.variants or not ('-T' in row.name or 'SELNeXt' in row.name):
            continue
        model, _, out = start(row, setting)
        if row.name.endswith(', layer by layer'):
            assert model.stages[0][0].impl == 'reference'
        assert not model.training
        maps = [tuple(t.shape[-2:]) for t in tensors(out) if t.ndim == 4]
        if suite == 'fast-detection':
            assert maps == [(56, 64), (28, 32), (14, 16), (7, 8)], row.label


@pytest.mark.parametrize('row', ROWS)
def test_models_exist(row):
    if isinstance(row.source, dict):
        return
    package, separator, name = row.source.partition('::')
    if not separator:
        assert find_config(row.source).is_file()
    elif package == 'timm':
        assert pytest.importorskip('timm').is_model(name)
    else:
        pytest.importorskip(package)
        assert packaged_config(row.source).is_file()


@pytest.mark.parametrize(
    ('suite', 'label', 'device', 'expected'),
    [
        ('table2', 'SELNeXt-T', 'cuda', 0.160 / 0.157),
        ('table2', 'ConvNeXt V2-B', 'cpu', 0.515 / 0.394),
        ('table7', 'MobileNetV3-L SELN', 'cuda', 1.0),
        ('table9', 'ConvNeXt-T block + SELN', 'cuda', 0.175 / 0.157),
        ('patnet', 'PATNet-T2@deploy', 'cpu', 35.2 / 43.7),
        ('patnet', 'PATNet-T2@deploy', 'cuda', 2455 / 3074),  # times, from throughputs
        ('patnet', 'PATNet-T2', 'cpu', None),  # the paper timed merged models
        ('table9', 'ConvNeXt-T of mmpretrain', 'cpu', None),
    ],
)
def test_printed_ratios(suite, label, device, expected):
    suite = SUITES[suite]
    (row,) = [row for row in suite.rows if row.label == label]
    ratio = paper_ratio(suite, row, find_baseline(row, suite.rows), device)
    assert ratio == (None if expected is None else pytest.approx(expected))
