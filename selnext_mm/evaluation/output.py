"""The files of a test: metrics, AP of every class, predictions; either all or none."""

import glob
import json
import os
import tempfile
from itertools import islice
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process

from selnext_mm import __version__
from selnext_mm.config.walk import iter_evaluators
from selnext_mm.disk import check_folder
from selnext_mm.errors import UserError
from selnext_mm.evaluation.class_predictions import ENDING
from selnext_mm.evaluation.coco_scores import per_class
from selnext_mm.evaluation.faster_coco import STOCK

COCO_METRICS = (*STOCK, 'FasterCocoMetric')


def coco_evaluators(cfg: Config, option: str | None = None) -> list[dict]:
    """The COCO metrics of the test; a :class:`UserError` names ``option`` if there are none."""
    found = [
        evaluator
        for name, evaluator in iter_evaluators(cfg)
        if name == 'test_evaluator' and evaluator.get('type') in COCO_METRICS
    ]
    if not found and option:
        raise UserError(f'{option}: the config has no CocoMetric in test_evaluator')
    return found


class OutputFiles:
    """A context in which a test writes into a hidden folder; leaving it moves the files in place.

    ``FILE.json`` gets the metrics and AP of every class, with COCO results beside it
    (``FILE.bbox.json``, ``FILE.segm.json``) or, for a classifier, the best five classes of every
    image (``FILE.classes.json``). ``FILE.pkl`` gets all predictions as the stock tools dump
    them.

    Args:
        out: the file.

    Attributes:
        written: the files, ``out`` first; in the first process, after the end.

    Raises:
        UserError: for any other suffix, or a folder that is not writable.
    """

    def __init__(self, out: str | Path) -> None:
        self.out, self.written = Path(out).expanduser(), []
        if self.out.suffix not in ('.json', '.pkl'):
            raise UserError(f'--out {out}: the name has to end in .json or .pkl')
        if self.out.is_dir():
            raise UserError(f'--out {out} is a directory; name a file')
        check_folder('--out', self.out.parent)

    def __enter__(self) -> 'OutputFiles':
        folder = self.out.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._place = tempfile.TemporaryDirectory(dir=folder, prefix=f'.{self.out.stem}.')
        except OSError as error:
            raise UserError(f'--out {self.out}: {error.strerror or error}') from error
        self._folder = Path(self._place.name)
        return self

    def ask_of(self, cfg: Config) -> dict | list:
        """Make the evaluators of ``cfg`` write their files; return these evaluators."""
        if self.out.suffix == '.pkl':
            dump = 'DumpDetResults' if cfg.get('default_scope') == 'mmdet' else 'DumpResults'
            self._dump(cfg, dict(type=dump, out_file_path=str(self._folder / self.out.name)))
            return cfg.test_evaluator
        for stem, evaluator in self._stems(cfg):
            evaluator['outfile_prefix'] = str(self._folder / stem)
        node = cfg.test_evaluator
        apart = isinstance(node, dict) and node.get('dataset_prefixes')
        if cfg.get('default_scope') == 'mmpretrain' and not apart:
            file = self._folder / f'{self.out.stem}{ENDING}'
            self._dump(cfg, dict(type='ClassPredictions', out_file=str(file)))
        return cfg.test_evaluator

    def _dump(self, cfg: Config, metric: dict) -> None:
        """Add a metric that dumps everything to those of the config."""
        node = cfg.test_evaluator
        holder = node if isinstance(node, dict) and node.get('metrics') is not None else None
        if holder is not None and holder.get('dataset_prefixes'):
            raise UserError(
                f'--out {self.out}: {holder.get("type")} gives every metric a part of the data; '
                'name FILE.json, which gets the predictions of each data set'
            )
        metrics = node if holder is None else holder['metrics']
        metrics = [*(metrics if isinstance(metrics, list | tuple) else [metrics]), metric]
        if holder is None:
            cfg.test_evaluator = metrics
        else:
            holder['metrics'] = metrics

    def _stems(self, cfg: Config) -> list[tuple[str, dict]]:
        """(stem of its files, COCO metric): FILE, or FILE.NAME for each of several data sets."""
        metrics = coco_evaluators(cfg)
        if len(metrics) < 2:
            return [(self.out.stem, metric) for metric in metrics]
        names = (
            cfg.test_evaluator.get('dataset_prefixes')
            if isinstance(cfg.test_evaluator, dict)
            else None
        )
        names = names if names and len(names) == len(metrics) else range(1, len(metrics) + 1)
        return [
            (f'{self.out.stem}.{str(name).replace(os.sep, "_")}', metric)
            for name, metric in zip(names, metrics, strict=True)
        ]

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
        parts = []
        waiting = iter(evaluations)
        for stem, metric in self._stems(cfg):
            kinds = metric.get('metric', 'bbox')
            kinds = [kinds] if isinstance(kinds, str) else kinds
            # The number that this metric has summarised; recall alone and plain files do not count.
            count = sum(k != 'proposal_fast' for k in kinds) * (not metric.get('format_only'))
            own = list(islice(waiting, count))
            written = sorted(self._folder.glob(f'{glob.escape(stem)}.*.json'))
            parts.append(
                dict(
                    annotations=metric.get('ann_file'),
                    results={p.name.split('.')[-2]: p.name for p in written},
                    # Proposals have no class.
                    per_class={e.params.iouType: per_class(e) for e in own if e.params.useCats},
                )
            )
        if len(parts) == 1:
            content |= parts[0]
        elif parts:
            content['data_sets'] = parts
        elif (self._folder / f'{self.out.stem}{ENDING}').is_file():
            content['results'] = {'classes': f'{self.out.stem}{ENDING}'}
        text = json.dumps(content, indent=2, default=float) + '\n'
        (self._folder / self.out.name).write_text(text, encoding='utf-8')

    def __exit__(self, kind, *_) -> None:
        with self._place:
            if kind is not None or not is_main_process():
                return
            # The named file comes last: if it exists, the results that it names are complete.
            paths = sorted(self._folder.iterdir(), key=lambda p: p.name == self.out.name)
            for path in paths:
                os.replace(path, self.out.with_name(path.name))
            self.written = [self.out.with_name(path.name) for path in reversed(paths)]
