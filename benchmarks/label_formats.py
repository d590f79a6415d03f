#!/usr/bin/env python3
"""How long labels take to become COCO files, in how much memory, and whether they stay the same.

    benchmarks/label_formats.py --images 100000 --out benchmarks/results/label_formats_cpu.json
    benchmarks/label_formats.py --images 10000 --tools labelformat supervision datumaro --python PY

A synthetic set (640 x 480, 7.3 boxes of whole pixels in an image, one in ten images without any)
is written as YOLO, Pascal VOC and COCO; all images are links to one file. Every tool converts the
training split in a process of its own. Peak memory is what the process had beyond its imports.
``--python`` names an interpreter that has the tools to compare with.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

KINDS = ('yolo', 'voc', 'coco')
TOOLS = ('selnext_mm', 'labelformat', 'supervision', 'datumaro')
CLASSES = tuple(f'class {i:02}' for i in range(20))
WIDTH, HEIGHT = 640, 480
XML = '<annotation><filename>{name}</filename><size><width>640</width><height>480</height>'
XML += '<depth>3</depth></size>{objects}</annotation>'
OBJECT = '<object><name>{name}</name><pose>Unspecified</pose><truncated>0</truncated>'
OBJECT += '<difficult>0</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>'
OBJECT += '<ymax>{}</ymax></bndbox></object>'


def synthesize(images: int):
    """[(name, [(class, x, y, w, h), ...]), ...]: the same in every call."""
    import numpy as np

    rng = np.random.default_rng(0)
    for i in range(images):
        count = 0 if i % 10 == 4 else 1 + rng.poisson(7.1)
        sides = rng.integers(4, 200, (count, 2))
        corners = rng.integers(0, np.array([WIDTH, HEIGHT]) - sides + 1)
        kinds = rng.integers(0, len(CLASSES), count)
        boxes = np.concatenate([kinds[:, None], corners, sides], 1).tolist()
        yield f'{i:06}.jpg', [tuple(b) for b in boxes]


def write(folder: Path, kind: str, images: int) -> None:
    """The set in the format ``kind``, split in two: all but one image in twenty for training."""
    from PIL import Image

    folder.mkdir(parents=True)
    Image.new('RGB', (WIDTH, HEIGHT), (90, 120, 150)).save(folder / 'one.jpg')
    places = dict(yolo='images/{}', voc='JPEGImages', coco='{}2017')
    lists, contents = {}, {}
    for split in ('train', 'val'):
        for place in (places[kind].format(split), f'labels/{split}', 'Annotations'):
            (folder / place).mkdir(parents=True, exist_ok=True)
        lists[split], contents[split] = [], dict(images=[], annotations=[])
    for number, (name, boxes) in enumerate(synthesize(images), 1):
        split = 'val' if number % 20 == 0 else 'train'
        links = number // 30_000  # a file system allows some ten thousand links to a file
        source = folder / f'one{links or ""}.jpg'
        if not source.exists():
            source.write_bytes((folder / 'one.jpg').read_bytes())
        os.link(source, folder / places[kind].format(split) / name)
        stem = name[:-4]
        if kind == 'yolo':
            text = ''.join(
                f'{c} {(x + w / 2) / WIDTH:.6f} {(y + h / 2) / HEIGHT:.6f} {w / WIDTH:.6f} '
                f'{h / HEIGHT:.6f}\n'
                for c, x, y, w, h in boxes
            )
            (folder / f'labels/{split}/{stem}.txt').write_text(text)
        elif kind == 'voc':
            objects = ''.join(
                OBJECT.format(x + 1, y + 1, x + w, y + h, name=CLASSES[c])
                for c, x, y, w, h in boxes
            )
            (folder / f'Annotations/{stem}.xml').write_text(XML.format(name=name, objects=objects))
            lists[split].append(stem)
        else:
            content = contents[split]
            content['images'].append(dict(id=number, file_name=name, width=WIDTH, height=HEIGHT))
            for c, *box in boxes:
                content['annotations'].append(
                    dict(
                        id=len(content['annotations']) + 1,
                        image_id=number,
                        category_id=c + 1,
                        bbox=box,
                        area=box[2] * box[3],
                        iscrowd=0,
                    )
                )
    if kind == 'yolo':
        names = '\n'.join(f'  {i}: {name}' for i, name in enumerate(CLASSES))
        (folder / 'data.yaml').write_text(
            f'train: images/train\nval: images/val\nnames:\n{names}\n'
        )
    for split in lists:
        if kind == 'voc':
            path = folder / f'ImageSets/Main/{split}.txt'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('\n'.join(lists[split]) + '\n')
        if kind == 'coco':
            categories = [dict(id=i, name=name) for i, name in enumerate(CLASSES, 1)]
            path = folder / f'annotations/instances_{split}2017.json'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(dict(contents[split], categories=categories)))
    for path in folder.glob('one*.jpg'):
        path.unlink()
    for path in sorted(folder.rglob('*'), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def by_selnext_mm(kind: str, folder: Path, out: Path) -> Path:
    from selnext_mm.datasets.formats import find_dataset

    os.environ['SELNEXT_MM_CACHE'] = str(out)
    return find_dataset(folder, progress=False).splits['train'].annotations


def by_labelformat(kind: str, folder: Path, out: Path) -> Path:
    from labelformat.formats import (
        COCOObjectDetectionInput,
        COCOObjectDetectionOutput,
        PascalVOCObjectDetectionInput,
        YOLOv8ObjectDetectionInput,
    )

    if kind == 'yolo':
        labels = YOLOv8ObjectDetectionInput(folder / 'data.yaml', 'train')
    elif kind == 'voc':
        # All splits: it knows no lists.
        labels = PascalVOCObjectDetectionInput(folder / 'Annotations', ','.join(CLASSES))
    else:
        labels = COCOObjectDetectionInput(folder / 'annotations/instances_train2017.json')
    COCOObjectDetectionOutput(out / 'a.json').save(labels)
    return out / 'a.json'


def by_supervision(kind: str, folder: Path, out: Path) -> Path:
    from supervision import DetectionDataset

    if kind == 'yolo':
        paths = [folder / p for p in ('images/train', 'labels/train', 'data.yaml')]
        labels = DetectionDataset.from_yolo(*map(str, paths))
    elif kind == 'voc':
        labels = DetectionDataset.from_pascal_voc(
            str(folder / 'JPEGImages'), str(folder / 'Annotations')
        )
    else:
        labels = DetectionDataset.from_coco(
            str(folder / 'train2017'), str(folder / 'annotations/instances_train2017.json')
        )
    labels.as_coco(annotations_path=str(out / 'a.json'))
    return out / 'a.json'


def by_datumaro(kind: str, folder: Path, out: Path) -> Path:
    from datumaro import Dataset

    names = dict(yolo='yolo', voc='voc_detection', coco='mmdet_coco')
    options = dict(coordinate_mode='voc-one-based') if kind == 'voc' else {}
    Dataset.import_from(str(folder), names[kind], **options).export(
        str(out / 'a'), 'coco_instances', save_media=False
    )
    return next((out / 'a/annotations').glob('*train*.json'))


def compare(path: Path, images: int) -> dict:
    """How much of the training split is in a COCO file as it was written."""
    content = json.loads(path.read_text(encoding='utf-8'))
    names = {c['id']: c['name'] for c in content['categories']}
    files = {i['id']: Path(i['file_name']).name for i in content['images']}
    found: dict[str, list] = {name: [] for name in files.values()}
    for a in content['annotations']:
        found[files[a['image_id']]].append((names[a['category_id']], *a['bbox']))
    total = kept = boxes = exact = 0
    for number, (name, truth) in enumerate(synthesize(images), 1):
        if number % 20:
            total += 1
            kept += name in found
            boxes += len(truth)
            rest = found.get(name, [])
            for c, *box in truth:
                if (CLASSES[c], *box) in rest:
                    exact += 1
                    rest.remove((CLASSES[c], *box))
    return dict(images_kept=kept / total, boxes_exact=exact / boxes)


def memory(key: str) -> int:
    """A line of /proc/self/status in KiB: VmRSS now, VmHWM at most."""
    lines = Path('/proc/self/status').read_text(encoding='utf-8').splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1])


def child(tool: str, kind: str, folder: Path, out: Path, images: int) -> None:
    """Convert and print one row; what a tool says goes to stderr."""
    print_to, sys.stdout = sys.stdout, sys.stderr
    convert = globals()[f'by_{tool}']
    with tempfile.TemporaryDirectory() as warm:
        # The imports are not counted: a set of 20 images first.
        write(Path(warm, 'set'), kind, 20)
        Path(warm, 'out').mkdir()
        convert(kind, Path(warm, 'set'), Path(warm, 'out'))
    before = memory('VmRSS')
    Path('/proc/self/clear_refs').write_text(
        '5', encoding='utf-8'
    )  # Linux: the peak counts from here
    started = time.perf_counter()
    path = convert(kind, folder, out)
    seconds = time.perf_counter() - started
    peak = memory('VmHWM') - before
    again = None
    if tool == 'selnext_mm':
        started = time.perf_counter()
        convert(kind, folder, out)
        again = round(time.perf_counter() - started, 2)
    row = dict(tool=tool, format=kind, seconds=round(seconds, 2), peak_mb=round(peak / 1024))
    row |= {k: round(v, 4) for k, v in compare(path, images).items()}
    row |= dict(again_seconds=again, version=version(tool))
    print(json.dumps(row), file=print_to)


def table(rows: list[dict]) -> str:
    head = '| tool | format | seconds | found again, s | peak MB | images kept | boxes exact |'
    lines = [head, '|---' * 7 + '|']
    for r in rows:
        if 'error' in r:
            lines.append(f'| {r["tool"]} | {r["format"]} | {r["error"]} | | | | |')
            continue
        again = '' if r['again_seconds'] is None else r['again_seconds']
        lines.append(
            f'| {r["tool"]} {r["version"]} | {r["format"]} | {r["seconds"]} | {again} | '
            f'{r["peak_mb"]} | {r["images_kept"]:.1%} | {r["boxes_exact"]:.1%} |'
        )
    return '\n'.join(lines)


def measure(images: int, kinds, tools, python: str) -> list[dict]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            write(Path(folder, kind), kind, images)
            for tool in tools:
                out = Path(folder, 'out', tool, kind)
                out.mkdir(parents=True)
                own = tool == 'selnext_mm'
                command = [sys.executable if own else python, __file__, '--child', tool, kind]
                command += [str(Path(folder, kind)), str(out), '--images', str(images)]
                result = subprocess.run(command, capture_output=True, text=True)
                if result.returncode:
                    last = result.stderr.strip().splitlines()[-1][:200]
                    rows.append(dict(tool=tool, format=kind, error=last))
                else:
                    rows.append(json.loads(result.stdout.splitlines()[-1]))
                print(json.dumps(rows[-1]), file=sys.stderr)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', type=int, default=2000)
    parser.add_argument('--formats', nargs='+', choices=KINDS, default=KINDS)
    parser.add_argument('--tools', nargs='+', choices=TOOLS, default=TOOLS[:1])
    parser.add_argument('--python', default=sys.executable, help='that has the other tools')
    parser.add_argument('--out', help='write the result as JSON')
    parser.add_argument('--show', metavar='FILE', help='print the table of a result, and no more')
    parser.add_argument('--child', nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.images < 20:
        parser.error('--images: 20 or more')
    if args.child:
        tool, kind, folder, out = args.child
        child(tool, kind, Path(folder), Path(out), args.images)
        return
    if args.show:
        print(table(json.loads(Path(args.show).read_text(encoding='utf-8'))['rows']))
        return

    from selnext_mm.analysis.machine import machine

    rows = measure(args.images, args.formats, args.tools, args.python)
    command = f'benchmarks/label_formats.py --images {args.images}'
    if tuple(args.tools) != TOOLS[:1]:
        command += f' --tools {" ".join(args.tools)} --python PY'
    report = dict(command=command, images=args.images, machine=machine(), rows=rows)
    print(table(rows))
    if args.out:
        Path(args.out).write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
