"""NaN and inf end a run before they are saved."""

import pytest
import torch

from selnext_mm.engine.hooks.finite_loss import FiniteLossHook, check_weights
from selnext_mm.errors import UserError
from tests.engine.resume.test_exact_resume import run
from tests.engine.toy import At, BeforeEnd, ToyModel, build

NAN, INF = float('nan'), float('inf')


class Losses(ToyModel):
    """Two losses; ``wrong`` gives values that replace the second by iteration, from 1."""

    def __init__(self, wrong):
        super().__init__()
        self.wrong, self.calls = wrong, 0

    def forward(self, inputs, index=None, mode='tensor'):
        out = super().forward(inputs, index, mode)
        if mode == 'loss':
            self.calls += 1
            other = out['loss'] * 0 + self.wrong.get(self.calls, 1.0)
            return dict(loss_cls=out['loss'], loss_mask=other)
        return out


def train(folder, wrong, hooks=(), **options):
    hooks = [dict(type='FiniteLossHook'), *hooks]
    return run(folder, model=Losses(wrong), hooks=hooks, val=False, **options)


@pytest.mark.parametrize('value', [NAN, INF, -INF])
def test_the_run_stops_and_says_what_to_do(tmp_path, value):
    with pytest.raises(UserError) as caught:
        train(tmp_path, {7: value})
    message = str(caught.value)
    assert 'iteration 7 of epoch 2' in message
    assert f'loss_mask={value}' in message
    assert '(finite: loss_cls)' in message
    assert f'last good checkpoint: {tmp_path / "epoch_1.pth"}' in message
    assert 'a lower lr (now 0.01)' in message
    assert 'clip_grad=dict(max_norm' in message
    state = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)['state_dict']
    assert all(v.isfinite().all() for v in state.values())


def test_nothing_is_saved_at_the_wrong_iteration(tmp_path):
    with pytest.raises(UserError, match='no checkpoint was written yet'):
        train(tmp_path, {5: NAN})
    assert not list(tmp_path.glob('*.pth'))


def test_weights_that_went_wrong_are_not_saved(tmp_path):
    """The loss was fine; its gradient was not."""

    def spoil(runner):
        runner.model.layers[0].weight.data[0, 0] = NAN

    with pytest.raises(UserError, match=r'1 of 8 weights hold NaN or inf \(layers.0.weight\)'):
        train(tmp_path, {}, hooks=[BeforeEnd(10, spoil)])
    assert [p.name for p in tmp_path.glob('*.pth')] == ['epoch_1.pth']


def test_running_statistics_that_went_wrong_are_not_saved(tmp_path):
    def spoil(runner):
        runner.model.layers[1].running_var[0] = INF

    with pytest.raises(UserError, match=r'1 of 8 .* \(layers.1.running_var\)'):
        train(tmp_path, {}, hooks=[BeforeEnd(10, spoil)])
    assert [p.name for p in tmp_path.glob('*.pth')] == ['epoch_1.pth']


def test_statistics_of_another_process_stop_this_one_too(tmp_path, monkeypatch):
    monkeypatch.setattr('selnext_mm.engine.hooks.finite_loss.highest', lambda wrong: [1])
    runner = build(tmp_path, val=False)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.train_loop  # noqa: B018 - as at the start of a training
    with pytest.raises(UserError, match='in another process'):
        check_weights(runner)


class Scaler:
    """What the hook sees of a loss scaler, which only an accelerator has."""

    enabled = True

    def is_enabled(self):
        return self.enabled


def attach(runner):
    runner.optim_wrapper.loss_scaler = Scaler()


def test_an_overflow_is_left_to_the_scaler(tmp_path):
    """The outputs after an iteration, which the scaler would have skipped."""
    hook = FiniteLossHook(patience=3)
    runner = run(tmp_path, val=False)
    attach(runner)
    overflow, fine = dict(loss=torch.tensor(INF)), dict(loss=torch.tensor(1.0))
    for outputs in (overflow, overflow, fine, overflow, overflow, fine):
        hook.after_train_iter(runner, 0, None, outputs)
    for _ in range(2):
        hook.after_train_iter(runner, 0, None, overflow)
    with pytest.raises(UserError, match=r'loss=inf, 3 iterations in a row.*bfloat16'):
        hook.after_train_iter(runner, 0, None, overflow)


def test_a_scaler_that_is_off_leaves_nothing(tmp_path):
    runner = run(tmp_path, val=False)
    attach(runner)
    runner.optim_wrapper.loss_scaler.enabled = False
    with pytest.raises(UserError, match='loss=nan'):
        FiniteLossHook().after_train_iter(runner, 0, None, dict(loss=torch.tensor(NAN)))


def test_patience_is_checked():
    with pytest.raises(ValueError, match='patience=0'):
        FiniteLossHook(patience=0)


def test_a_good_run_is_left_alone(tmp_path):
    seen = []
    train(tmp_path, {}, hooks=[At(15, lambda runner: seen.append(runner.iter))])
    assert seen == [14]
