#!/usr/bin/env python3
"""AP of a detector of the shapes in large images, whole and in slices.

    python benchmarks/slices.py work_dirs/demo/selnext_atto_shapes.py work_dirs/demo/epoch_4.pth

Scenes of the shapes' validation split, which the model was not trained on, stand at random places
of large grey images: half of them drawn at the size of the training images, half at half that
size. ``tools/test.py`` tests the model on these images, without and with ``--slice``.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _report import check_writable, command, now
from _session import positive
from PIL import Image
from pycocotools import mask as mask_utils

from selnext_mm.__main__ import call
from selnext_mm.analysis.machine import machine, versions
from selnext_mm.config_files import find_config
from selnext_mm.datasets.shape_scene import CLASSES, REFERENCE_SIZE, draw_scene
from selnext_mm.datasets.shapes import annotation_file
from selnext_mm.disk import write_json
from selnext_mm.errors import UserError
from selnext_mm.slicing import Slicing
from selnext_mm.text import counted

ROOT = Path(__file__).resolve().parents[1]
GREY = 114
NAMES = {'AP': 'mAP', 'APs': 'mAP_s', 'APm': 'mAP_m', 'APl': 'mAP_l'}


def build_parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog='slices.py',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument('config')
    result.add_argument('checkpoint')
    result.add_argument('--images', type=positive, default=6, help='(%(default)s)')
    result.add_argument('--width', type=positive, default=4000, help='(%(default)s)')
    result.add_argument('--height', type=positive, default=3000, help='(%(default)s)')
    result.add_argument('--scenes', type=positive, default=20, help='of each image (%(default)s)')
    result.add_argument(
        '--slice', type=positive, nargs='+', default=[224, 448], help='(224 448)', metavar='PIXELS'
    )
    result.add_argument('--json', metavar='FILE', help='write the results')
    return result


def compose(rng: np.random.Generator, args: argparse.Namespace, first: int) -> tuple:
    """(image, annotations without ids) with scenes from ``first`` on, none over another."""
    image = np.full((args.height, args.width, 3), GREY, np.uint8)
    columns = args.width // REFERENCE_SIZE
    cells = columns * (args.height // REFERENCE_SIZE)
    if args.scenes > cells:
        raise UserError(f'--scenes {args.scenes}: there is room for {cells}')
    annotations = []
    for k, cell in enumerate(rng.choice(cells, args.scenes, replace=False)):
        size = REFERENCE_SIZE // (1 + k % 2)
        scene = draw_scene(0, 'val', first + k, size)
        row, column = divmod(int(cell), columns)
        y, x = (int(v) * REFERENCE_SIZE for v in (row, column))
        image[y : y + size, x : x + size] = scene.image
        for mask, one in zip(scene.masks, scene.annotations, strict=True):
            whole = np.zeros((args.height, args.width), np.uint8, order='F')
            whole[y : y + size, x : x + size] = mask
            runs = mask_utils.encode(whole)
            place = dict(bbox=mask_utils.toBbox(runs).tolist(), area=float(mask_utils.area(runs)))
            text = dict(runs, counts=runs['counts'].decode('ascii'))
            annotations.append(one | place | dict(segmentation=text))
    return image, annotations


def write_images(args: argparse.Namespace, folder: Path) -> int:
    """Draw the images and their COCO file; return the number of objects."""
    rng = np.random.default_rng(0)
    content = dict(images=[], annotations=[], categories=[])
    content['categories'] = [dict(id=i, name=name) for i, name in enumerate(CLASSES, 1)]
    (folder / 'val2017').mkdir(parents=True)
    for number in range(args.images):
        image, annotations = compose(rng, args, number * args.scenes)
        name = f'{number}.png'
        Image.fromarray(image).save(folder / 'val2017' / name, compress_level=1)
        size = dict(width=args.width, height=args.height)
        content['images'].append(dict(id=number + 1, file_name=name, **size))
        for one in annotations:
            ids = dict(id=len(content['annotations']) + 1, image_id=number + 1)
            content['annotations'].append(one | ids)
    path = annotation_file(folder, 'val')
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    return len(content['annotations'])


def measure(args: argparse.Namespace, folder: Path, slice: int | None) -> dict:
    """One run of ``tools/test.py``."""
    out = folder / f'{slice}.json'
    line = [sys.executable, ROOT / 'tools/test.py', args.config, args.checkpoint]
    line += ['--data-root', folder, '--out', out, '--work-dir', folder / 'work']
    line += ['--slice', slice, '--overlap', 0.2] if slice else []
    start = time.perf_counter()
    process = subprocess.Popen(list(map(str, line)), stdout=subprocess.PIPE, stderr=-2, text=True)
    printed = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise UserError(f'tools/test.py failed:\n{printed[-2000:]}')
    metrics = json.loads(out.read_text())['metrics']
    rows = {
        kind: {name: metrics.get(f'coco/{kind}_{key}') for name, key in NAMES.items()}
        for kind in ('bbox', 'segm')
        if f'coco/{kind}_mAP' in metrics
    }
    seconds = time.perf_counter() - start
    return dict(slice=slice, seconds=round(seconds, 1), mb=used.ru_maxrss >> 10, **rows)


def table(result: dict) -> str:
    kinds = [kind for kind in ('bbox', 'segm') if kind in result['rows'][0]]
    heads = ['slice', *(f'{kind} {name}' for kind in kinds for name in NAMES), 's', 'MB']
    lines = [heads, ['---'] * len(heads)]
    for row in result['rows']:
        values = [row[kind][name] for kind in kinds for name in NAMES]
        scores = ['-' if value is None or value < 0 else f'{value:.3f}' for value in values]
        numbers = [f'{row["seconds"]:.0f}', str(row['mb'])]
        lines.append([str(row['slice'] or 'none'), *scores, *numbers])
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    if args.json:
        check_writable(args.json)
    find_config(args.config)
    if not Path(args.checkpoint).is_file():
        raise UserError(f'{args.checkpoint}: no such checkpoint')
    for slice in args.slice:
        Slicing(slice, 0.2)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, 'data')
        objects = write_images(args, folder)
        size = f'{args.width}x{args.height}'
        print(f'{counted(args.images, "image")} of {size} with {objects} shapes', flush=True)
        result = dict(command=command(), date=now(), machine=machine(), versions=versions())
        result |= dict(images=args.images, size=size, objects=objects, rows=[])
        for slice in (None, *args.slice):
            result['rows'].append(measure(args, folder, slice))
    print(table(result))
    if args.json:
        write_json(args.json, result)
    return 0


if __name__ == '__main__':
    sys.exit(call(main, sys.argv[1:]))
