#!/usr/bin/env python3
"""Time a whole detector, from an image tensor to boxes and masks, and the backbone in it.

    python benchmarks/end_to_end.py --json benchmarks/results/end_to_end_cpu.json

One config with SELNeXt: layer by layer (impl='reference'), as it is, deployed, and ConvNeXt of the
same size in its place. Any other config, or several: each as it is, the first as the baseline
(Table 5 of the paper, Table 2 of PATNet):

    python benchmarks/end_to_end.py --config mask_rcnn/{convnext,swin,selnext}_t_3x_coco.py

The weights are random and the score threshold is 0, so that every two-stage model has 1000
proposals, 100 boxes and 100 masks: the work of a crowded image. Masks are pasted into it.
"""

import argparse
import copy
import statistics
import sys

import torch
from _models import quiet
from _report import check_writable, command, now
from _session import CLOCKS, natural, pick_device, positive, show
from _timing import compare, interleave, summarize
from mmengine.config import Config
from torch import nn

from selnext_mm.__main__ import call
from selnext_mm.analysis.machine import machine, versions
from selnext_mm.config.build import build_model
from selnext_mm.config_files import find_config
from selnext_mm.disk import write_json
from selnext_mm.errors import UserError
from selnext_mm.inference.loading import deploy

CONVNEXT = dict(
    _delete_=True,
    type='mmpretrain.ConvNeXt',
    arch='tiny',
    out_indices=(0, 1, 2, 3),
    layer_scale_init_value=1.0,
    gap_before_final_norm=False,
)
# name -> changes of the backbone, and whether it is deployed; the first is the baseline
VARIANTS = {
    'ConvNeXt': (CONVNEXT, False),
    'SELNeXt, impl=reference': (dict(impl='reference'), False),
    'SELNeXt': ({}, False),
    'SELNeXt, deploy': ({}, True),
}


def detector_config(name: str, changes: dict) -> Config:
    """The config with ``changes`` in its backbone, no weights to load and every score allowed."""
    config = Config.fromfile(find_config(name))
    backbone = config.model.backbone
    kept = {key: backbone[key] for key in ('arch',) if key in backbone}
    config.merge_from_dict(dict(model=dict(backbone=copy.deepcopy(changes))))
    config.model.backbone.update(kept)
    config.model.backbone.pop('init_cfg', None)  # published weights would be a download
    config.setdefault('default_scope', 'mmdet')
    config.model.test_cfg.get('rcnn', config.model.test_cfg).score_thr = 0.0
    return config


class Detector:
    """One detector; a call is one pass, ``backbone`` collects the seconds of its backbone."""

    def __init__(self, args: argparse.Namespace, name: str, changes: dict, deployed: bool) -> None:
        from mmdet.registry import MODELS  # noqa: F401 - registers mmdet's modules
        from mmdet.structures import DetDataSample

        config = detector_config(name, changes)
        torch.manual_seed(args.seed)
        self.device = pick_device(args.device, tf32=False)
        with quiet():
            self.model = build_model(config)
            self.model.init_weights()
        self.model.eval()
        if deployed:
            deploy(self.model)
        self.model.to(self.device)
        height, width = args.size
        self.image = torch.randn(1, 3, height, width).to(self.device)
        shape = dict(img_shape=(height, width), ori_shape=(height, width), scale_factor=(1.0, 1.0))
        self.sample = DetDataSample(metainfo=dict(shape, batch_input_shape=(height, width)))
        self.clock = CLOCKS[args.clock]
        self.backbone: list[float] = []
        self.model.backbone.register_forward_pre_hook(self._enter)
        self.model.backbone.register_forward_hook(self._leave)

    def synchronize(self) -> None:
        if self.device.type == 'cuda':
            torch.cuda.synchronize()

    def _enter(self, module: nn.Module, args: tuple) -> None:
        self.synchronize()
        self._entered = self.clock()

    def _leave(self, module: nn.Module, args: tuple, out: object) -> None:
        self.synchronize()
        self.backbone.append(self.clock() - self._entered)

    def __call__(self) -> object:
        with torch.inference_mode():
            return self.model.predict(self.image, [self.sample.clone()])


def variants(names: list[str]) -> dict[str, tuple[str, dict, bool]]:
    """Label -> (config, changes of its backbone, deployed)."""
    backbone = Config.fromfile(find_config(names[0])).model.backbone
    if len(names) == 1 and backbone.type == 'SELNeXt':
        return {label: (names[0], *variant) for label, variant in VARIANTS.items()}
    return {name: (name, {}, False) for name in names}


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='benchmarks/end_to_end.py',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        '--config',
        nargs='+',
        default=['mask_rcnn/selnext_t_3x_coco.py'],
        help='detectors (default: %(default)s)',
    )
    add('--size', nargs=2, type=positive, metavar=('H', 'W'), default=(800, 1280))
    add('--device', default='cpu', help='cpu, cuda or cuda:N (default: cpu)')
    add('--threads', type=positive, help="of the CPU (default: torch's)")
    add('--repeats', type=positive, default=15, help='timed rounds (default: 15)')
    add('--warmup', type=natural, default=1, help='untimed rounds before (default: 1)')
    add('--clock', choices=list(CLOCKS), default='wall', help='cpu: of the processor, one thread')
    add('--seed', type=int, default=0, help='of the weights and the image (default: 0)')
    add('--json', metavar='FILE', help='write everything to this file, too')
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> dict:
    """Time all variants; returns the result as the JSON file has it."""
    try:
        import mmdet  # noqa: F401
        import mmpretrain.models  # noqa: F401
    except ImportError as error:
        raise UserError(f'{error}; this needs mmdet and mmpretrain') from error
    if args.json:
        check_writable(args.json)
    if args.threads:
        torch.set_num_threads(args.threads)
    started = now()
    chosen = variants(args.config)
    detectors = {label: Detector(args, *variant) for label, variant in chosen.items()}
    seconds = interleave(
        detectors,
        repeats=args.repeats,
        warmup=args.warmup,
        settle=0,
        clock=CLOCKS[args.clock],
        synchronize=next(iter(detectors.values())).synchronize,
        progress=lambda done, rounds: show(f'round {done}/{rounds}'),
    )
    show('')
    baseline, rows = next(iter(detectors)), []
    for name, detector in detectors.items():
        inside = detector.backbone[-args.repeats :]
        (sample,) = detector()
        rows.append(
            {
                'label': name,
                **summarize(seconds[name]),
                **compare(seconds[name], seconds[baseline]),
                'images_per_s': 1 / statistics.median(seconds[name]),
                'backbone_s': statistics.median(inside),
                'backbone_share': statistics.median(inside) / statistics.median(seconds[name]),
                'boxes': len(sample.pred_instances),
                'seconds': seconds[name],
            }
        )
    return {
        'title': f'{", ".join(args.config)} end to end at {args.size[0]}x{args.size[1]}',
        'date': started,
        'command': command(),
        'machine': machine(pick_device(args.device, tf32=False)),
        'versions': versions(),
        'setting': {**vars(args), 'threads': torch.get_num_threads()},
        'rows': rows,
    }


def text(result: dict) -> str:
    """A Markdown table."""
    lines = ['| model | images/s | s per image | backbone s | share | ratio |', '|---' * 6 + '|']
    for row in result['rows']:
        lines.append(
            f'| {row["label"]} | {row["images_per_s"]:.3f} | {row["median_s"]:.2f} | '
            f'{row["backbone_s"]:.2f} | {row["backbone_share"]:.0%} | {row["ratio"]:.3f} |'
        )
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    result = run(args)
    print(text(result))
    if args.json:
        write_json(args.json, result)
    return 0


if __name__ == '__main__':
    sys.exit(call(main, sys.argv[1:]))
