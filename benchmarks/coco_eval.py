#!/usr/bin/env python3
"""How much sooner faster-coco-eval is done than pycocotools, on the same predictions.

    benchmarks/coco_eval.py --ann instances_val2017.json --results results.segm.json
    benchmarks/coco_eval.py --synthetic 5000

The two evaluators take turns; every turn gives one ratio of their times. In the first turn their
precisions, recalls and scores are compared. ``--synthetic`` makes a set of COCO's proportions and
predictions for it. ``--copies`` evaluates the images several times
under other ids, to reach the size of a larger set: images, objects and predictions multiply.
``--detections`` fills up every image to that many predictions with boxes of low score, as a
detector does that returns its 100 best. Timed is what mmdet's CocoMetric waits for: loading the
results, evaluate, accumulate, summarize.
"""

import argparse
import contextlib
import copy
import io
import json
import statistics
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from selnext_mm.analysis.machine import machine
from selnext_mm.evaluation.faster_coco import evaluator_class

MAX_DETECTIONS = [100, 300, 1000]  # mmdet's


def polygon(rng: np.random.Generator, box: list[float]) -> list[float]:
    """Twelve corners on an uneven ellipse in ``box`` (x, y, w, h)."""
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    radius = rng.uniform(0.7, 1, 12) / 2
    x = box[0] + box[2] * (0.5 + radius * np.cos(angle))
    y = box[1] + box[3] * (0.5 + radius * np.sin(angle))
    return np.stack([x, y], 1).round(1).ravel().tolist()


def synthesize(images: int, classes: int = 80, extra: int = 30) -> tuple[dict, list[dict]]:
    """A set of COCO's proportions and predictions for it, the same in every call.

    7.3 objects in an image of 640 x 480, most of them small; of the objects 85 % are found, their
    box moved, one of ten under another class; ``extra`` predictions of low score in every image.
    """
    rng = np.random.default_rng(0)
    width, height = 640, 480
    content = dict(
        images=[dict(id=i + 1, width=width, height=height) for i in range(images)],
        categories=[dict(id=c + 1, name=f'class {c + 1}') for c in range(classes)],
        annotations=[],
    )
    results = []

    def somewhere() -> list[float]:
        size = np.exp(rng.normal(4.2, 0.9, 2)).clip(6, (width, height))
        corner = rng.uniform(0, 1, 2) * ((width, height) - size)
        return [float(v) for v in (*corner, *size)]

    def predict(image: int, category: int, box: list[float], score: float) -> None:
        (rle,) = mask_utils.frPyObjects([polygon(rng, box)], height, width)
        rle['counts'] = rle['counts'].decode()
        row = dict(image_id=image, category_id=category, bbox=box, score=score, segmentation=rle)
        results.append(row)

    for image in range(1, images + 1):
        for _ in range(rng.poisson(7.3)):
            box, category = somewhere(), int(rng.integers(1, classes + 1))
            content['annotations'].append(
                dict(
                    id=len(content['annotations']) + 1,
                    image_id=image,
                    category_id=category,
                    iscrowd=0,
                    area=0.7 * box[2] * box[3],
                    bbox=box,
                    segmentation=[polygon(rng, box)],
                )
            )
            if rng.random() < 0.85:
                shift = rng.normal(0, 0.06, 4) * (box[2:] * 2)
                moved = [float(v) for v in np.maximum(box + shift, (0, 0, 4, 4))]
                other = rng.random() < 0.1
                guess = int(rng.integers(1, classes + 1)) if other else category
                predict(image, guess, moved, float(rng.random() ** 0.5))
        for _ in range(extra):
            category = int(rng.integers(1, classes + 1))
            predict(image, category, somewhere(), float(rng.uniform(0, 0.3)))
    return content, results


def multiply(content: dict, results: list[dict], copies: int) -> tuple[dict, list[dict]]:
    """The data set and the results ``copies`` times, each under new image ids."""
    step = max(i['id'] for i in content['images']) + 1
    content = dict(content)
    images, annotations, more = [], [], []
    for k in range(copies):
        images += [dict(i, id=i['id'] + k * step) for i in content['images']]
        for a in content['annotations']:
            new = dict(a, id=len(annotations) + 1, image_id=a['image_id'] + k * step)
            annotations.append(new)
        more += [dict(r, image_id=r['image_id'] + k * step) for r in results]
    return dict(content, images=images, annotations=annotations), more


def fill(content: dict, results: list[dict], number: int) -> list[dict]:
    """At least ``number`` predictions in every image, the new ones small and of low score."""
    rng = np.random.default_rng(0)
    count = dict.fromkeys((i['id'] for i in content['images']), 0)
    for r in results:
        count[r['image_id']] += 1
    categories = [c['id'] for c in content['categories']]
    masks = any('segmentation' in r for r in results)
    filled = list(results)
    for image in content['images']:
        for _ in range(number - count[image['id']]):
            w, h = rng.uniform(8, np.array([image['width'], image['height']]) / 3 + 8)
            x, y = rng.uniform(0, 1, 2) * (image['width'] - w, image['height'] - h)
            box = [float(max(0, v)) for v in (x, y, w, h)]
            new = dict(
                image_id=image['id'],
                category_id=int(rng.choice(categories)),
                bbox=box,
                score=float(rng.uniform(0, 0.05)),
            )
            if masks:
                (rle,) = mask_utils.frPyObjects(np.array([box]), image['height'], image['width'])
                new['segmentation'] = dict(rle, counts=rle['counts'].decode())
            filled.append(new)
    return filled


def evaluate(cls: type, truth: COCO, results: list[dict], kind: str):
    """(seconds, evaluation) of one run as mmdet's CocoMetric does it."""
    results = copy.deepcopy(results)
    started = time.perf_counter()
    if kind == 'segm':
        for r in results:
            r.pop('bbox')
    run = cls(truth, truth.loadRes(results), kind)
    run.params.maxDets = list(MAX_DETECTIONS)
    run.evaluate()
    run.accumulate()
    run.summarize()
    return time.perf_counter() - started, run


def measure(truth: COCO, results: list[dict], kind: str, turns: int) -> dict:
    fast = evaluator_class()
    times = {COCOeval: [], fast: []}
    for turn in range(turns):
        runs = {}
        for cls in (COCOeval, fast) if turn % 2 else (fast, COCOeval):
            seconds, run = evaluate(cls, truth, results, kind)
            times[cls].append(seconds)
            runs[cls] = run.eval
            stats = run.stats
            del run  # of a large set, gigabytes
        if turn == 0:
            for key in ('precision', 'recall', 'scores'):
                np.testing.assert_allclose(runs[fast][key], runs[COCOeval][key], rtol=0, atol=1e-12)
    ratios = sorted(a / b for a, b in zip(times[COCOeval], times[fast], strict=True))
    return dict(
        kind=kind,
        mAP=round(float(stats[0]), 4),
        pycocotools_s=round(statistics.median(times[COCOeval]), 3),
        faster_coco_eval_s=round(statistics.median(times[fast]), 3),
        ratio=round(statistics.median(ratios), 2),
        ratio_range=[round(ratios[0], 2), round(ratios[-1], 2)],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--ann', help='COCO instances file')
    parser.add_argument('--results', help='what tools/test.py --out writes')
    parser.add_argument('--synthetic', type=int, metavar='IMAGES', help='in place of both')
    parser.add_argument('--kinds', nargs='+', default=['bbox', 'segm'], choices=['bbox', 'segm'])
    parser.add_argument('--copies', type=int, default=1)
    parser.add_argument('--detections', type=int, default=0)
    parser.add_argument('--turns', type=int, default=5)
    parser.add_argument('--out', help='write the result as JSON')
    args = parser.parse_args()
    if bool(args.ann and args.results) == bool(args.synthetic) or args.turns < 1:
        parser.error('give --ann and --results, or --synthetic; and one turn or more')
    if args.synthetic:
        content, results = synthesize(args.synthetic)
    else:
        content, results = (
            json.loads(Path(p).read_text(encoding='utf-8')) for p in (args.ann, args.results)
        )
    results = fill(content, results, args.detections)
    content, results = multiply(content, results, args.copies)
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet):
        truth = COCO()
        truth.dataset = content
        truth.createIndex()
        rows = [measure(truth, results, kind, args.turns) for kind in args.kinds]
    source = f'--synthetic {args.synthetic}' if args.synthetic else f'--ann {Path(args.ann).name}'
    command = f'benchmarks/coco_eval.py {source} --copies {args.copies} '
    report = dict(
        command=f'{command}--detections {args.detections} --turns {args.turns}',
        images=len(content['images']),
        objects=len(content['annotations']),
        predictions=len(results),
        turns=args.turns,
        machine=machine(),
        software={n: version(n) for n in ('pycocotools', 'faster-coco-eval', 'numpy')},
        rows=rows,
    )
    print(json.dumps(report, indent=2))
    if args.out:
        Path(args.out).write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
