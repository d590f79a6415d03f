"""mmengine's runner with a short log and strict checkpoints."""

import platform
from pathlib import Path

import torch
from mmengine.dist import is_main_process, master_only
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmengine.utils.dl_utils import collect_env

from selnext_mm.engine.newest import find_newest
from selnext_mm.engine.schedule import Schedule
from selnext_mm.engine.votes import from_first
from selnext_mm.errors import UserError


@RUNNERS.register_module()
class ConciseRunner(Runner):
    """Stock ``Runner`` with a short log, and a resume that says what it does.

    - ``resume=True`` without ``load_from`` takes the newest intact checkpoint of the work dir,
      and is an error where there is none.
    - A schedule that was changed in the config counts on resume, from the present iteration on.
    - The log reaches the first loss within 60 lines.

    The environment and the order of the hooks go to ``environment.txt`` beside the log, the
    config to its own file as always; the per-parameter list of initialisers is left out.
    """

    def _log_env(self, env_cfg: dict) -> None:
        lines = [f'{k}: {v}' for k, v in {**collect_env(), **env_cfg}.items()]
        if is_main_process():
            Path(self._log_dir, 'environment.txt').write_text('\n'.join(lines) + '\n')
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'
        self.logger.info(
            f'python {platform.python_version()}, torch {torch.__version__}, {device}, '
            f'{self.world_size} process(es), seed {self.seed}'
        )
        self.logger.info(f'config, log and checkpoints: {self.work_dir}')

    @master_only
    def _write_hooks(self, text: str) -> None:
        with open(Path(self._log_dir, 'environment.txt'), 'a') as file:
            file.write(f'\nhooks:\n{text}\n')

    def get_hooks_info(self) -> str:
        self._write_hooks(super().get_hooks_info())
        return f'{len(self.hooks)} hooks, see {Path(self._log_dir, "environment.txt")}'

    def _init_model_weights(self) -> None:
        model = getattr(self.model, 'module', self.model)
        # mmengine would write several hundred lines, one block per parameter, into the log file.
        model._dump_init_info = lambda *args, **kwargs: None
        super()._init_model_weights()
        del model._dump_init_info

    def load_or_resume(self) -> None:
        if self._resume and self._load_from is None and not self._has_loaded:
            newest = find_newest(self.work_dir)
            if newest is None:
                raise UserError(f'resume=True, but there is no checkpoint in {self.work_dir}')
            for line in newest.lines():
                self.logger.info(line)
            self._load_from = str(newest.path)
        # All processes go on from one file, even if a shared disk shows them different ones.
        self._load_from = from_first(self._load_from)
        super().load_or_resume()

    def load_checkpoint(self, *args, **kwargs) -> dict:
        checkpoint = super().load_checkpoint(*args, **kwargs)
        self._loaded_schedulers = checkpoint.get('param_schedulers')
        return checkpoint

    def resume(self, *args, **kwargs) -> None:
        schedule = Schedule(self)
        super().resume(*args, **kwargs)
        schedule.apply_changes(self, self._loaded_schedulers)
