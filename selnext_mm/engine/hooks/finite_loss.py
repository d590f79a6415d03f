"""NaN and inf end a run before they are saved."""

import math

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from selnext_mm.engine.distributed.collectives import highest
from selnext_mm.errors import UserError

REMEDIES = (
    'Try: a lower lr (now {lr:.3g}), a longer warm-up, {clip}{amp}, and look at the images and '
    'boxes of the batch'
)


def remedies(runner) -> str:
    """What to try, given the current lr."""
    wrapper = runner.optim_wrapper
    rates = wrapper.get_lr()
    lr = max(max(values) for values in rates.values())
    clip = (
        'a smaller clip_grad'
        if getattr(wrapper, 'clip_grad_kwargs', None)
        else ('optim_wrapper.clip_grad=dict(max_norm=1.0)')
    )
    amp = ", optim_wrapper.dtype='bfloat16' or no --amp" if hasattr(wrapper, 'loss_scaler') else ''
    return REMEDIES.format(lr=lr, clip=clip, amp=amp)


def last_good(runner) -> str:
    path = runner.message_hub.get_info('last_ckpt')
    return f'last good checkpoint: {path}' if path else 'no checkpoint was written yet'


def check_weights(runner) -> None:
    """Raise :class:`UserError` if a parameter or running statistic of the model is not finite.

    It is raised in every process if one process has such a value, so all have to call this.
    """
    # Only these buffers: a mask may contain inf on purpose.
    statistics = [
        (n, b)
        for n, b in runner.model.named_buffers()
        if n.endswith(('running_mean', 'running_var'))
    ]
    named = [
        (n, p) for n, p in (*runner.model.named_parameters(), *statistics) if p.is_floating_point()
    ]
    # One check for all tensors: a check of each would synchronise with the accelerator each time.
    fine = not named or bool(torch.stack([p.detach().isfinite().all() for _, p in named]).all())
    # Statistics differ between processes: if only one stopped, the others would hang.
    if not highest(not fine)[0]:
        return
    broken = [n for n, p in named if not p.detach().isfinite().all()]
    shown = ', '.join(broken[:3]) + (', ...' if len(broken) > 3 else '') or 'in another process'
    raise UserError(
        f'iteration {runner.iter + 1}: {len(broken)} of {len(named)} weights hold NaN or inf '
        f'({shown}); they are not saved. {last_good(runner)}. {remedies(runner)}'
    )


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop the run at the first loss that is NaN or inf, before anything is saved.

    With a loss scaler (fp16) such an iteration changes no weight: the scaler skips it and halves
    its factor, as usual. Only ``patience`` of them in a row stop the run.

    Args:
        patience: iterations in a row that the scaler may skip.

    Raises:
        UserError: with the iteration, the losses, the last good checkpoint and what to try.
    """

    # Runs before logging, weight averaging and checkpointing.
    priority = 'ABOVE_NORMAL'

    def __init__(self, patience: int = 100) -> None:
        if patience < 1:
            raise ValueError(f'patience={patience!r}; expected at least 1')
        self.patience, self.skipped = patience, 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        losses = {
            name: float(value.detach() if isinstance(value, torch.Tensor) else value)
            for name, value in (outputs or {}).items()
            if isinstance(value, int | float)
            or (isinstance(value, torch.Tensor) and value.numel() == 1)
        }
        wrong = {name: value for name, value in losses.items() if not math.isfinite(value)}
        if not highest(bool(wrong))[0]:
            self.skipped = 0
            return
        self.skipped += 1
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        if scaler is not None and scaler.is_enabled() and self.skipped < self.patience:
            return
        shown = ', '.join(f'{name}={value}' for name, value in wrong.items()) or 'another process'
        again = f', {self.skipped} iterations in a row' if self.skipped > 1 else ''
        fine = [name for name in losses if name not in wrong and 'loss' in name]
        finite = f' (finite: {", ".join(fine)})' if fine else ''
        raise UserError(
            f'iteration {runner.iter + 1} of epoch {runner.epoch + 1}: {shown}{finite}{again}. '
            f'{last_good(runner)}. {remedies(runner)}'
        )
