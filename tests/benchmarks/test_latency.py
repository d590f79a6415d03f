"""benchmarks/latency.py from its command line, on small images; its errors and its files."""

import json
import re
from types import SimpleNamespace

import _models
import latency
import pytest
import torch
from _choose import pick_rows
from _models import (
    Setting,
    UnavailableError,
    build,
    deploy,
    make,
    relative_error,
    settle_batch_norms,
)
from _rows import Row, find_baseline
from _session import base_parser
from mmengine.registry import MODELS
from torch import nn

from selnext_mm.__main__ import call
from selnext_mm.errors import UserError

pytest.importorskip('mmpretrain')

FAST = ('--size', '64', '64', '--batch', '2', '--repeats', '3', '--warmup', '0', '--settle', '0')
T0 = 'cls/patnet_t0_in1k.py'
SETTING = Setting(device=torch.device('cpu'), batch=2, size=(8, 8))


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny():
    """A backbone of one batch norm whose deployment can be right or wrong."""

    @MODELS.register_module(name='TinyForTiming', force=True)
    class Tiny(nn.Module):
        def __init__(self, factor=1.0):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)
            self.factor = factor

        def switch_to_deploy(self):
            self.norm.weight.data.mul_(self.factor)

        def forward(self, x):
            return (self.norm(x),)

    yield dict(type='TinyForTiming')
    MODELS.module_dict.pop('TinyForTiming')


def test_a_run_writes_what_it_prints(tmp_path, capsys, threads):
    path = tmp_path / 'r.json'
    models = [T0, f'{T0}@deploy', 'MobileNetV3-L SELN']
    assert call(latency.main, [*models, *FAST, '--threads', '1', '--json', str(path)]) == 0
    result = json.loads(path.read_text())
    first, deployed, mobile = result['rows']
    assert [row['label'] for row in result['rows']] == models
    assert [row['params'] for row in result['rows']] == [4_292_072, 4_195_149, 5_491_144]
    assert (first['ratio'], first['baseline'], deployed['baseline']) == (1.0, T0, T0)
    assert first['error'] is None
    assert 0 < deployed['error'] < 1e-3
    for row in result['rows']:
        assert len(row['seconds']) == 3
        assert min(row['seconds']) > 0
        assert row['images_per_s'] == pytest.approx(2 / row['median_s'])
    assert result['setting']['threads'] == 1
    assert result['machine']['cores'] >= 1
    assert result['versions']['torch'] == torch.__version__
    assert result['left_out'] == []

    printed = capsys.readouterr().out
    assert f'{mobile["ratio"]:.3f} [' in printed
    assert call(latency.main, ['--show', str(path)]) == 0
    page = capsys.readouterr().out
    assert f'| {T0}, deploy | 4.20 | 64x64 | ' in page
    assert [p.name for p in tmp_path.iterdir()] == ['r.json']


def test_a_suite_has_the_papers_figures_and_names_what_it_leaves_out(
    tmp_path, capsys, monkeypatch, threads
):
    found = _models.find_spec
    monkeypatch.setattr(_models, 'find_spec', lambda n: None if n == 'timm' else found(n))
    path = tmp_path / 'r.json'
    only = ('--only', 'PATNet-T0', 'ShuffleNetV2 x1.5', 'GhostNet')
    argv = ['--suite', 'patnet', *only, '--baseline', 'PATNet-T0', *FAST, '--json', str(path)]
    assert call(latency.main, argv) == 0
    result = json.loads(path.read_text())
    assert [r['label'] for r in result['left_out']] == ['GhostNet x1.3']
    assert 'timm is not installed (pip install' in result['left_out'][0]['reason']
    assert 'left out: GhostNet x1.3: timm is not installed' in capsys.readouterr().out
    rows = {row['label']: row for row in result['rows']}
    assert rows['PATNet-T0@deploy']['paper'] == '12.2'
    assert {row['baseline'] for row in rows.values()} == {'PATNet-T0'}
    assert result['setting']['threads'] == 1  # the suite's


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        ([], 'nothing to time'),
        (['SELNeXT-T'], r"no model 'SELNeXT-T'; did you mean 'SELNeXt-T'"),
        (['cls/selnext_x_in1k.py'], r'there is no cls/selnext_x_in1k\.py in .*did you mean'),
        (['mmpretrain::convnext/convnext-tiny.py'], 'mmpretrain has no config .*; did you mean'),
        (['SELNeXt-T@fast'], "unknown variant 'fast'; choose from deploy, compile, channels_last"),
        (['SELNeXt-T', 'SELNeXt-T'], 'SELNeXt-T is there twice'),
        (['mask_rcnn/selnext_t_3x_coco.py'], "model.type is 'MaskRCNN'; this times classifiers"),
        (['SELNeXt-T', '--only', 'x'], '--only chooses rows of a --suite'),
        (['--suite', 'table9', '--only', 'x'], "--only 'x': no row of table9 has it"),
        (['SELNeXt-T', '--device', 'tpu'], '--device tpu; expected cpu, cuda or cuda:N'),
        (['SELNeXt-T', '--device', 'cuda:99'], '--device cuda:99, but torch sees'),
        (['SELNeXt-T', '--tf32'], '--tf32 is for a GPU'),
        (['SELNeXt-T@deploy', '--json', 'no/such/r.json'], 'no folder that can be written to'),
        (['--show', 'pyproject.toml'], 'is no result of'),
        ([T0, '--size', '16', '16'], 'does not run at 16x16'),
    ],
)
def test_a_wrong_command_line_is_one_message(argv, message, capsys, root, monkeypatch):
    monkeypatch.chdir(root)
    pytest.importorskip('mmdet')
    assert call(latency.main, argv) == 2
    out, err = capsys.readouterr()
    assert out == ''
    assert len(err.splitlines()) == 1
    assert re.search(message, err), err


def test_only_takes_a_row_or_a_group_by_its_baseline():
    def labels(*argv):
        return [row.label for row in pick_rows(base_parser('x', '').parse_args(argv))]

    group = ['ShuffleNetV2 x2', 'GhostNet x1.3', 'FasterNet-T1', 'PATNet-T1', 'PATNet-T1@deploy']
    found = labels('--suite', 'patnet', '--only', 'FasterNet-T1')
    assert set(group) < set(found)
    assert len(found) == 9
    assert labels('--suite', 'table9', '--only', 'GRN', 'mmpretrain') == [
        'ConvNeXt-T block + GRN',
        'ConvNeXt-T of mmpretrain',
        'ConvNeXt V2-T of mmpretrain',
    ]


def test_options_for_all_keep_the_baseline():
    argv = ['--suite', 'table9', '--compile', '--memory-format', 'channels_last']
    rows = pick_rows(base_parser('x', '').parse_args(argv))
    assert {row.variants for row in rows} == {('compile', 'channels_last')}
    assert all(find_baseline(row, rows).name == 'ConvNeXt-T block' for row in rows)


def test_a_variant_that_computes_something_else_is_refused(tiny):
    assert make(Row('right', tiny, variants=('deploy',)), SETTING).error == 0
    wrong = Row('wrong', tiny, options=dict(factor=1.01), variants=('deploy',))
    with pytest.raises(UserError, match=r'wrong@deploy computes something else .* 1\.0e-02'):
        make(wrong, SETTING)


@pytest.mark.parametrize(
    ('source', 'raw', 'deployed'),
    [
        (T0, 4_292_072, 4_195_149),  # merged away
        (dict(type='SELNeXt', arch='atto'), None, None),  # packed beside its parameters
        ('cls/mobilenet_v3_l_seln_in1k.py', 5_491_144, 5_491_144),
    ],
)
def test_parameters_are_those_of_the_module_that_is_timed(source, raw, deployed):
    setting = Setting(device=torch.device('cpu'), batch=1, size=(64, 64))
    params = [make(Row('x', source, variants=v), setting).params for v in ((), ('deploy',))]
    assert params == ([raw, deployed] if raw else params[:1] * 2)


@pytest.mark.parametrize('arch', ['t0', 't1', 't2', 's', 'm', 'l'])
def test_the_committed_timings_have_these_parameters(arch, root):
    """Of deployed PATNet, in the file and on the page."""
    model = build(Row('x', f'cls/patnet_{arch}_in1k.py'))
    label = f'PATNet-{arch.upper()}@deploy'
    assert deploy(model)
    params = sum(p.numel() for p in model.parameters())
    rows = json.loads((root / 'benchmarks' / 'results' / 'patnet_cpu.json').read_text())['rows']
    assert [row['params'] for row in rows if row['label'] == label] == [params]
    page = (root / 'docs' / 'results.md').read_text()
    assert f'| {label.replace("@", ", ")} | {params / 1e6:.2f} |' in page


def test_a_model_without_deployment_is_left_out_where_it_is_asked_for():
    row = Row('MobileNetV3', 'cls/na_resnet50_in1k.py', variants=('deploy',))
    with pytest.raises(UnavailableError, match='no switch_to_deploy'):
        make(row, Setting(device=torch.device('cpu'), batch=1, size=(32, 32)))


def test_deploy_for_all_deploys_where_there_is_something(tmp_path, threads):
    path = tmp_path / 'r.json'
    argv = ['FasterNet-T0', T0, '--deploy', *FAST, '--json', str(path)]
    pytest.importorskip('timm')
    assert call(latency.main, argv) == 0
    rows = json.loads(path.read_text())['rows']
    assert [row['label'] for row in rows] == ['FasterNet-T0', f'{T0}@deploy']


def test_rows_are_chosen_by_their_labels(capsys):
    parser = base_parser('x', '')
    labels = ['SELNeXt-T backbone@deploy', 'ConvNeXt-T backbone']
    args = parser.parse_args(['--suite', 'fast', '--rows', *labels])
    assert [row.label for row in pick_rows(args)] == labels
    args = parser.parse_args(['--suite', 'fast', '--rows', 'SELNeXt-T'])
    with pytest.raises(UserError, match=r"'SELNeXt-T': no such row of fast"):
        pick_rows(args)


def test_processor_time_is_of_one_thread(tmp_path, capsys, threads):
    path = tmp_path / 'r.json'
    argv = [T0, *FAST, '--clock', 'cpu', '--json', str(path)]
    assert call(latency.main, [*argv, '--threads', '2']) == 2
    assert 'add --threads 1' in capsys.readouterr().err
    assert call(latency.main, [*argv, '--threads', '1']) == 0
    assert json.loads(path.read_text())['setting']['clock'] == 'cpu'
    assert 'other processes not counted' in capsys.readouterr().out


def test_batch_norms_get_the_statistics_of_the_images():
    norm = nn.BatchNorm2d(3, momentum=0.03)
    x = torch.randn(4, 3, 16, 16) * 5 + 2
    settle_batch_norms(norm.eval(), x)
    assert (norm.momentum, norm.training) == (0.03, False)
    torch.testing.assert_close(norm.running_mean, x.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, x.var((0, 2, 3)))


def test_one_image_settles_norms_that_see_one_value_per_image():
    candidate = make(Row('one', T0), Setting(device=torch.device('cpu'), batch=1, size=(64, 64)))
    logits = candidate.call()
    assert logits.isfinite().all()
    assert logits.std() > 1e-4  # a signal that has faded away would be timed wrongly


def test_relative_error_is_the_worst_of_all_outputs():
    a = (torch.tensor([1.0, -2.0]), [torch.tensor([10.0])])
    b = (torch.tensor([1.0, -2.5]), [torch.tensor([8.0])])
    assert relative_error(a, b) == pytest.approx(0.25)


def test_what_is_not_built_in_time_is_left_out(monkeypatch):
    import _session

    clock = iter([0.0, 1.0, 2.0, 7.0])
    monkeypatch.setattr(_session.time, 'monotonic', lambda: next(clock))
    rows = [SimpleNamespace(label=name) for name in 'abc']
    made, missing = _session.prepare(rows, lambda row: SimpleNamespace(row=row), 5)
    assert list(made) == ['a', 'b']
    assert missing == [{'label': 'c', 'reason': 'not built within 5 s'}]
