#!/usr/bin/env python3
"""Time mmcv's operators as this package gives them against mmcv's compiled ones.

    python benchmarks/mmcv_ops.py --compiled WHEEL --json benchmarks/results/mmcv_ops_cpu.json

Both modules are loaded in one process and called in turns, in random order: first operator by
operator, at the sizes that a Mask R-CNN has them, then whole training iterations and predictions
of a detector, in which mmcv's functions are given the one module or the other. A ratio is that of
the medians, ours / compiled. The wheel is what ``MMCV_OPS=cpu make setup`` compiles.
"""

import argparse
import importlib.machinery
import importlib.util
import sys
import tempfile
import types
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from _models import quiet
from _report import check_writable, command, now
from _session import positive
from _timing import compare, interleave, summarize

from selnext_mm.__main__ import call
from selnext_mm.analysis.machine import machine, versions
from selnext_mm.config.build import build_model
from selnext_mm.config.load import load_config
from selnext_mm.disk import write_json
from selnext_mm.errors import UserError
from selnext_mm.mmcv_ext.module import fill

DEMO, FULL = 'mask_rcnn/selnext_atto_shapes.py', 'mask_rcnn/selnext_t_3x_coco.py'
# config -> (height, width, images, objects in each)
SIZES = {DEMO: (256, 256, 4, 4), FULL: (800, 1216, 1, 8)}


def ours() -> types.ModuleType:
    module = types.ModuleType('mmcv._ext')
    fill(vars(module))
    return module


def compiled(wheel: Path, folder: Path) -> types.ModuleType:
    """The compiled module of ``wheel``, beside the one that is in use.

    Raises:
        UserError: if it is not a wheel with such a module, or made for another Python.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [n for n in archive.namelist() if n.startswith('mmcv/_ext.') and '.so' in n]
            path = Path(archive.extract(names[0], folder)) if names else None
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f'--compiled {wheel}: {error}') from None
    if path is None:
        raise UserError(
            f'--compiled {wheel}: no mmcv/_ext in it; MMCV_OPS=cpu make setup compiles one'
        )
    loader = importlib.machinery.ExtensionFileLoader('mmcv_compiled._ext', str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    try:
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
    except ImportError as error:
        raise UserError(f'--compiled {wheel}: {error}') from None
    return module


@contextmanager
def in_use(module: types.ModuleType) -> Iterator[None]:
    """Let the functions of mmcv.ops call ``module``."""
    users = [m for name, m in sys.modules.items() if name.startswith('mmcv.ops.')]
    users = [m for m in users if hasattr(m, 'ext_module')]
    former = [m.ext_module for m in users]
    for user in users:
        user.ext_module = module
    try:
        yield
    finally:
        for user, before in zip(users, former, strict=True):
            user.ext_module = before


def random_boxes(count: int, height: int, width: int, generator: torch.Generator) -> torch.Tensor:
    """Boxes of sides between 16 and 272 pixels, (count, 4)."""
    sides = 16 + 256 * torch.rand(count, 2, generator=generator)
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([width, height])
    return torch.cat([corner - sides / 2, corner + sides / 2], 1)


def operators() -> dict[str, Callable[[], object]]:
    """Name -> a call of mmcv's function, at the sizes of one image of 800 x 1216.

    Without the focal loss, which the compiled module has for CUDA alone.
    """
    from mmcv.ops import batched_nms, modulated_deform_conv2d, roi_align

    draw = torch.Generator().manual_seed(0)
    height, width = 800, 1216
    boxes, scores = random_boxes(4000, height, width, draw), torch.rand(4000, generator=draw)
    levels = torch.randint(0, 5, (4000,), generator=draw)
    maps = torch.randn(1, 256, height // 4, width // 4, generator=draw).requires_grad_()
    rois = torch.cat([torch.zeros(512, 1), random_boxes(512, height, width, draw)], 1)
    image = torch.randn(1, 64, 50, 76, generator=draw).requires_grad_()
    offset = torch.randn(1, 18, 50, 76, generator=draw).requires_grad_()
    mask = torch.rand(1, 9, 50, 76, generator=draw).requires_grad_()
    weight = torch.randn(64, 64, 3, 3, generator=draw).requires_grad_()

    def step(out: torch.Tensor) -> None:
        out.sum().backward()

    return {
        'nms, 4000 boxes': lambda: batched_nms(
            boxes, scores, levels, dict(type='nms', iou_threshold=0.7)
        ),
        'roi_align forward, 512 regions': lambda: roi_align(
            maps.detach(), rois, 7, 0.25, 0, 'avg', True
        ),
        'roi_align with backward': lambda: step(roi_align(maps, rois, 7, 0.25, 0, 'avg', True)),
        'modulated_deform_conv with backward': lambda: step(
            modulated_deform_conv2d(image, offset, mask, weight, None, 1, 1, 1, 1, 1)
        ),
    }


def detector(name: str) -> dict[str, Callable[[], object]]:
    """A training iteration and a prediction of a config's detector, on a random image."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.registry import DefaultScope
    from mmengine.structures import InstanceData

    height, width, images, objects = SIZES[name]
    cfg = load_config(name)
    torch.manual_seed(0)
    model = build_model(cfg)
    draw = torch.Generator().manual_seed(0)

    def sample() -> DetDataSample:
        item = DetDataSample(
            metainfo=dict(
                img_shape=(height, width),
                ori_shape=(height, width),
                pad_shape=(height, width),
                scale_factor=(1.0, 1.0),
            )
        )
        boxes = random_boxes(objects, height, width, draw)
        boxes[:, 0::2].clamp_(0, width)
        boxes[:, 1::2].clamp_(0, height)
        masks = torch.zeros(objects, height, width, dtype=torch.uint8)
        for mask, (left, top, right, bottom) in zip(masks, boxes.long().tolist(), strict=True):
            mask[top:bottom, left:right] = 1
        item.gt_instances = InstanceData(
            bboxes=boxes,
            labels=torch.randint(0, model.roi_head.bbox_head.num_classes, (objects,)),
            masks=BitmapMasks(masks.numpy(), height, width),
        )
        return item

    samples = [sample() for _ in range(images)]
    inputs = [torch.randint(0, 256, (3, height, width), dtype=torch.uint8) for _ in samples]

    def scoped(function: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            with DefaultScope.overwrite_default_scope('mmdet'):
                torch.manual_seed(0)
                function()

        return run

    def train() -> None:
        model.train()
        data = model.data_preprocessor(dict(inputs=inputs, data_samples=samples), True)
        loss, _ = model.parse_losses(model(**data, mode='loss'))
        model.zero_grad(set_to_none=True)
        loss.backward()

    def predict() -> None:
        model.eval()
        with torch.no_grad():
            model.test_step(dict(inputs=inputs[:1], data_samples=samples[:1]))

    size = f'{images} x {height} x {width}'
    return {
        f'{name}: training iteration, {size}': scoped(train),
        f'{name}: prediction, 1 x {height} x {width}': scoped(predict),
    }


def measure(
    calls: dict[str, Callable[[], object]],
    modules: dict[str, types.ModuleType],
    repeats: int,
) -> list[dict]:
    rows = []
    for name, function in calls.items():

        def with_module(module: types.ModuleType, function=function) -> Callable[[], None]:
            def run() -> None:
                with in_use(module):
                    function()

            return run

        timed = {key: with_module(module) for key, module in modules.items()}
        seconds = interleave(timed, repeats, warmup=1, settle=0)
        rows.append(
            dict(name=name)
            | {key: summarize(values) for key, values in seconds.items()}
            | dict(ratio=compare(seconds['ours'], seconds['compiled']))
        )
        print_row(rows[-1])
    return rows


def print_row(row: dict) -> None:
    low, high = row['ratio']['ratio_q25'], row['ratio']['ratio_q75']
    print(
        f'{row["name"]:<70} {1e3 * row["compiled"]["median_s"]:9.1f} ms  '
        f'{1e3 * row["ours"]["median_s"]:9.1f} ms  {row["ratio"]["ratio"]:5.2f} '
        f'({low:.2f} to {high:.2f})',
        flush=True,
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--compiled', required=True, type=Path, help="wheel with mmcv's operators")
    parser.add_argument('--repeats', type=positive, default=9, help='rounds (default: 9)')
    parser.add_argument('--full-repeats', type=positive, default=3, help='of the full-size one')
    parser.add_argument('--threads', type=positive, help="default: torch's")
    parser.add_argument('--json', help='write the result to this file')
    args = parser.parse_args(argv)
    if args.json:
        check_writable(args.json)
    if args.threads:
        torch.set_num_threads(args.threads)
    started = now()
    with tempfile.TemporaryDirectory() as folder, quiet():
        modules = dict(compiled=compiled(args.compiled, Path(folder)), ours=ours())
        print(f'{"":<70} {"compiled":>12}  {"ours":>12}  ratio (quartiles)')
        rows = measure(operators(), modules, args.repeats)
        rows += measure(detector(DEMO), modules, args.repeats)
        rows += measure(detector(FULL), modules, args.full_repeats)
    if args.json:
        content = dict(
            command=command(),
            started=started,
            machine=machine(torch.device('cpu')),
            versions=versions(),
            threads=torch.get_num_threads(),
            rows=rows,
        )
        write_json(args.json, content)
    return 0


if __name__ == '__main__':
    sys.exit(call(main, sys.argv[1:]))
