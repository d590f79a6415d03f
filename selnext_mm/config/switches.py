"""What the command-line switches of ``train`` change in a config."""

from collections.abc import Iterable

from mmengine.config import Config

from selnext_mm.config.visualizer import LOGGERS, add_logger, show_predictions
from selnext_mm.errors import UserError


def set_switches(
    cfg: Config,
    amp: bool,
    auto_scale_lr: bool,
    loggers: Iterable[str],
    predictions: int | None = None,
) -> None:
    """Apply the switches of a training to ``cfg``, in place; see ``Session.train``.

    Raises:
        UserError: for an lr without the batch size that it is meant for, an unknown logger, or a
            visualizer that cannot draw.
    """
    if predictions is not None:
        show_predictions(cfg, predictions)
    if amp:
        cfg.optim_wrapper.type = 'AutoAmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if auto_scale_lr:
        if not (cfg.get('auto_scale_lr') or {}).get('base_batch_size'):
            raise UserError(
                f'--auto-scale-lr: {cfg.filename} has no auto_scale_lr.base_batch_size, the batch '
                'that its lr is meant for'
            )
        cfg.auto_scale_lr.enable = True
    for name in loggers:
        if name not in LOGGERS:
            raise UserError(f'no logger {name!r}; choose from {", ".join(LOGGERS)}')
        add_logger(cfg, name)
