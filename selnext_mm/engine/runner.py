"""mmengine's runner with a short log and strict checkpoints."""

import copy
import re
import time
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process, master_only
from mmengine.logging import MessageHub
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import CheckpointLoader, Runner
from torch.utils.data import DataLoader

from selnext_mm.checkpoints.files import with_state_dict
from selnext_mm.checkpoints.fit import (
    classifier_for_maps,
    compare,
    state_dict_of,
    without_prefix,
)
from selnext_mm.disk import new_file, write_text
from selnext_mm.engine.console import filter_console
from selnext_mm.engine.distributed.collectives import from_first
from selnext_mm.engine.environment import describe_environment
from selnext_mm.engine.hooks.banner import BannerHook
from selnext_mm.engine.hooks.progress import ProgressBarHook, on_terminal
from selnext_mm.engine.hooks.unreadable_images import (
    UnreadableImagesHook,
    guard_image_loading,
    record_file,
)
from selnext_mm.engine.optimizers.changed_schedule import Schedule
from selnext_mm.engine.preflight.fit import check_last_batch, check_some_batch
from selnext_mm.engine.resume.checkpoint_hook import SafeCheckpointHook
from selnext_mm.engine.resume.lineage import Newest, find_newest
from selnext_mm.engine.signals import shield_workers
from selnext_mm.engine.unused_masks import without_unused_masks
from selnext_mm.errors import UserError
from selnext_mm.evaluation.empty_results import evaluate_empty_results
from selnext_mm.evaluation.own_thresholds import take_own_thresholds
from selnext_mm.evaluation.quiet import print_only_scores
from selnext_mm.text import counted


def leading_comments(path: Path) -> str:
    """The comment lines at the beginning of a Python file."""
    lines = path.read_text(encoding='utf-8').splitlines(keepends=True)
    return ''.join(takewhile(lambda line: line.startswith('#'), lines))


def wait_for_a_free_name(name: str | None, cfg: Config | dict | None) -> None:
    """Wait until a run that starts now has a name of its own in this process, a second at most.

    mmengine names a run by the second, and runs with the same name share their scalars.
    """
    file = getattr(cfg, 'filename', None)
    stem = name or (Path(file).stem if file else '')
    while MessageHub.check_instance_created(
        time.strftime(f'{stem}_%Y%m%d_%H%M%S' if stem else '%Y%m%d_%H%M%S')
    ):
        time.sleep(0.02)


@RUNNERS.register_module()
class ConciseRunner(Runner):
    """Stock ``Runner`` with a short log, and a resume that reports what it does.

    - ``resume=True`` without ``load_from`` takes the newest intact checkpoint of the work dir,
      and is an error if there is none.
      - A schedule that was changed in the config takes effect on resume, from that iteration on.
    - The log reaches the first loss within 60 lines.

    A banner names the model and the data. Progress is one short line per interval, and a bar on
    a terminal (:mod:`selnext_mm.engine.hooks.progress`). The environment and the order of the hooks
    go to ``environment.txt`` beside the log, the config to its own file as always; the
    per-parameter list of initialisers is left out, as are mmengine's notices and what pycocotools
    prints on its progress and, while training, its table of AP and AR. Images that cannot be read
    are handled by :class:`UnreadableImagesHook`.
    """

    # Whether images whose size differs from the annotated one count as unreadable. A session sets
    # it after checking the labels, because the result has to hold for the files as well.
    compares_sizes = False

    def __init__(self, *args, **kwargs) -> None:
        self._handed_over: dict[str | None, dict | None] = {}
        # load_from and resume of the config, if --resume has replaced them.
        self.own_start: dict = {}
        wait_for_a_free_name(kwargs.get('experiment_name'), kwargs.get('cfg'))
        super().__init__(*args, **kwargs)

    def hand_over(self, filename: str | None, checkpoint: dict | None) -> None:
        """Use ``checkpoint``, if any, at the first load of ``filename``: it was read before."""
        self._handed_over[filename] = checkpoint

    def register_hooks(self, default_hooks=None, custom_hooks=None) -> None:
        super().register_hooks(default_hooks, custom_hooks)
        if not any(isinstance(hook, UnreadableImagesHook) for hook in self.hooks):
            self.register_hook(UnreadableImagesHook())

    def load_checkpoint(
        self,
        filename: str,
        map_location='cpu',
        strict: bool = False,
        revise_keys: list = [(r'^module\.', '')],  # noqa: B006 - as in the base class
    ) -> dict:
        """Load what fits, and log in one line what did not; otherwise as the base class."""
        checkpoint = self._handed_over.pop(filename, None)
        if checkpoint is None:
            checkpoint = CheckpointLoader.load_checkpoint(filename, map_location, logger=None)
            checkpoint = with_state_dict(checkpoint)
        if 'state_dict' not in checkpoint:  # bare weights, as in a .safetensors file
            checkpoint = {'state_dict': state_dict_of(checkpoint, filename)}
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        state = state_dict_of(checkpoint, filename)
        for pattern, replacement in revise_keys:
            state = {re.sub(pattern, replacement, k): v for k, v in state.items()}
        wrapped = is_model_wrapper(self.model) or isinstance(self.model, BaseTTAModel)
        model = self.model.module if wrapped else self.model
        own = model.state_dict()
        state, prefix = without_prefix(own, state)
        if prefix:
            self.logger.info(f'{filename}: removed the prefix {prefix!r} from all names')
        state, final = classifier_for_maps(own, state)
        if final:
            self.logger.info(f"{filename}: the file's final norm is left out")
        result = compare(own, state)
        self.logger.info(result.sentence(type(model).__name__, filename))
        if strict and (result.missing or result.misshapen):
            raise UserError(f'{filename} does not hold all weights of this model')
        model.load_state_dict({k: state[k] for k in result.loaded}, strict=False)
        self._has_loaded = True
        self._loaded_schedulers = checkpoint.get('param_schedulers')
        return checkpoint

    def build_train_loop(self, loop):
        if isinstance(loop, dict):
            self._train_dataloader = guard_image_loading(
                self._train_dataloader, str(record_file(self)), self.compares_sizes
            )
        built = super().build_train_loop(loop)
        if isinstance(built.dataloader, DataLoader):
            check_some_batch(built.dataloader)
            check_last_batch(built.dataloader, self.model)
        return built

    def build_val_loop(self, loop):
        if isinstance(loop, dict):
            loader = without_unused_masks(self._val_dataloader, 'val', self.cfg, self.hooks)
            self._val_dataloader = guard_image_loading(loader, sizes=self.compares_sizes)
        built = super().build_val_loop(loop)
        shield_workers(getattr(built, 'dataloader', None))
        return built

    def build_test_loop(self, loop):
        if isinstance(loop, dict):
            loader = without_unused_masks(self._test_dataloader, 'test', self.cfg, self.hooks)
            self._test_dataloader = guard_image_loading(loader, sizes=self.compares_sizes)
        built = super().build_test_loop(loop)
        shield_workers(getattr(built, 'dataloader', None))
        return built

    def _log_env(self, env_cfg: dict) -> None:
        if is_main_process():
            lines = [f'{k}: {v}' for k, v in {**describe_environment(), **env_cfg}.items()]
            write_text(Path(self._log_dir, 'environment.txt'), '\n'.join(lines) + '\n')

    def build_logger(self, *args, **kwargs):
        logger = super().build_logger(*args, **kwargs)
        self._console = filter_console(logger)
        return logger

    def build_log_processor(self, log_processor):
        if isinstance(log_processor, dict) and log_processor.get('type') in (None, 'LogProcessor'):
            log_processor = {**log_processor, 'type': 'ConciseLogProcessor'}
        return super().build_log_processor(log_processor)

    def dump_config(self) -> None:
        """Do nothing when the runner is built: a test would overwrite the training's config."""

    @master_only
    def _keep_config(self, trains: bool) -> None:
        """Write the config into the work dir, or beside the log if a training's config is there.

        A test's config starts from the tested checkpoint and may contain output paths of this test
        only. The config in the work dir is for training and testing again, so it does not name the
        checkpoint that a resumed run continued from.
        """
        name = Path(self.cfg.filename).name if self.cfg.filename else f'{self.timestamp}.py'
        kept = Path(self.work_dir, name)
        path = kept if trains or not kept.exists() else Path(self._log_dir, name)
        # A config that was written for this run explains itself in its leading comments.
        head = leading_comments(path) if path.suffix == '.py' and path.exists() else ''
        cfg = self.cfg
        if trains and self.own_start:
            cfg = copy.deepcopy(cfg)
            cfg.merge_from_dict(self.own_start)
        with new_file(path) as draft:
            cfg.dump(draft)
            if head:
                draft.write_text(head + draft.read_text(encoding='utf-8'), encoding='utf-8')

    def val(self):
        self._keep_config(trains=False)
        return super().val()

    def test(self):
        self._keep_config(trains=False)
        return super().test()

    def train(self):
        """Train: a banner first, and on a terminal a bar."""
        self._keep_config(trains=True)
        self._console.training = True
        try:
            return self._train()
        finally:
            self._console.training = False
            # After a failed run in a notebook, Ctrl-C must work as before.
            for hook in self.hooks:
                if isinstance(hook, SafeCheckpointHook):
                    hook.give_back_signals()

    def _train(self):
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

    def build_evaluator(self, evaluator):
        evaluator = super().build_evaluator(evaluator)
        evaluate_empty_results(evaluator)
        take_own_thresholds(evaluator)
        print_only_scores(evaluator, lambda: not self._console.training)
        return evaluator

    @master_only
    def _write_hooks(self, text: str) -> None:
        with open(Path(self._log_dir, 'environment.txt'), 'a', encoding='utf-8') as file:
            file.write(f'\nhooks:\n{text}\n')

    def get_hooks_info(self) -> str:
        self._write_hooks(super().get_hooks_info())
        return f'{counted(len(self.hooks), "hook")}, see {Path(self._log_dir, "environment.txt")}'

    def _init_model_weights(self) -> None:
        model = getattr(self.model, 'module', self.model)
        # mmengine would write several hundred lines, one block per parameter, into the log file.
        model._dump_init_info = lambda *args, **kwargs: None
        super()._init_model_weights()
        del model._dump_init_info

    def load_or_resume(self) -> None:
        # All processes resume alike, even if a shared disk shows them different files.
        self._resume, self._load_from = from_first((self._resume, self._load_from))
        if self._resume and self._load_from is None and not self._has_loaded:
            newest = self._find_newest() if is_main_process() else None
            if isinstance(newest, Newest):
                self.hand_over(str(newest.path), newest.checkpoint)
                newest = replace(newest, checkpoint=None)  # do not send it over the network
            newest = from_first(newest)
            if isinstance(newest, UserError):
                raise newest
            for line in newest.lines():
                self.logger.info(line)
            self._load_from = str(newest.path)
        super().load_or_resume()

    def _find_newest(self) -> Newest | UserError:
        try:
            newest = find_newest(self.work_dir)
        except UserError as error:
            return error
        if newest is None:
            return UserError(
                f'resume=True, but there is no checkpoint in {self.work_dir}; name one with '
                'load_from, or start with resume=False'
            )
        return newest

    def resume(self, *args, **kwargs) -> None:
        schedule = Schedule(self)
        super().resume(*args, **kwargs)
        schedule.apply_changes(self, self._loaded_schedulers)
