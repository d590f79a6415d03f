"""mmengine's early stopping with a count that survives a resume."""

from mmengine.hooks import EarlyStoppingHook
from mmengine.registry import HOOKS

from selnext_mm.text import counted

INFO = 'early_stopping'  # key in the message hub, which checkpoints hold


@HOOKS.register_module()
class ResumableEarlyStoppingHook(EarlyStoppingHook):
    """``EarlyStoppingHook`` that continues its count after a resume.

    mmengine's hook starts from 0: a run that is interrupted often enough never stops. The count
    and the best value are in the message hub, which every checkpoint contains; so this hook runs
    before the checkpoint hook. A run that had stopped and is resumed stops at once.

    Args:
        args, kwargs: of mmengine's ``EarlyStoppingHook``; ``patience`` counts evaluations.
    """

    priority = 'LOW'

    def before_train(self, runner) -> None:
        stored = runner.message_hub.get_info(INFO, None)
        if not isinstance(stored, dict) or stored.get('monitor') != self.monitor:
            return
        self.wait_count, self.best_score = stored['wait_count'], stored['best_score']
        if self.wait_count >= self.patience:
            runner.train_loop.stop_training = True
            runner.logger.info(
                f'the run has stopped before: {self.monitor} did not improve in '
                f'{counted(self.wait_count, "evaluation")}; best value {self.best_score:.4f}'
            )

    def after_val_epoch(self, runner, metrics=None) -> None:
        super().after_val_epoch(runner, metrics)
        runner.message_hub.update_info(
            INFO,
            dict(monitor=self.monitor, wait_count=self.wait_count, best_score=self.best_score),
        )
