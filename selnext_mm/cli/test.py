"""``tools/test.py`` and ``selnext-mm test``."""

import json
import os
import tempfile
from contextlib import nullcontext
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process

from selnext_mm import __version__
from selnext_mm.cli.arguments import check_folder
from selnext_mm.cli.run_options import base_parser, build_runner, prepare, quick_data_check
from selnext_mm.config.walk import iter_evaluators, iter_hooks
from selnext_mm.engine.preflight.paths import check_paths
from selnext_mm.engine.preflight.values import check_numbers, check_types
from selnext_mm.engine.preflight.weights import check_checkpoint, check_class_names
from selnext_mm.errors import UserError
from selnext_mm.evaluation.coco_scores import per_class
from selnext_mm.evaluation.faster_coco import STOCK, record_evaluations, use_faster_coco

COCO_METRICS = (*STOCK, 'FasterCocoMetric')


def parse_args(argv: list[str] | None):
    parser = base_parser('test.py', 'Evaluate a checkpoint on the test set of a config.')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out',
        metavar='FILE',
        help='FILE.json: metrics and AP of every class, and COCO results beside it '
        '(FILE.bbox.json, FILE.segm.json); FILE.pkl: all predictions as the stock tools dump them',
    )
    parser.add_argument('--show-dir', metavar='DIR', help='write pictures with predictions to DIR')
    parser.add_argument('--classwise', action='store_true', help='AP of every class (COCO)')
    parser.add_argument(
        '--fast-eval',
        action='store_true',
        help='evaluate with faster-coco-eval: the same numbers, sooner (COCO)',
    )
    return parser.parse_args(argv)


def coco_evaluators(cfg: Config, option: str) -> list[dict]:
    """The COCO metrics of the test; :class:`UserError` that names ``option`` if there are none."""
    found = [
        e
        for name, e in iter_evaluators(cfg)
        if name == 'test_evaluator' and e.get('type') in COCO_METRICS
    ]
    if not found:
        raise UserError(f'{option}: the config has no CocoMetric in test_evaluator')
    return found


def check_out(out: Path) -> None:
    if out.suffix not in ('.json', '.pkl'):
        raise UserError(f'--out {out}: the name has to end in .json or .pkl')
    if out.is_dir():
        raise UserError(f'--out {out} is a directory; name a file')
    check_folder('--out', out.parent)


def set_out(cfg: Config, out: Path, folder: str) -> None:
    """Make the evaluators write into ``folder``, under the names that ``out`` asks for."""
    if out.suffix == '.pkl':
        dump = 'DumpDetResults' if cfg.get('default_scope') == 'mmdet' else 'DumpResults'
        evaluators = cfg.test_evaluator
        evaluators = evaluators if isinstance(evaluators, list) else [evaluators]
        path = str(Path(folder, out.name))
        cfg.test_evaluator = [*evaluators, dict(type=dump, out_file_path=path)]
        return
    for name, evaluator in iter_evaluators(cfg):
        if name == 'test_evaluator' and evaluator.get('type') in COCO_METRICS:
            evaluator['outfile_prefix'] = str(Path(folder, out.stem))


def summary(cfg: Config, checkpoint: str, metrics: dict, out: Path, evaluations: list) -> dict:
    """What FILE.json holds: where the numbers come from, and where the predictions are."""
    content = dict(
        config=str(cfg.filename),
        checkpoint=str(checkpoint),
        selnext_mm=__version__,
        metrics=metrics,
    )
    annotations = [
        e['ann_file']
        for name, e in iter_evaluators(cfg)
        if name == 'test_evaluator' and e.get('ann_file')
    ]
    if evaluations:
        content |= dict(
            annotations=annotations[0] if annotations else None,
            results={e.params.iouType: f'{out.stem}.{e.params.iouType}.json' for e in evaluations},
            per_class={e.params.iouType: per_class(e) for e in evaluations},
        )
    return content


def show_in(cfg: Config, folder: str) -> None:
    """Switch the drawing hook of mmdet or mmpretrain on."""
    check_folder('--show-dir', folder)
    for hook in iter_hooks(cfg):
        kind = hook.get('type', '')
        if kind.endswith('DetVisualizationHook'):
            hook.update(draw=True, test_out_dir=str(Path(folder).resolve()))
            return
        if kind.endswith('VisualizationHook'):
            hook.update(enable=True, out_dir=str(Path(folder).resolve()))
            return
    raise UserError('--show-dir: the config has no visualization hook in default_hooks')


def run(
    cfg: Config, checkpoint: str, out: Path | None, lines: list[str], remark: str | None
) -> None:
    """Test, and move what was written to its place when all of it is there.

    ``lines`` and the warning ``remark`` go into the log first.
    """
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        place = tempfile.TemporaryDirectory(dir=out.parent, prefix=f'.{out.stem}.')
    else:
        place = nullcontext()
    with place as folder, record_evaluations() as evaluations:
        if out:
            set_out(cfg, out, folder)
        runner = build_runner(cfg)
        for line in lines:
            runner.logger.info(line)
        if remark:
            runner.logger.warning(remark)
        metrics = runner.test()
        if not out or not is_main_process():
            return
        if out.suffix == '.json':
            content = summary(cfg, checkpoint, metrics, out, evaluations)
            # The last to be moved: where it is, the results it names are complete.
            path = Path(folder, out.name)
            path.write_text(json.dumps(content, indent=2, default=float) + '\n')
        written = sorted(Path(folder).iterdir(), key=lambda p: p.name == out.name)
        for path in written:
            os.replace(path, out.with_name(path.name))
        print(f'wrote {", ".join(str(out.with_name(p.name)) for p in reversed(written))}')


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    out = Path(args.out) if args.out else None
    if out:
        check_out(out)
    cfg = prepare(args)
    if not cfg.get('test_dataloader') or not cfg.get('test_evaluator'):
        raise UserError(f'{cfg.filename} cannot be tested: no test_dataloader or test_evaluator')
    if args.classwise:
        for evaluator in coco_evaluators(cfg, '--classwise'):
            evaluator['classwise'] = True
    if args.fast_eval:
        use_faster_coco(coco_evaluators(cfg, '--fast-eval'))
    if args.show_dir:
        show_in(cfg, args.show_dir)
    check_types(cfg)
    check_numbers(cfg)
    check_paths(cfg, ('test_dataloader',))
    check_checkpoint(cfg, args.checkpoint)
    lines = quick_data_check(args, cfg, ('test_dataloader',))
    remark = check_class_names(cfg, args.checkpoint)
    cfg.load_from = args.checkpoint
    cfg.resume = False
    run(cfg, args.checkpoint, out, lines, remark)
    return 0
