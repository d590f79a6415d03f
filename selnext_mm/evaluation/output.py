"""The files of a test: metrics, AP of every class, predictions; all of them or none."""

import json
import os
import tempfile
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process

from selnext_mm import __version__
from selnext_mm.config.walk import iter_evaluators
from selnext_mm.disk import check_folder
from selnext_mm.errors import UserError
from selnext_mm.evaluation.coco_scores import per_class
from selnext_mm.evaluation.faster_coco import STOCK

COCO_METRICS = (*STOCK, 'FasterCocoMetric')


def coco_evaluators(cfg: Config, option: str | None = None) -> list[dict]:
    """The COCO metrics of the test; :class:`UserError` that names ``option`` if there are none."""
    found = [
        evaluator
        for name, evaluator in iter_evaluators(cfg)
        if name == 'test_evaluator' and evaluator.get('type') in COCO_METRICS
    ]
    if not found and option:
        raise UserError(f'{option}: the config has no CocoMetric in test_evaluator')
    return found


class OutputFiles:
    """A context in which a test writes into a hidden folder; its end moves the files in place.

    ``FILE.json`` gets the metrics and AP of every class, with COCO results beside it
    (``FILE.bbox.json``, ``FILE.segm.json``); ``FILE.pkl`` all predictions as the stock tools dump
    them.

    Args:
        out: the file.

    Attributes:
        written: the files, ``out`` first; in the first process, after the end.

    Raises:
        UserError: for another suffix, or a folder that takes no files.
    """

    def __init__(self, out: str | Path) -> None:
        self.out, self.written = Path(out), []
        if self.out.suffix not in ('.json', '.pkl'):
            raise UserError(f'--out {out}: the name has to end in .json or .pkl')
        if self.out.is_dir():
            raise UserError(f'--out {out} is a directory; name a file')
        check_folder('--out', self.out.parent)

    def __enter__(self) -> 'OutputFiles':
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self._place = tempfile.TemporaryDirectory(dir=self.out.parent, prefix=f'.{self.out.stem}.')
        self._folder = Path(self._place.name)
        return self

    def ask_of(self, cfg: Config) -> None:
        """Make the evaluators of ``cfg`` write their files."""
        if self.out.suffix == '.pkl':
            dump = 'DumpDetResults' if cfg.get('default_scope') == 'mmdet' else 'DumpResults'
            evaluators = cfg.test_evaluator
            evaluators = evaluators if isinstance(evaluators, list) else [evaluators]
            path = str(self._folder / self.out.name)
            cfg.test_evaluator = [*evaluators, dict(type=dump, out_file_path=path)]
            return
        for evaluator in coco_evaluators(cfg):
            evaluator['outfile_prefix'] = str(self._folder / self.out.stem)

    def add_summary(self, cfg: Config, checkpoint: str, metrics: dict, evaluations: list) -> None:
        """Write FILE.json: where the numbers come from, and where the predictions are."""
        if self.out.suffix != '.json' or not is_main_process():
            return
        content = dict(
            config=str(cfg.filename),
            checkpoint=checkpoint,
            selnext_mm=__version__,
            metrics=metrics,
        )
        annotations = [
            evaluator['ann_file']
            for name, evaluator in iter_evaluators(cfg)
            if name == 'test_evaluator' and evaluator.get('ann_file')
        ]
        if evaluations:
            kinds = [e.params.iouType for e in evaluations]
            content |= dict(
                annotations=annotations[0] if annotations else None,
                results={kind: f'{self.out.stem}.{kind}.json' for kind in kinds},
                per_class={e.params.iouType: per_class(e) for e in evaluations},
            )
        text = json.dumps(content, indent=2, default=float) + '\n'
        (self._folder / self.out.name).write_text(text)

    def __exit__(self, kind, *_) -> None:
        with self._place:
            if kind is not None or not is_main_process():
                return
            # The named file last: where it is, the results it names are complete.
            paths = sorted(self._folder.iterdir(), key=lambda p: p.name == self.out.name)
            for path in paths:
                os.replace(path, self.out.with_name(path.name))
            self.written = [self.out.with_name(path.name) for path in reversed(paths)]
