"""quiet() holds for mmengine's loggers, inside and not after."""

import logging

import pytest
from mmengine.logging import MMLogger

from selnext_mm.config.build import quiet


@pytest.fixture
def logger():
    name = 'a logger of tests/config/test_quiet.py'
    yield MMLogger.get_instance(name)
    MMLogger._instance_dict.pop(name)


@pytest.mark.parametrize('spoke_before', [False, True])
def test_a_logger_is_silent_inside_and_speaks_after(spoke_before, logger):
    # The bug: a logger keeps which levels are on. One that had spoken went on inside; one that
    # first had a line inside was silent for the rest of the process.
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger.addHandler(handler)
    if spoke_before:
        logger.info('before')
    with quiet():
        logger.info('inside')
        logger.warning('a warning')
    logger.info('after')
    assert lines == ['before'] * spoke_before + ['a warning', 'after']
