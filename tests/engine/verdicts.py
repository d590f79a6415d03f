"""The three verdicts on an annotation file: of check-data, of a training, of a test."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from mmdet.models.detectors.base import BaseDetector
from mmdet.structures import SampleList
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch import nn

from selnext_mm import Session, UserError
from selnext_mm.datasets.check.config import check_config
from selnext_mm.datasets.check.findings import table_lines
from selnext_mm.datasets.check.image_files import check_images
from selnext_mm.datasets.object_counts import count_objects
from selnext_mm.evaluation.coco_scores import evaluate
from selnext_mm.inference.categories import find_ids
from selnext_mm.visualization.panel import load_annotations
from tests.datasets.check.coco_samples import CLASSES
from tests.engine.both_runners import LOAD, RESIZE, common, loader
from tests.engine.spoilt_annotations import content

META = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
PACK = dict(type='PackDetInputs', meta_keys=META)


@MODELS.register_module()
class FixedDetector(BaseDetector):
    """Finds in every image what the sound file says is there, and learns one number."""

    def __init__(self, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.weight = nn.Parameter(torch.ones(1))
        self.truth = {}
        made = content()
        for a in made['annotations']:
            if not a['iscrowd']:
                self.truth.setdefault(f'{a["image_id"]}.jpg', []).append(a)

    def loss(self, batch_inputs, batch_data_samples):
        found = [s.gt_instances for s in batch_data_samples]
        size = sum(f.bboxes.sum() for f in found)
        size = size + sum(f.masks.areas.sum() for f in found if 'masks' in f)
        return dict(loss=self.weight.mean() * size * 1e-4)

    def predict(self, batch_inputs, batch_data_samples) -> SampleList:
        for sample in batch_data_samples:
            height, width = sample.ori_shape
            found = self.truth.get(Path(sample.img_path).name, [])
            boxes = torch.tensor([a['bbox'] for a in found], dtype=torch.float).reshape(-1, 4)
            masks = torch.zeros(len(found), height, width, dtype=torch.bool)
            for mask, a in zip(masks, found, strict=True):
                x, y, w, h = a['bbox']
                mask[y : y + h, x : x + w] = True
            boxes[:, 2:] += boxes[:, :2]
            labels = torch.tensor([a['category_id'] - 10 for a in found], dtype=torch.long)
            sample.pred_instances = InstanceData(
                bboxes=boxes, scores=torch.full((len(found),), 0.9), labels=labels, masks=masks
            )
        return batch_data_samples

    def _forward(self, batch_inputs, batch_data_samples=None):
        return batch_inputs

    def extract_feat(self, batch_inputs):
        return batch_inputs


def config(folder: Path, model: dict, masks: bool, scored: bool) -> Config:
    """Two iterations on a.json; validation and test on it, too, or on the sound file."""
    load = [LOAD[0], dict(LOAD[1], with_mask=masks)]
    truth = 'a.json' if scored else 'sound.json'
    data = dict(
        type='CocoDataset',
        data_root=str(folder),
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=CLASSES),
    )
    pipeline = [load[0], RESIZE, load[1], PACK]
    val = loader(dict(data, ann_file=truth, pipeline=pipeline, test_mode=True))
    kinds = ['bbox', 'segm'] if masks else ['bbox']
    metric = dict(type='CocoMetric', ann_file=str(folder / truth), metric=kinds)
    parts = common()
    parts['train_cfg'] = dict(type='IterBasedTrainLoop', max_iters=2, val_interval=2)
    parts['default_hooks']['checkpoint'] = dict(type='CheckpointHook', interval=-1)
    return Config(
        dict(
            **parts,
            default_scope='mmdet',
            log_level='ERROR',
            model=model,
            train_dataloader=loader(
                dict(data, ann_file='a.json', pipeline=[*load, RESIZE, PACK]), shuffle=True
            ),
            val_dataloader=val,
            test_dataloader=copy.deepcopy(val),
            val_evaluator=metric,
            test_evaluator=dict(metric),
        )
    )


@dataclass
class Verdict:
    """What is said of a file; None where it is taken."""

    check: str | None
    train: str | None
    test: str | None
    found: list
    metrics: dict
    learns: int | None = None
    used: int | None = None
    total: int | None = None


class Judge:
    """A folder with three images and a config over them; judges annotation files.

    Args:
        folder: an empty one.
        model: what is trained; None takes the fixed one.
        masks: of which masks are loaded and scored, too.
        scored: False judges them as training sets alone.
    """

    def __init__(self, folder: Path, model: dict | None = None, masks=True, scored=True):
        self.folder, self.masks, self.evaluates = folder, masks, scored
        folder.mkdir(exist_ok=True)
        (folder / 'sound.json').write_text(json.dumps(content()))
        images = folder / 'images'
        (images / 'folder').mkdir(parents=True)
        (images / 'text.jpg').write_text('no image')
        generator = np.random.default_rng(0)
        for i in (1, 2, 3):
            picture = generator.integers(0, 255, (80, 100, 3), np.uint8)
            cv2.imwrite(str(images / f'{i}.jpg'), picture)
        prepare = dict(type='DetDataPreprocessor', pad_mask=masks, pad_size_divisor=32)
        fixed = dict(type='FixedDetector', data_preprocessor=prepare)
        self.cfg = config(folder, model or fixed, masks, scored)
        self.fixed = config(folder, fixed, masks, scored)
        self.checkpoint = folder / 'fixed.pth'
        meta = dict(dataset_meta=dict(classes=CLASSES))
        torch.save(dict(state_dict=dict(weight=torch.ones(1)), meta=meta), self.checkpoint)

    def __call__(self, data: bytes) -> Verdict:
        (self.folder / 'a.json').write_bytes(data)
        check, reports = self.check()
        train, learns = self.train()
        test, metrics = self.test() if self.evaluates else (check, {})
        for read in (self.read_for_predict, load_annotations, count_objects):
            try:
                read(self.folder / 'a.json')
            except UserError:
                assert check, f'{read.__name__} refuses what check-data takes'
        if check is None and self.evaluates:
            metrics |= self.scored(metrics)
        first = reports[0] if reports else None
        return Verdict(
            check,
            train,
            test,
            [f for r in reports for f in r.findings],
            metrics,
            learns,
            first and first.used,
            first and first.objects,
        )

    def check(self):
        try:
            reports = check_config(copy.deepcopy(self.cfg))
        except UserError as error:
            return str(error), []
        # A training alone skips what an evaluation needs.
        for report in reports if self.evaluates else ():
            check_images(report, workers=1)
        lines = [line for _, line in table_lines(reports)]
        assert all(line.isprintable() or not line for line in lines), lines
        json.dumps([r.as_dict() for r in reports])
        errors = [f.sentence() for r in reports for f in r.errors]
        return '; '.join(errors) or None, reports

    def train(self):
        session = Session(self.cfg, work_dir=self.folder / 'work')
        try:
            session.train()
        except UserError as error:
            return str(error), None
        return None, learnt(session.runner)

    def test(self, fast=False):
        session = Session(self.fixed, work_dir=self.folder / 'work')
        try:
            found = session.test(self.checkpoint, fast_eval=fast, out=self.folder / 'out.json')
        except UserError as error:
            return str(error), {}
        return None, {key.removeprefix('coco/'): value for key, value in found.items()}

    def read_for_predict(self, path):
        return find_ids(self.cfg, CLASSES, path)

    def scored(self, metrics):
        """The AP of the same predictions by faster-coco-eval, and as a report computes it."""
        others = {f'fast {key}': value for key, value in self.test(fast=True)[1].items()}
        truth = load_annotations(self.folder / 'a.json')
        for kind in ('bbox', 'segm') if self.masks else ('bbox',):
            results = json.loads((self.folder / f'out.{kind}.json').read_text())
            score = evaluate(truth, results, kind, list(CLASSES)).summary['AP']
            others[f'report {kind}_mAP'] = -1 if score is None else score
        return others


def learnt(runner) -> int | None:
    """Objects that the training learns from, as its own transforms count them.

    None if an image cannot be read, which a training skips.
    """
    dataset = runner.train_dataloader.dataset
    count = 0
    for i in range(len(dataset)):
        results = dataset.get_data_info(i)
        for transform in dataset.pipeline.transforms[:2]:
            results = transform(results)
            if results is None:
                return None
        count += int((~results['gt_ignore_flags']).sum())
    return count


def problems(verdict: Verdict, judge: Judge) -> str:
    """What is wrong with a verdict: one of the commands says else, or data are dropped silently."""
    v, wrong = verdict, []
    for name, said in {'train': v.train, **({'test': v.test} if judge.evaluates else {})}.items():
        if (said is None) != (v.check is None):
            wrong.append(f'check-data says {v.check!r}, {name} says {said!r}')
        named = said and str(judge.folder) in said
        if said and not (named and said.isprintable()):
            wrong.append(f'{name} does not name the file in one line: {said!r}')
    if v.check is None and v.train is None:
        if v.learns not in (None, v.used):
            wrong.append(f'check-data says {v.used} objects are used, training uses {v.learns}')
        kinds = ('bbox', 'segm') if judge.masks else ('bbox',)
        for kind in kinds if judge.evaluates else ():
            scores = [v.metrics[f'{who}{kind}_mAP'] for who in ('', 'fast ', 'report ')]
            if max(scores) - min(scores) > 1e-3:
                wrong.append(f'the {kind} AP is {scores}')
        if v.used < v.total and not v.found:
            wrong.append(f'{v.used} of {v.total} objects are used, and nothing is said')
    return '; '.join(wrong)
