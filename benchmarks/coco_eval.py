#!/usr/bin/env python3
"""How much sooner faster-coco-eval is done than pycocotools, on the same predictions.

    benchmarks/coco_eval.py --ann instances_val2017.json --results results.segm.json

The two evaluators take turns; every turn gives one ratio of their times. Before the first turn
their precisions, recalls and scores are compared. ``--copies`` evaluates the images several times
under other ids, to reach the size of a larger set: pictures, objects and predictions multiply.
``--detections`` fills up every picture to that many predictions with boxes of low score, as a
detector does that returns its 100 best. Timed is what mmdet's CocoMetric waits for: loading the
results, evaluate, accumulate, summarize.
"""

import argparse
import contextlib
import copy
import io
import json
import platform
import statistics
import time
from pathlib import Path

import numpy as np
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from selnext_mm.engine.faster_coco import evaluator_class

MAX_DETECTIONS = [100, 300, 1000]  # mmdet's


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
    """At least ``number`` predictions in every picture, the new ones small and of low score."""
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
    runs = {cls: evaluate(cls, truth, results, kind)[1] for cls in times}
    for key in ('precision', 'recall', 'scores'):
        np.testing.assert_allclose(
            runs[fast].eval[key], runs[COCOeval].eval[key], rtol=0, atol=1e-12
        )
    for turn in range(turns):
        for cls in (COCOeval, fast) if turn % 2 else (fast, COCOeval):
            times[cls].append(evaluate(cls, truth, results, kind)[0])
    ratios = sorted(a / b for a, b in zip(times[COCOeval], times[fast], strict=True))
    return dict(
        kind=kind,
        mAP=round(float(runs[fast].stats[0]), 4),
        pycocotools_s=round(statistics.median(times[COCOeval]), 3),
        faster_coco_eval_s=round(statistics.median(times[fast]), 3),
        ratio=round(statistics.median(ratios), 2),
        ratio_range=[round(ratios[0], 2), round(ratios[-1], 2)],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--ann', required=True, help='COCO instances file')
    parser.add_argument('--results', required=True, help='what tools/test.py --out writes')
    parser.add_argument('--kinds', nargs='+', default=['bbox', 'segm'], choices=['bbox', 'segm'])
    parser.add_argument('--copies', type=int, default=1)
    parser.add_argument('--detections', type=int, default=0)
    parser.add_argument('--turns', type=int, default=5)
    parser.add_argument('--out', help='write the result as JSON')
    args = parser.parse_args()
    content = json.loads(Path(args.ann).read_text())
    results = fill(content, json.loads(Path(args.results).read_text()), args.detections)
    content, results = multiply(content, results, args.copies)
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet):
        truth = COCO()
        truth.dataset = content
        truth.createIndex()
        rows = [measure(truth, results, kind, args.turns) for kind in args.kinds]
    import faster_coco_eval

    report = dict(
        command=f'benchmarks/coco_eval.py --copies {args.copies} --detections {args.detections}',
        images=len(content['images']),
        objects=len(content['annotations']),
        predictions=len(results),
        turns=args.turns,
        machine=platform.processor() or platform.machine(),
        faster_coco_eval=faster_coco_eval.__version__,
        rows=rows,
    )
    print(json.dumps(report, indent=2))
    if args.out:
        Path(args.out).write_text(json.dumps(report, indent=2) + '\n')


if __name__ == '__main__':
    main()
