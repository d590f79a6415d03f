"""Whole detectors: a step and a prediction equal those with the compiled operators, as stored."""

import json
import os
import subprocess
import sys

import pytest

from tests.mmcv_ext.cases import STORED
from tests.mmcv_ext.conftest import ROOT
from tests.mmcv_ext.detector_step import DETECTORS
from tests.processors import rounds_as_recorded

pytestmark = [pytest.mark.integration, pytest.mark.slow]
ALIKE = rounds_as_recorded()


def answers(names, lite, folder):
    """Those of all detectors from one process whose mmcv has no compiled operators."""
    pytest.importorskip('mmdet', reason='install mmdet to run this')
    result = subprocess.run(
        [sys.executable, '-W', 'ignore', ROOT / 'tests/mmcv_ext/detector_step.py', *names],
        cwd=folder,
        env={**os.environ, **lite},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith('{')]
    return {line['name']: line for line in lines}


@pytest.fixture(scope='module')
def ours(lite, tmp_path_factory):
    return answers(DETECTORS, lite, tmp_path_factory.mktemp('detectors'))


@pytest.fixture(scope='module')
def elsewhere(lite, tmp_path_factory):
    names = [f'{name}@elsewhere' for name in DETECTORS]
    return answers(names, lite, tmp_path_factory.mktemp('elsewhere'))


@pytest.fixture(scope='module')
def stored():
    return json.loads((STORED / 'detectors.json').read_text())


def pairs(answer):
    return list(zip(answer['scores'], answer['boxes'], strict=True))


def without_partner(answers, others):
    """Objects, but those that tie with the last of the list, that ``others`` has not."""
    last = min(score for score, _ in answers)
    return [
        (score, box)
        for score, box in answers
        if score > last + 1e-5
        and not any(
            score == pytest.approx(s, abs=1e-5) and box == pytest.approx(b, abs=1e-2)
            for s, b in others
        )
    ]


@pytest.mark.parametrize('name', DETECTORS)
def test_a_detector_steps_and_predicts_as_with_the_compiled_operators(ours, stored, name):
    """The answers were stored on a processor with AVX512; others sum in another order.

    Scores of random weights lie near each other, so that objects may change places.
    """
    found, wanted = ours[name], stored[name]
    assert found['loss'] == pytest.approx(wanted['loss'], rel=2e-5 if ALIKE else 1e-4)
    assert found['norm'] == pytest.approx(wanted['norm'], rel=1e-4 if ALIKE else 1e-3)
    assert found['found'] == wanted['found'] > 50
    assert found['scores'] == pytest.approx(wanted['scores'], abs=1e-5)
    assert without_partner(pairs(found), pairs(wanted)) == []
    assert without_partner(pairs(wanted), pairs(found)) == []


@pytest.mark.parametrize('name', DETECTORS)
def test_a_detector_does_the_same_on_a_device_that_is_not_the_cpu(ours, elsewhere, name):
    """Nothing in it mixes the two devices; see elsewhere.py."""
    found, wanted = elsewhere[name], ours[name]
    for key in ('loss', 'norm', 'found', 'scores'):
        assert found[key] == pytest.approx(wanted[key], rel=1e-5), key
    assert without_partner(pairs(found), pairs(wanted)) == []
