"""Measured counts beside the printed figures: met, excused by a reason, or a failure."""

from dataclasses import replace

import pytest

from selnext_mm.analysis.complexity import Complexity
from selnext_mm.analysis.papers.figures import PAPER_FIGURES
from selnext_mm.analysis.papers.printed import PaperFigure
from selnext_mm.analysis.papers.rows import compare, config_name
from selnext_mm.config_files import find_config

TINY = 'cls/selnext_t_in1k.py'


def figure(**changes):
    """A figure that ``measured()`` meets, but for ``changes``."""
    return replace(
        PaperFigure('35', '4.5', 'Table 2', 'macs', 35_126_656, 4_462_000_896), **changes
    )


def measured():
    return Complexity(35_126_656, 35_126_656, 4_462_000_896, 4_900_000_000, (224, 224), 'one image')


@pytest.mark.parametrize('config', PAPER_FIGURES)
@pytest.mark.parametrize('quantity', ['params', 'flops'])
def test_another_count_than_the_accepted_one_fails_whatever_the_reasons(config, quantity):
    figure = PAPER_FIGURES[config]
    counts = {figure.params_counter: figure.exact_params, figure.counter: figure.exact_flops}
    right = replace(measured(), **counts)
    assert compare(config, right, figure).failures == ()
    wrong = figure.params_counter if quantity == 'params' else figure.counter
    for count in (counts[wrong] + 1, counts[wrong] * 10):
        row = compare(config, replace(right, **{wrong: count}), figure)
        assert any(text.startswith(f'{count:,} ') for text in row.failures)
        assert row.status.startswith('differs')


def test_a_met_figure_is_ok():
    row = compare(TINY, measured(), figure())
    assert row.status == 'ok'
    assert not row.failures


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'params': '36'}, '35.127 M params is not 36'),
        ({'flops': '4.4'}, '4.462 G is not 4.4'),
        ({'exact_params': 35_126_657}, '35,126,656 params, not 35,126,657'),
        ({'exact_flops': 4_462_000_895}, '4,462,000,896 MACs, not 4,462,000,895'),
    ],
)
def test_a_wrong_figure_is_a_failure(change, message):
    row = compare(TINY, measured(), figure(**change))
    assert row.failures == (message,)
    assert row.status == f'differs: {message}'


def test_the_counter_is_the_one_of_the_figure():
    row = compare(TINY, measured(), figure(counter='flops_mmcv'))
    assert row.failures == ('4.900 G is not 4.5', '4,900,000,000 FLOPs, not 4,462,000,896')


def test_frozen_parameters_are_left_out_where_the_paper_does():
    frozen = replace(measured(), params=40_000_000)
    assert compare(TINY, frozen, figure(params_counter='trainable_params')).status == 'ok'
    assert '40.000 M params is not 35' in compare(TINY, frozen, figure()).status


@pytest.mark.parametrize('quantity', ['params', 'flops'])
def test_a_recorded_reason_excuses_its_own_figure_alone(quantity):
    printed = {'params': {'params': '36'}, 'flops': {'flops': '4.4'}}
    text = {'params': '35.127 M params is not 36', 'flops': '4.462 G is not 4.4'}[quantity]
    reason = {f'{quantity}_reason': 'misprint'}
    row = compare(TINY, measured(), figure(**printed[quantity], **reason))
    assert row.status == f'differs: {text}: misprint'
    assert not row.failures
    other = 'flops' if quantity == 'params' else 'params'
    assert compare(TINY, measured(), figure(**printed[other], **reason)).failures
    assert compare(TINY, measured(), figure(exact_params=1, **reason)).failures


def test_a_note_stands_beside_a_met_figure():
    assert compare(TINY, measured(), figure(note='by MACs')).status == 'ok (by MACs)'


def test_rows_are_named_by_the_place_in_the_package(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert config_name(find_config(TINY)) == TINY
    own = tmp_path / 'own.py'
    own.write_text('')
    assert config_name(own) == str(own)
