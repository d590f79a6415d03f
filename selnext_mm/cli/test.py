"""``tools/test.py`` and ``selnext-mm test``."""

import json
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process

from selnext_mm.cli.checks import check_folder
from selnext_mm.cli.common import base_parser, build_runner, prepare, quick_data_check
from selnext_mm.engine.config import iter_evaluators, iter_hooks
from selnext_mm.engine.preflight import check_checkpoint, check_class_names, check_data
from selnext_mm.engine.settings import check_numbers, check_types
from selnext_mm.errors import UserError


def parse_args(argv: list[str] | None):
    parser = base_parser('test.py', 'Evaluate a checkpoint on the test set of a config.')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out',
        metavar='FILE',
        help='FILE.json: metrics, and COCO results beside it (FILE.bbox.json, FILE.segm.json); '
        'FILE.pkl: all predictions as the stock tools dump them',
    )
    parser.add_argument('--show-dir', metavar='DIR', help='write pictures with predictions to DIR')
    parser.add_argument('--classwise', action='store_true', help='AP of every class (COCO)')
    return parser.parse_args(argv)


def set_out(cfg: Config, out: Path) -> None:
    """Make the evaluators write to ``out``."""
    if out.suffix not in ('.json', '.pkl'):
        raise UserError(f'--out {out}: the name has to end in .json or .pkl')
    check_folder('--out', out.parent)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == '.pkl':
        dump = 'DumpDetResults' if cfg.get('default_scope') == 'mmdet' else 'DumpResults'
        evaluators = cfg.test_evaluator
        evaluators = evaluators if isinstance(evaluators, list) else [evaluators]
        cfg.test_evaluator = [*evaluators, dict(type=dump, out_file_path=str(out))]
        return
    for name, evaluator in iter_evaluators(cfg):
        if name == 'test_evaluator' and evaluator.get('type') in ('CocoMetric', 'mmdet.CocoMetric'):
            evaluator['outfile_prefix'] = str(out.with_suffix(''))


def set_show_dir(cfg: Config, folder: str) -> None:
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


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    cfg = prepare(args)
    if not cfg.get('test_dataloader') or not cfg.get('test_evaluator'):
        raise UserError(f'{cfg.filename} cannot be tested: no test_dataloader or test_evaluator')
    if args.classwise:
        chosen = [
            e
            for name, e in iter_evaluators(cfg)
            if name == 'test_evaluator' and e.get('type', '').endswith('CocoMetric')
        ]
        if not chosen:
            raise UserError('--classwise: the config has no CocoMetric in test_evaluator')
        for evaluator in chosen:
            evaluator['classwise'] = True
    if args.show_dir:
        set_show_dir(cfg, args.show_dir)
    check_types(cfg)
    check_numbers(cfg)
    check_data(cfg, ('test_dataloader',))
    check_checkpoint(cfg, args.checkpoint)
    lines = quick_data_check(args, cfg, ('test_dataloader',))
    remark = check_class_names(cfg, args.checkpoint)
    if args.out:
        set_out(cfg, Path(args.out))
    cfg.load_from = args.checkpoint
    cfg.resume = False
    runner = build_runner(cfg)
    for line in lines:
        runner.logger.info(line)
    if remark:
        runner.logger.warning(remark)
    metrics = runner.test()
    if args.out and args.out.endswith('.json') and is_main_process():
        summary = dict(config=cfg.filename, checkpoint=args.checkpoint, metrics=metrics)
        Path(args.out).write_text(json.dumps(summary, indent=2, default=float) + '\n')
    return 0
