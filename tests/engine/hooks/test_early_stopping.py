"""Early stopping that a resume does not set back."""

import logging
from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub

from selnext_mm.engine.hooks.early_stopping import ResumableEarlyStoppingHook


@pytest.fixture
def hub():
    return MessageHub('early stopping')


def hook(patience=3):
    return ResumableEarlyStoppingHook(monitor='ap', rule='greater', patience=patience)


def evaluate(hub, scores, stored=None):
    """Feed ``scores`` to a fresh hook, resumed from a stored hub; after which one did it stop?"""
    loop = SimpleNamespace(stop_training=False)
    runner = SimpleNamespace(
        message_hub=hub, train_loop=loop, logger=logging.getLogger('early stopping')
    )
    if stored:
        hub.load_state_dict(stored)
    fresh = hook()
    fresh.before_train(runner)
    for number, score in enumerate(scores):
        if loop.stop_training:
            return number
        fresh.after_val_epoch(runner, dict(ap=score))
    return len(scores) if loop.stop_training else None


def test_it_comes_before_the_checkpoint_is_written():
    from mmengine.hooks import Hook
    from mmengine.runner import get_priority

    from selnext_mm.engine.resume.checkpoint_hook import SafeCheckpointHook

    assert isinstance(hook(), Hook)
    assert get_priority(hook().priority) < get_priority(SafeCheckpointHook(interval=1).priority)


SCORES = [0.2, 0.4, 0.3, 0.39, 0.1, 0.5]


@pytest.mark.parametrize('cut', range(1, 5))
def test_a_run_cut_in_two_stops_where_a_whole_one_does(hub, cut):
    whole = evaluate(hub, SCORES)
    assert whole == 5  # three evaluations without gain after 0.4
    first = MessageHub('the first half')
    assert evaluate(first, SCORES[:cut]) is None
    rest = evaluate(MessageHub('the second half'), SCORES[cut:], first.state_dict())
    assert rest == whole - cut


def test_a_run_that_had_stopped_stops_at_once(hub):
    first = MessageHub('stopped')
    assert evaluate(first, SCORES) == 5
    assert evaluate(hub, [0.9], first.state_dict()) == 0
