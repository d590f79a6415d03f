"""One training or test of a config, with every check, lock and safe default; see :class:`Session`.

Hooks are in ``hooks/`` and ``resume/``, checks in ``preflight/``; their order is in this file.
"""

import copy
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import nn

from selnext_mm.compat import silence_known_warnings
from selnext_mm.config.build import build_model
from selnext_mm.config.load import default_work_dir, load_config, merge_options, set_data_root
from selnext_mm.config.switches import set_switches
from selnext_mm.config.visualizer import check_backends, name_apart, show_in
from selnext_mm.datasets.check.config import stop_on_bad_data
from selnext_mm.datasets.coco_api import read_data_as_checked
from selnext_mm.disk import check_folder
from selnext_mm.engine.device import adapt_to_device
from selnext_mm.engine.distributed import launch
from selnext_mm.engine.hooks.show_subfolders import keep_subfolders
from selnext_mm.engine.preflight.advice import lr_for_batch, random_and_fixed
from selnext_mm.engine.preflight.config import check_config
from selnext_mm.engine.preflight.constructors import check_arguments, check_metrics
from selnext_mm.engine.preflight.values import misspelt_keys
from selnext_mm.engine.preflight.weights import (
    check_checkpoint,
    check_class_names,
    check_load_from,
    check_pretrained,
    read_here,
    resolve_resume,
)
from selnext_mm.engine.resume.lineage import Newest, claim, restart_warning
from selnext_mm.engine.resume.work_dir_lock import WorkDirLock
from selnext_mm.engine.runner import ConciseRunner
from selnext_mm.engine.safe_defaults import HOOK, add_class_ap, make_safe
from selnext_mm.engine.sliced_test import check_together, use_slices
from selnext_mm.engine.test_time_aug import use_tta
from selnext_mm.errors import UserError, typed
from selnext_mm.evaluation.faster_coco import record_evaluations, use_faster_coco
from selnext_mm.evaluation.output import OutputFiles, coco_evaluators
from selnext_mm.ranks import is_first_process
from selnext_mm.slicing import Slicing

TRAIN_KEYS = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
TEST_KEYS = ('model', 'test_dataloader', 'test_evaluator')


class Session:
    """A config to train and test, as ``tools/train.py`` and ``tools/test.py`` do it.

    >>> session = Session('selnext_mm::mask_rcnn/selnext_t_3x_coco.py', data_root='coco')
    >>> session.train(resume='if-any')
    >>> metrics = session.test('work_dirs/mask_rcnn/selnext_t_3x_coco/epoch_36.pth')

    Everything that can be known beforehand is checked before anything is written: the config's
    types, numbers and paths, the labels, the weights. The work dir is locked while it trains.

    Args:
        config: a config file, a name under ``configs/`` (also as ``selnext_mm::NAME``), or a
            ``Config``, which is copied.
        data_root: folder of the data; moves all data sets and evaluators there.
        work_dir: default: the config's, else ``work_dirs/<config folder>/<config name>``.
        options: values that replace the config's; nested keys with dots, as in ``--cfg-options``.
        launcher: ``none``, ``pytorch``, ``slurm`` or ``mpi``; under torchrun ``none`` is
            ``pytorch``.
        check_data: False starts even if errors in the annotation files would ruin the run.

    Attributes:
        cfg: the config with all of this applied. ``train`` and ``test`` work on copies.
        runner: the mmengine runner of the last call; None before.
        written: the files of the last test's ``out``, in the first process.

    Raises:
        UserError: for a mistake in the config, the options or the environment.
    """

    @typed('Session')
    def __init__(
        self,
        config: str | Path | Config,
        data_root: str | Path | None = None,
        work_dir: str | Path | None = None,
        options: dict | None = None,
        launcher: str = 'none',
        check_data: bool = True,
    ) -> None:
        silence_known_warnings()
        if isinstance(config, Config):
            cfg = merge_options(copy.deepcopy(config), options)
        else:
            cfg = load_config(config, options)
        if launcher == 'none' and 'TORCHELASTIC_RUN_ID' in os.environ:
            # Otherwise every process of torchrun would train separately, in the same folder.
            launcher = 'pytorch'
        launch.check_launcher(launcher)
        cfg.launcher = launcher
        if work_dir:
            cfg.work_dir = os.path.expanduser(work_dir)
        elif not cfg.get('work_dir'):
            cfg.work_dir = default_work_dir(cfg.filename or 'config')
        check_folder('--work-dir', cfg.work_dir)
        if data_root:
            set_data_root(cfg, data_root)
        self.cfg, self.check_data = cfg, check_data
        self.runner: Runner | None = None
        self.written: list[Path] = []
        self.work_dir_lock = WorkDirLock(cfg.work_dir)

    @contextmanager
    def lock(self, patience: float | None = None) -> Iterator[None]:
        """Keep other trainings out of the work dir, if it exists; may be nested.

        Raises:
            WorkDirBusyError: if another one still holds it after ``patience`` seconds.
        """
        mine = not self.work_dir_lock.held
        self.work_dir_lock.acquire(patience)
        try:
            yield
        finally:
            if mine:
                self.work_dir_lock.release()

    @typed('Session.train')
    def train(
        self,
        resume: str | Path | bool | None = None,
        amp: bool = False,
        auto_scale_lr: bool = False,
        loggers: Iterable[str] = (),
        show_predictions: int | None = None,
    ) -> str | None:
        """Train to the end of the config's schedule.

        Args:
            resume: ``auto`` (or True) resumes from the newest intact checkpoint of the work dir,
            ``if-any`` does so if there is one, a path resumes from that file. A job that
            torchrun or Slurm has restarted is always resumed.
            amp: mixed precision (fp16).
            auto_scale_lr: scale the lr by (batch of this run) / ``auto_scale_lr.base_batch_size``.
            loggers: additional loggers: ``tensorboard``, ``wandb``, ``mlflow``, ``clearml``.
            show_predictions: number of images drawn with their predictions in each evaluation, for
            the loggers and in ``vis_data/vis_image/``.

        Returns:
            the path of the last checkpoint; None if the config keeps none.

        Raises:
            UserError: for a mistake of the user, or a full disk.
            Stopped: after SIGTERM, SIGUSR1 or Ctrl-C, with the state saved.
        """
        cfg = self._copy(TRAIN_KEYS, 'cannot be trained: it has no {key}')
        set_switches(cfg, amp, auto_scale_lr, loggers, show_predictions)
        check_backends(cfg)
        loaders = ('train_dataloader', 'val_dataloader')
        check_config(cfg, loaders)
        lines = self._check_labels(cfg, loaders)
        make_safe(cfg)
        add_class_ap(cfg)
        model = build_model(cfg)
        check_arguments(cfg, model)
        start = dict(load_from=cfg.get('load_from'), resume=cfg.get('resume', False))
        newest = set_resume(cfg, 'auto' if resume is True else resume, model)
        if newest:
            lines += newest.lines()
            content = newest.checkpoint
        else:
            content = check_load_from(cfg, model)
            check_pretrained(cfg, model)
        warnings = misspelt_keys(cfg)
        with self.lock():
            if not newest and (warning := restart_warning(cfg.work_dir)):
                warnings.append(warning)
            hook = cfg.default_hooks.checkpoint
            if hook and hook.get('type') == HOOK:
                claim(cfg.work_dir, (newest.path, content['meta']) if newest else None)
            runner = self._build(cfg, content)
            if newest and isinstance(runner, ConciseRunner):
                runner.own_start = start
            del content, newest  # the runner holds it until it has loaded it
            with self.lock():  # of a folder that the runner has made
                for line in lines:
                    runner.logger.info(line)
                warnings += [lr_for_batch(cfg, runner.world_size), random_and_fixed(cfg, model)]
                for warning in filter(None, warnings):
                    runner.logger.warning(warning)
                del model
                runner.train()
        return runner.message_hub.get_info('last_ckpt')

    @typed('Session.test')
    def test(
        self,
        checkpoint: str | Path,
        out: str | Path | None = None,
        show_dir: str | Path | None = None,
        classwise: bool = False,
        fast_eval: bool = False,
        tta: bool = False,
        slicing: Slicing | None = None,
    ) -> dict[str, float]:
        """The metrics of ``checkpoint`` on the test set.

        Args:
            checkpoint: a file or a URL; it has to contain all weights of the config's model.
            out: FILE.json for metrics and AP of every class (COCO results go beside it), or
            FILE.pkl for all predictions. Written completely or not at all.
            show_dir: folder for images with predictions.
            classwise: AP of every class in the log (COCO).
            fast_eval: evaluate with faster-coco-eval: the same numbers, but faster (COCO).
            tta: test-time augmentation, as ``test_time_aug.use_tta`` says.
            slicing: predict on slices of every image, as ``sliced_test.use_slices`` says.

        Raises:
            UserError: for a mistake of the user.
        """
        output = OutputFiles(out) if out else None
        if slicing:
            check_together(slicing, out=out, show_dir=show_dir, tta=tta)
        path = str(checkpoint)
        cfg = self._copy(TEST_KEYS, 'cannot be tested: it has no {key}')
        content = read_here(path)  # a mistyped name is told before data that are not there
        if classwise:
            for evaluator in coco_evaluators(cfg, '--classwise'):
                evaluator['classwise'] = True
        if fast_eval:
            use_faster_coco(coco_evaluators(cfg, '--fast-eval'))
        if show_dir:
            check_folder('--show-dir', os.path.expanduser(show_dir))
            show_in(cfg, os.path.expanduser(show_dir))
        loaders = ('test_dataloader',)
        check_config(cfg, loaders)
        check_metrics(cfg, 'test_evaluator', writes=bool(out))
        check_checkpoint(cfg, path, checkpoint=content)
        lines = self._check_labels(cfg, loaders)
        remark = content and check_class_names(cfg, path, content)
        cfg.load_from, cfg.resume = path, False
        if tta:
            use_tta(cfg)
        if slicing:
            use_slices(cfg, slicing)
        with record_evaluations() as evaluations, output or nullcontext():
            runner = self._build(cfg, content)
            del content
            if output:  # only now: the config that the runner keeps should not contain these paths
                runner._test_evaluator = output.ask_of(cfg)
            for line in lines:
                runner.logger.info(line)
            if remark:
                runner.logger.warning(remark)
            keep_subfolders(runner)
            metrics = runner.test()
            if output:
                output.add_summary(cfg, path, metrics, evaluations)
        self.written = output.written if output else []
        return metrics

    def _copy(self, keys: tuple[str, ...], problem: str) -> Config:
        """The config for one call; :class:`UserError` if it lacks one of ``keys``."""
        for key in keys:
            if not self.cfg.get(key):
                raise UserError(f'{self.cfg.filename or "the config"} {problem.format(key=key)}')
        read_data_as_checked(self.cfg.get('default_scope'))
        return copy.deepcopy(self.cfg)

    def _check_labels(self, cfg: Config, loaders: tuple[str, ...]) -> list[str]:
        """Stop on labels that would ruin the run; return lines to log. One process checks."""
        if not self.check_data or not is_first_process():
            return []
        return stop_on_bad_data(cfg, loaders)

    def _build(self, cfg: Config, checkpoint: dict | None) -> Runner:
        """The runner, with the content of ``cfg.load_from``, which has been read already."""
        runner = self.runner = build_runner(cfg)
        if isinstance(runner, ConciseRunner):
            runner.compares_sizes = self.check_data
            runner.hand_over(cfg.get('load_from'), checkpoint)
        return runner


def set_resume(
    cfg: Config, resume: str | Path | bool | None, model: nn.Module | None = None
) -> Newest | None:
    """Apply ``--resume`` to ``cfg``; return the checkpoint to resume from, None for a new run.

    A job that torchrun, Slurm or slurm_train.sh has restarted resumes from its newest checkpoint
    whatever the option says; if it has none yet, the option applies.
    """
    newest = None
    if launch.started_again():
        newest = resolve_resume(cfg.work_dir, 'if-any')
    if newest is None and resume:
        newest = resolve_resume(cfg.work_dir, str(resume))
    if newest is None:
        return None
    cfg.resume = True
    cfg.load_from = str(newest.path)
    check_checkpoint(cfg, cfg.load_from, model, training=True, checkpoint=newest.checkpoint)
    return newest


def build_runner(cfg: Config) -> Runner:
    """The runner of the config; ours unless the config names another."""
    lines = adapt_to_device(cfg)
    launch.use_restart_safe_rendezvous(cfg)
    launch.init_cpu_group(cfg)
    cfg.setdefault('runner_type', 'ConciseRunner')
    name_apart(cfg)
    runner = RUNNERS.build(cfg)
    for line in lines:
        runner.logger.info(line)
    return runner
