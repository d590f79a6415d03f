"""What a run prints, and what only its log file has."""

import logging

import pytest
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import MMLogger

from selnext_mm.engine import console
from selnext_mm.evaluation.quiet import print_only_scores

LINES = {
    'Exp name: config_20261130_182225': False,
    '"FileClient" will be deprecated in future. Please use io functions': False,
    'Hooks will be executed in the following order:\n10 hooks': False,
    'The previous best checkpoint /a.pth is removed': False,
    'Distributed training is not used, all SyncBatchNorm (SyncBN) layers': False,
    'Epoch(val)  [2][50/87]    eta: 0:00:03  time: 0.0841  data_time: 0.0018': False,
    'Epoch(val)  [2][87/87]    coco/bbox_mAP: 0.2730': True,
    'Epoch(train)  [1][ 50/103]  eta 0:12:01  1.93 it/s': True,
    'bbox_mAP_copypaste: 0.273 0.514': True,
    'Saving checkpoint at 2 epochs': True,
}


def make_logger(tmp_path, training=False):
    """A logger as a runner has it."""
    log = MMLogger('console', logger_name='console', log_file=str(tmp_path / 'run.log'))
    console.filter_console(log).training = training
    return log


def test_notices_are_in_the_file_alone(tmp_path, capsys):
    logger = make_logger(tmp_path)
    for line in LINES:
        logger.info(line)
    out = capsys.readouterr().out
    assert {line: line in out for line in LINES} == LINES
    text = (tmp_path / 'run.log').read_text()
    assert all(line in text for line in LINES)


def test_scores_for_a_spreadsheet_are_of_a_test(tmp_path, capsys):
    logger = make_logger(tmp_path, training=True)
    logger.info('bbox_mAP_copypaste: 0.273 0.514')
    assert capsys.readouterr().out == ''


def test_progress_of_a_long_evaluation_is_shown(tmp_path, capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(console.time, 'monotonic', lambda: clock[0])
    logger = make_logger(tmp_path)
    for second in range(25):
        clock[0] = second
        logger.info(f'Epoch(test) [{second}/25]    eta: 0:00:01  time: 0.1')
    out = capsys.readouterr().out
    assert [n for n in range(25) if f'[{n}/25]' in out] == [10, 20]


class Talkative(BaseMetric):
    """Prints as pycocotools does."""

    _coco_api = None

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        print('Running per image evaluation...\nDONE (t=0.1s).\n Average Precision = 0.5')
        logging.getLogger('talkative').warning('kept')
        return {'ap': 0.5}


@pytest.mark.parametrize('shows', [True, False])
def test_of_a_metric_the_table_is_left(shows, capsys, caplog):
    evaluator = Evaluator(Talkative(prefix='talk'))
    capsys.readouterr()
    print_only_scores(evaluator, lambda: shows)
    evaluator.process([{}])
    assert evaluator.evaluate(1) == {'talk/ap': 0.5}
    assert capsys.readouterr().out == (' Average Precision = 0.5\n' if shows else '')
    assert 'kept' in caplog.text
