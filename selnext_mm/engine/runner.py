"""mmengine's runner with a short log and strict checkpoints."""

import platform
from pathlib import Path

import torch
from mmengine.dist import is_main_process, master_only
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmengine.utils.dl_utils import collect_env

from selnext_mm.engine.empty_results import evaluate_empty_results


@RUNNERS.register_module()
class ConciseRunner(Runner):
    """Stock ``Runner`` whose log reaches the first loss within 60 lines.

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

    def build_evaluator(self, evaluator):
        evaluator = super().build_evaluator(evaluator)
        evaluate_empty_results(evaluator)
        return evaluator

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
