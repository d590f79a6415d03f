"""mmengine's runner with a short log and strict checkpoints."""

from pathlib import Path

from mmengine.dist import is_main_process, master_only
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmengine.utils.dl_utils import collect_env

from selnext_mm.engine.banner import BannerHook
from selnext_mm.engine.progress import ProgressBarHook, on_terminal


@RUNNERS.register_module()
class ConciseRunner(Runner):
    """Stock ``Runner`` whose log reaches the first loss within 60 lines.

    A banner says what is trained on what; progress is one short line per interval, and a bar on
    a terminal (:mod:`selnext_mm.engine.progress`). The environment and the order of the hooks
    go to ``environment.txt`` beside the log, the config to its own file as always; the
    per-parameter list of initialisers is left out.
    """

    def _log_env(self, env_cfg: dict) -> None:
        lines = [f'{k}: {v}' for k, v in {**collect_env(), **env_cfg}.items()]
        if is_main_process():
            Path(self._log_dir, 'environment.txt').write_text('\n'.join(lines) + '\n')

    def build_log_processor(self, log_processor):
        if isinstance(log_processor, dict) and log_processor.get('type') in (None, 'LogProcessor'):
            log_processor = {**log_processor, 'type': 'ConciseLogProcessor'}
        return super().build_log_processor(log_processor)

    def train(self):
        """Train: a banner first, and on a terminal a bar."""
        if not is_main_process():
            return super().train()
        self.register_hook(BannerHook())
        if not on_terminal():
            return super().train()
        bar = ProgressBarHook()
        self.register_hook(bar)
        try:
            return super().train()
        finally:
            bar.stop()

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
