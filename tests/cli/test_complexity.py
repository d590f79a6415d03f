"""The complexity command: the printed figures are met, and a wrong one is noticed."""

import json
from dataclasses import replace

import pytest

from selnext_mm.__main__ import main
from selnext_mm.analysis.complexity import Complexity
from selnext_mm.analysis.papers import rows as papers
from selnext_mm.analysis.papers.figures import PAPER_FIGURES

TINY = 'cls/selnext_t_in1k.py'


@pytest.fixture(scope='module')
def all_rows(tmp_path_factory):
    """The command without CONFIG, once; status and rows."""
    file = tmp_path_factory.mktemp('complexity') / 'rows.json'
    status = main(['complexity', '--check', '--json', str(file)])
    return status, json.loads(file.read_text())


@pytest.mark.slow
def test_all_printed_figures_are_met(all_rows):
    status, rows = all_rows
    assert status == 0
    assert [row['config'] for row in rows] == list(PAPER_FIGURES)
    other = {row['config']: row['status'] for row in rows if row['status'] != 'ok'}
    for config, figure in PAPER_FIGURES.items():
        reasons = [x for x in (figure.params_reason, figure.flops_reason, figure.note) if x]
        assert (config in other) == bool(reasons)
        assert all(reason in other[config] for reason in reasons)
    assert '0.215 G is not 0.24: no counter' in other['cls/mobilenet_v3_l_eca_in1k.py']
    assert '3.979 M params is not 3.97' in other['cls/mobilenet_v3_l_grn_in1k.py']
    assert '31.181 M params is not 31.1: 31.18 is' in other['cls/fasternet_s_in1k.py']
    # Both figures of this one are met.
    assert other['cls/mobilenet_v3_l_seln_in1k.py'].startswith('ok (by MACs;')


@pytest.mark.slow
@pytest.mark.parametrize(
    ('config', 'part'),
    [
        ('cls/patnet_t1_in1k.py', '0.610 G is not 0.55: Table 6 prints 2 blocks in stage 1'),
        ('mask_rcnn/patnet_m_1x_coco.py', '79.176 M params is not 78.2: no configuration'),
        ('cls/patnet_t2_in1k.py, no attention', '9.410 M params is not 11.1: impossible without'),
    ],
)
def test_the_papers_own_slips_are_named(all_rows, config, part):
    (row,) = [row for row in all_rows[1] if row['config'] == config]
    assert part in row['status']


def test_a_config_brings_the_models_that_change_it(tmp_path):
    file = tmp_path / 'rows.json'
    t2 = 'cls/patnet_t2_in1k.py'
    assert main(['complexity', t2, '--json', str(file)]) == 0
    rows = {row['config']: row for row in json.loads(file.read_text())}
    assert {name: row['params'] for name, row in rows.items()} == {
        t2: 12_651_072,
        f'{t2}, no attention': 9_410_408,
    }
    assert rows[f'{t2}, no attention']['paper']['source'] == 'PATNet, Table 4'
    # Another image size has no printed figures, and no models of a table.
    assert main(['complexity', t2, '--shape', '64', '64', '--json', str(file)]) == 0
    assert [row['config'] for row in json.loads(file.read_text())] == [t2]


def test_a_package_that_is_missing_leaves_its_rows_out_and_says_so(monkeypatch, capsys):
    names = (TINY, 'cls/fasternet_t0_in1k.py')
    monkeypatch.setattr(papers, 'PAPER_FIGURES', {n: PAPER_FIGURES[n] for n in names})
    monkeypatch.setattr(papers, 'find_spec', lambda name: None)
    assert main(['complexity', '--check']) == 0
    out, err = capsys.readouterr()
    assert 'fasternet' not in out
    assert err == (
        "left out: cls/fasternet_t0_in1k.py needs timm (pip install 'selnext_mm[timm]')\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ('config', 'giga_macs'),
    [
        ('cls/ablation/convnext_t_baseline_in1k.py', '4.456'),
        ('cls/ablation/convnext_t_se_in1k.py', '4.462'),
        ('cls/ablation/convnext_t_seln_noln_in1k.py', '4.462'),
        ('cls/mobilenet_v3_l_se_in1k.py', '0.217'),
        ('cls/mobilenet_v3_l_none_in1k.py', '0.215'),
        ('cls/mobilenet_v3_l_seln_in1k.py', '0.217'),
    ],
)
def test_macs_of_the_ablations(all_rows, config, giga_macs):
    row = next(row for row in all_rows[1] if row['config'] == config)
    assert f'{row["macs"] / 1e9:.3f}' == giga_macs


@pytest.mark.slow
@pytest.mark.parametrize(
    ('config', 'params', 'billions'),
    [
        ('cls/selnext_t_in1k.py', 35_126_656, '4.5'),
        ('cls/selnext_s_in1k.py', 62_140_480, '8.7'),
        ('cls/selnext_b_in1k.py', 109_715_208, '15.4'),
        ('mask_rcnn/selnext_t_3x_coco.py', 54_632_904, '262'),
        ('cascade_mask_rcnn/selnext_t_3x_coco.py', 92_468_106, '741'),
        ('cascade_mask_rcnn/selnext_s_3x_coco.py', 119_481_930, '827'),
        ('cascade_mask_rcnn/selnext_b_3x_coco.py', 166_923_986, '964'),
    ],
)
def test_figures_of_the_paper(all_rows, config, params, billions):
    row = next(row for row in all_rows[1] if row['config'] == config)
    assert row['params'] == params
    digits = len(billions.partition('.')[2])
    assert f'{row["flops_mmcv"] / 1e9:.{digits}f}' == billions


@pytest.mark.slow
@pytest.mark.parametrize(
    ('config', 'params', 'counter', 'billions'),
    [
        ('cls/na_resnet50_in1k.py', 25_557_064, 'params', '4.122'),
        ('cls/na_mobilenet_v2_in1k.py', 3_504_906, 'params', '0.320'),
        ('retinanet/r50_2x_coco.py', 37_743_348, 'trainable_params', '239.32'),
        ('retinanet/se_r50_2x_coco.py', 40_248_948, 'trainable_params', '239.43'),
        ('retinanet/na_r50_2x_coco.py', 37_743_374, 'trainable_params', '239.32'),
        ('cascade_rcnn/r50_2x_coco.py', 69_169_422, 'trainable_params', '234.71'),
        ('cascade_rcnn/gc_r50_2x_coco.py', 71_691_163, 'trainable_params', '234.82'),
        ('cascade_rcnn/na_r50_2x_coco.py', 69_169_448, 'trainable_params', '234.71'),
    ],
)
def test_figures_of_the_na_paper(all_rows, config, params, counter, billions):
    row = next(row for row in all_rows[1] if row['config'] == config)
    assert row[counter] == params
    digits = len(billions.partition('.')[2])
    assert f'{row["flops_mmcv"] / 1e9:.{digits}f}' == billions


def measured():
    return Complexity(35_126_656, 35_126_656, 4_462_000_896, 4_900_000_000, (224, 224), 'one image')


def test_check_turns_a_failure_into_the_exit_status(monkeypatch, capsys):
    wrong = replace(PAPER_FIGURES[TINY], flops='4.4')
    monkeypatch.setitem(papers.PAPER_FIGURES, TINY, wrong)
    monkeypatch.setattr(papers, 'measure', lambda *_: measured())
    assert main(['complexity', TINY, '--check']) == 1
    assert 'differs: 4.462 G is not 4.4' in capsys.readouterr().out
    assert main(['complexity', TINY]) == 0


def test_a_config_without_printed_figures_has_dashes(monkeypatch, tmp_path, capsys):
    (tmp_path / 'own.py').write_text('')
    monkeypatch.setattr(papers, 'measure', lambda *_: measured())
    assert main(['complexity', str(tmp_path / 'own.py'), '--check']) == 0
    printed = capsys.readouterr().out
    # Which counter, whatever is asked for.
    assert 'Classifiers are held against\nthe printed FLOPs by their MACs, detectors' in printed
    line = printed.splitlines()[1]
    assert line.split()[1:] == ['224x224', '35.127', '-', '4.462', '4.900', '-', '-']


def test_another_shape_is_measured_and_not_compared(capsys):
    assert main(['complexity', TINY, '--shape', '64', '96']) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert line.split()[1:4] == ['64x96', '35.127', '-']
    assert line.endswith('-')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['mask_rcnn/selnext_tiny_3x_coco.py'], 'did you mean mask_rcnn/selnext_t_3x_coco.py'),
        ([TINY, '--shape', '0', '224'], '--shape 0 224'),
        ([TINY, '--shape', '224', '224', '--check'], 'leave out --shape'),
    ],
)
def test_bad_arguments_end_in_one_message(arguments, message, capsys):
    assert main(['complexity', *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count('\n') == 1


def test_an_unwritable_json_file_is_said_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(papers, 'measure', lambda *_: measured())
    assert main(['complexity', TINY, '--json', str(tmp_path / 'none' / 'rows.json')]) == 2
    assert 'could not be written' in capsys.readouterr().err
