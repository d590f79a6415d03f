"""The table of bad input: what a user types or has, and what the message has to say.

A case is (command line, words of the message, preparation). In the command line DATA, CKPT and
CFG stand for a sound data set, checkpoint and config; ``preparation`` makes the files that the case
needs, in the empty folder that it runs in.
"""

import io
import json
import os
import pickle
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

CFG = 'mask_rcnn/selnext_atto_shapes.py'
CLS = 'cls/selnext_t_in1k.py'
ANN = 'annotations/instances_train2017.json'


@dataclass
class Case:
    line: str
    words: tuple[str, ...]
    prepare: object = None  # called with the Room
    env: tuple[tuple[str, str], ...] = ()


@dataclass
class Room:
    """The folder of a case, and the sound things that it may spoil copies of."""

    path: Path
    data: Path
    checkpoint: Path

    def write(self, name, content=b''):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def copy_data(self):
        """A copy of the data set as ``mine``; its training annotations."""
        shutil.copytree(self.data, self.path / 'mine')
        return json.loads((self.path / 'mine' / ANN).read_text())

    def put(self, content):
        (self.path / 'mine' / ANN).write_text(json.dumps(content))


class Hostile:
    """Unpickling this makes the file ``planted`` in the working folder."""

    def __reduce__(self):
        return (open, ('planted', 'w'))


def config(text, name='mine.py'):
    return lambda room: room.write(name, text)


def inherits(text):
    return config(f"_base_ = 'selnext_mm::{CFG}'\n{text}\n")


def spoil(change):
    """A data set ``mine`` with ``change`` applied to its training annotations."""

    def prepare(room):
        content = room.copy_data()
        room.put(change(content) or content)

    return prepare


def spoil_file(content, name=ANN):
    def prepare(room):
        room.copy_data()
        room.write(f'mine/{name}', content)

    return prepare


def unlabel(room):
    """The validation set, which the config tests on, with an empty list of annotations."""
    content = room.copy_data()
    content['annotations'] = []
    room.write(f'mine/{ANN.replace("train", "val")}', json.dumps(content))


def each(key, value):
    def change(content):
        for a in content['annotations']:
            a[key] = value(a) if callable(value) else value

    return spoil(change)


def rename(content):
    content['categories'][1]['name'] = 'sqaure'


def swap(content):
    content['categories'].reverse()


def twice(content):
    content['annotations'].append(content['annotations'][0])


def to_corners(a):
    x, y, w, h = a['bbox']
    return [x, y, x + w, y + h]


def lose(split, count):
    def prepare(room):
        room.copy_data()
        for path in sorted((room.path / 'mine' / f'{split}2017').iterdir())[:count]:
            path.unlink()

    return prepare


def checkpoint(make, name='w.pth'):
    return lambda room: room.write(name, make(room))


def saved(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def hostile(room):
    return saved({'state_dict': {'a': torch.zeros(1)}, 'meta': Hostile()})


def truncated(room):
    data = room.checkpoint.read_bytes()
    return data[: len(data) // 2]


def bomb(room):
    buffer = io.BytesIO(saved({'a': torch.zeros(1)}))
    with zipfile.ZipFile(buffer, 'a', zipfile.ZIP_DEFLATED) as file:
        file.writestr('archive/data/9', bytes(50_000_000))
    return buffer.getvalue()


def other_classes(room):
    content = torch.load(room.checkpoint, weights_only=True)
    state = content['state_dict']
    for key in [k for k in state if 'fc_cls' in k]:
        state[key] = torch.zeros(81, *state[key].shape[1:])
    return saved(content)


def weights_only(room):
    content = torch.load(room.checkpoint, weights_only=True)
    return saved({'state_dict': content['state_dict']})


def two_classes(room):
    for path in ('train/a', 'train/b', 'val/a', 'val/c'):
        room.write(f'mine/{path}/1.jpg', b'x')


def pictures(room):
    room.write('pictures/1.jpg', b'no image')


def one_picture(room):
    source = sorted((room.data / 'val2017').iterdir())[0]
    room.write('pictures/1.jpg', source.read_bytes())


OPT = '--cfg-options'
T = f'train {CFG} --data-root DATA'
MINE = f'train {CFG} --data-root mine'
E = f'test {CFG} CKPT --data-root DATA'
LOOK = f'check-data {CFG} --data-root'
PREDICT = f'predict {CFG} CKPT pictures --out out'
FEATURES = f'feature-distance {CFG} --images pictures --out a.png'

INNER = """dict(type='CocoDataset', data_root='{}',
    ann_file='annotations/instances_train2017.json', data_prefix=dict(img='train2017/'),
    pipeline=[dict(type='LoadImageFromFile'),
              dict(type='LoadAnnotations', with_bbox=True, with_mask=True)])"""
MOSAIC = f"""
train_dataloader = dict(dataset=dict(_delete_=True, type='MultiImageMixDataset',
    dataset={INNER.format('a')},
    pipeline=[dict(type='Mosaic', img_scale=(64, 64)), dict(type='PackDetInputs')]))
"""
TWO_FOLDERS = f"""
train_dataloader = dict(dataset=dict(_delete_=True, type='ConcatDataset',
    datasets=[{INNER.format('a')}, {INNER.format('b')}]))
"""

ARGUMENTS = {
    'unknown command': Case('trian x.py', ("'trian'", 'did you mean train', 'choose from')),
    'no config': Case('train', ('selnext-mm train: error', 'CONFIG', '--data DIR')),
    'options without a config': Case('train --epochs 3', ('selnext-mm train: error', '--data DIR')),
    'test of nothing': Case('test', ('selnext-mm test: error', 'CONFIG, CHECKPOINT')),
    'unknown option': Case(f'{T} --lr 3', ('--lr',)),
    'misspelt option': Case(f'{T} --tensorbord', ('--tensorbord', 'did you mean --tensorboard')),
    'shortened option': Case(f'{T} --tensor', ('--tensor',)),
    'option without a value': Case(f'{T} {OPT} lr', ('--cfg-options', 'key=value', 'lr')),
    'dict without quotes': Case(
        f'{T} {OPT} custom_hooks=[dict(type=EMAHook,begin_epoch=1)]', ('--cfg-options', 'brackets')
    ),
    'option into a list': Case(f'{T} {OPT} param_scheduler.9.end=1', ('--cfg-options', '9')),
    'option into a number': Case(f'{T} {OPT} train_cfg.max_epochs.x=1', ('--cfg-options',)),
    'unknown launcher': Case(f'{T} --launcher ssh', ('ssh', 'pytorch')),
    'launcher without torchrun': Case(f'{T} --launcher pytorch', ('RANK', 'dist_train.sh')),
    'local rank': Case(f'{T} --local-rank x', ('local-rank', "'x'")),
    'test without a checkpoint': Case(f'test {CFG}', ('CHECKPOINT',)),
    'results of unknown kind': Case(f'{E} --out a.txt', ('a.txt', '.json or .pkl')),
    'results into a file as folder': Case(
        f'{E} --out file/a.json', ('--out', 'file is a file'), config('', 'file')
    ),
    'images into a file as folder': Case(
        f'{E} --show-dir file', ('file', 'folder'), config('', 'file')
    ),
    'work dir is a file': Case(f'{T} --work-dir file', ('file', '--work-dir'), config('', 'file')),
    'class-wise without classes': Case(
        f'test {CLS} CKPT --data-root DATA --classwise', ('--classwise', 'CocoMetric')
    ),
    'lr without a batch': Case(
        'train mine.py --auto-scale-lr', ('base_batch_size',), inherits('auto_scale_lr = None')
    ),
    'convert from nobody': Case('convert a b --from me', ('me', 'selnext')),
    'convert into nothing': Case('convert a.pth b.onnx --from selnext', ('.onnx', '.safetensors')),
    'convert nothing': Case('convert a.pth b.pth --from selnext', ('a.pth', 'no such file')),
    'tiny images': Case('make-shapes new --size 8', ('size=8', '64 to 1024')),
    'no epochs': Case(f'{T} --epochs 0', ('--epochs 0', '1 or more')),
    'a size of text': Case(f'{T} --image-size big', ('--image-size', 'invalid int')),
    'weights that are not there': Case(f'{T} --weights no.pth', ('no.pth', 'no such file')),
    'a share of a config': Case(f'{T} --val 0.2', ('--val 0.2', '--data', 'val_dataloader')),
    'stages of a config': Case(
        f'{T} --freeze 2', ('--freeze 2 is for --data', 'model.backbone.frozen_stages=N')
    ),
    'mixing for a config': Case(f'{T} --mix', ('--mix is for --data', 'dataset.pipeline')),
    'scales for a config': Case(f'{T} --multi-scale', ('--multi-scale is for --data', 'pipeline')),
    'norm of a config': Case(
        f'{T} --clip-grad 1', ('--clip-grad 1 is for --data', 'clip_grad.max_norm=NORM')
    ),
    'decay of a config': Case(f'{T} --weight-decay 0', ('--weight-decay 0', 'weight_decay=RATE')),
    'no images': Case('make-shapes new --train 0', ('train=0',)),
    'folder in use': Case('make-shapes used', ('used', 'not empty'), config('x', 'used/notes.txt')),
    'number of images': Case(f'{FEATURES} --num 0', ('--num 0', '1 or more')),
    'device that is not there': Case(f'{FEATURES} --device cuda:77', ('cuda:77',), pictures),
    'device of no kind': Case(f'{FEATURES} --device gpu', ('--device gpu',), pictures),
    'score above one': Case(
        'panel --ann a --images . --results r --out a.png --score-thr 2', ('--score-thr 2',)
    ),
    'threads': Case(f'{LOOK} DATA --workers 0', ('--workers 0',)),
    'report into a missing folder': Case(f'{LOOK} DATA --json no/a.json', ('no/a.json', 'folder')),
    'report onto a full disk': Case(f'{LOOK} DATA --json /dev/full', ('/dev/full', 'No space')),
    'table onto a full disk': Case(
        f'complexity {CFG} --json /dev/full', ('/dev/full', 'No space left')
    ),
    'report into a folder': Case(f'{LOOK} DATA --json .', ('--json .',)),
    'option of predict without a value': Case(
        f'{PREDICT} {OPT} lr', ('--cfg-options', 'key=value')
    ),
    'published folder that is not there': Case(
        'predict weights/bccd weights/a.jpg --out out',
        ('there is no weights/bccd in ', 'neither a file nor a folder'),
    ),
    'published folder that is not there, and many images': Case(
        'predict weights/bccd a.jpg b.jpg --out out', ('there is no weights/bccd in ',)
    ),
    'prediction by a folder of images': Case(
        'predict pictures a.jpg --out out',
        ('pictures is a folder without a config.py', 'selnext-mm publish'),
        pictures,
    ),
    'prediction by a published folder without weights': Case(
        'predict run1 a.jpg --out out',
        ('run1 has a config and no model.safetensors', 'publish it again'),
        config('x', 'run1/config.py'),
    ),
    'prediction without a checkpoint': Case(
        f'predict {CFG} a.jpg --out out',
        (f'{CFG} and a.jpg are two of three', 'a folder of "selnext-mm publish"'),
    ),
    'prediction by a config and an exported file': Case(
        'predict run1/config.py m.onnx a.jpg --out out',
        ('m.onnx needs no config: leave out run1/config.py', 'selnext-mm predict m.onnx IMAGES'),
    ),
    'prediction by a config, a checkpoint and an exported file': Case(
        f'predict {CFG} CKPT m.xml --out out', ('m.xml needs no config: leave out', CFG)
    ),
    'prediction by two exported files': Case(
        'predict m.onnx n.xml a.jpg --out out', ('m.onnx and n.xml are two models',)
    ),
    'prediction with the image first': Case(
        'predict a.JPG m.onnx --out out', ('a.JPG is an image; give the model first',)
    ),
    'prediction by a damaged file': Case(
        'predict m.onnx pictures --out out',
        ('onnxruntime cannot read m.onnx', 'fetch or copy it again', 'selnext-mm export'),
        lambda room: (one_picture(room), room.write('m.onnx', b'\x08\x08\x12')),
    ),
    'score of predict above one': Case(f'{PREDICT} --score-thr 2', ('--score-thr 2',)),
    'prediction of nothing': Case(PREDICT, ('pictures: no such file or folder',)),
    'predictions into a file': Case(
        PREDICT, ('out',), lambda room: (one_picture(room), room.write('out'))
    ),
    'export of a config alone': Case(
        f'export {CFG} --to onnx --out m.onnx', ('alone is no model', 'CONFIG and CHECKPOINT')
    ),
    'export of an exported file': Case(
        'export m.onnx --out k.onnx',
        ('m.onnx is an exported file already', 'selnext-mm predict m.onnx'),
    ),
    'export of a checkpoint alone': Case(
        'export epoch_3.pth --out k.onnx', ('epoch_3.pth is a checkpoint', 'CONFIG epoch_3.pth')
    ),
    'export of what is not there': Case('export gone --out k.onnx', ('there is no gone in',)),
    'openvino file without its weights': Case(
        'predict m.xml pictures --out out',
        ('m.xml: its weights, m.bin, are not there',),
        lambda room: (one_picture(room), room.write('m.xml', b'<net/>')),
    ),
    'export to an old set': Case(
        f'export {CFG} CKPT --to onnx --out m.onnx --opset 11', ('--opset 11', '18 to')
    ),
    'export to a set of the future': Case(
        f'export {CFG} CKPT --to onnx --out m.onnx --opset 99', ('--opset 99', '18 to')
    ),
    'export to no set': Case(
        f'export {CFG} CKPT --to onnx --out m.onnx --opset 0', ('--opset 0', '18 to')
    ),
    'export to a format of nobody': Case(
        f'export {CFG} CKPT --to tflite --out m.tflite', ('tflite', 'onnx')
    ),
    'report of nothing': Case('report nowhere', ('nowhere',)),
    'shape': Case(f'complexity {CFG} --shape 8 8', ('--shape 8 8', '32')),
    'images for the demo': Case('demo --images 0 10 --data d --work-dir w', ('--images 0',)),
}
CONFIGS = {
    'no such config': Case(
        'train mask_rcnn/selnext_t_3x.py', ('did you mean', 'selnext_t_3x_coco')
    ),
    'no config with that address': Case('train /nowhere/a.py', ('there is no /nowhere/a.py,',)),
    'no config of the package': Case(
        'train selnext_mm::mask_rcnn/selnext_t_3x.py',
        ('no config mask_rcnn/selnext_t_3x.py in the package', 'selnext_t_3x_coco'),
    ),
    'syntax error': Case(
        'train mine.py',
        ('mine.py', 'SyntaxError in line 2 (model = dict()'),
        config('\nmodel = dict('),
    ),
    'error in the code': Case('train mine.py', ('mine.py', 'ZeroDivision'), config('x = 1 / 0')),
    'exit in the code': Case('train mine.py', ('mine.py', 'Exit'), config('raise SystemExit(0)')),
    'binary': Case('train mine.py', ('mine.py', 'read'), config(b'\0\x93\xff')),
    'missing base': Case('train mine.py', ('none.py',), config("_base_ = './none.py'")),
    'missing package': Case('train mine.py', ('nowhere',), config("_base_ = 'nowhere::a/b.py'")),
    'text file': Case(
        'train mine.txt', ('mine.txt', '.py, .yaml or .json'), config('', 'mine.txt')
    ),
    'broken yaml': Case('train mine.yaml', ('mine.yaml', 'read'), config('a: [', 'mine.yaml')),
    'a base': Case('train _base_/coco_runtime.py', ('defines no model', 'inherits it')),
    'missing import': Case(
        'train mine.py',
        ('no_such_module',),
        config("custom_imports = dict(imports='no_such_module', allow_failed_imports=False)"),
    ),
    'no training part': Case(
        'train mine.py', ('train_dataloader',), config("model = dict(type='MaskRCNN')")
    ),
    'no test part': Case(
        'test mine.py CKPT', ('test_dataloader',), config("model = dict(type='MaskRCNN')")
    ),
    'mistyped backbone': Case(
        f'{T} {OPT} model.backbone.type=SELNext', ('SELNext', 'did you mean SELNeXt')
    ),
    'mistyped argument of a head': Case(
        f'{T} {OPT} model.roi_head.bbox_head.num_clases=6',
        ('num_clases', 'did you mean num_classes'),
    ),
    'unknown arch': Case(f'{T} {OPT} model.backbone.arch=huge', ('huge', 'tiny')),
    'arch without the neck': Case(
        f'{T} {OPT} model.backbone.arch=tiny',
        ('[40, 80, 160, 320]', 'neck.in_channels=[96,192,384,768]'),
    ),
    'neck without the heads': Case(
        f'{T} {OPT} model.neck.out_channels=32',
        ('model.rpn_head.in_channels=32', 'mask_roi_extractor.out_channels=32'),
    ),
    'unknown argument': Case(f'{T} {OPT} model.backbone.deep=1', ('SELNeXt', 'deep')),
    'mistyped argument': Case(
        f'{T} {OPT} model.backbone.archi=tiny', ("'archi' (did you mean arch?)",)
    ),
    'model of no kind': Case(
        'complexity mine.py', ('mine.py', 'Nothing'), config("model = dict(type='Nothing')")
    ),
    'mistyped optimizer': Case(
        f'{T} {OPT} optim_wrapper.optimizer.type=AdmaW', ("'AdmaW'", 'did you mean AdamW')
    ),
    'mistyped schedule': Case(f'{T} {OPT} param_scheduler.1.type=MultiStep', ('MultiStepLR',)),
    'mistyped transform': Case(
        f'{T} {OPT} train_dataloader.dataset.pipeline.2.type=RandomFilp',
        ('pipeline.2', 'RandomFlip'),
    ),
    'mistyped data set': Case(
        f'{T} {OPT} train_dataloader.dataset.type=CocoData', ("'CocoData'", 'CocoDataset')
    ),
    'mistyped hook': Case(
        'train mine.py --data-root DATA',
        ("'EmaHook'", 'EMAHook'),
        inherits("custom_hooks = [dict(type='EmaHook')]"),
    ),
    'mistyped metric': Case(f'{T} {OPT} val_evaluator.type=CocoMetrics', ('CocoMetric?',)),
    'batch of nothing': Case(
        f'{T} {OPT} train_dataloader.batch_size=0', ('train_dataloader.batch_size = 0', '1 or more')
    ),
    'workers below zero': Case(f'{T} {OPT} train_dataloader.num_workers=-1', ('num_workers = -1',)),
    'no epochs': Case(f'{T} {OPT} train_cfg.max_epochs=0', ('max_epochs = 0',)),
    'half an epoch': Case(f'{T} {OPT} train_cfg.max_epochs=0.5', ('max_epochs = 0.5', 'whole')),
    'lr in words': Case(f'{T} {OPT} optim_wrapper.optimizer.lr=fast', ("lr = 'fast'",)),
    'lr below zero': Case(f'{T} {OPT} optim_wrapper.optimizer.lr=-1', ('lr = -1',)),
    'mistyped argument of the optimizer': Case(
        f'{T} {OPT} optim_wrapper.optimizer.lrr=1',
        ('optim_wrapper.optimizer of', 'AdamW', "'lrr'", 'did you mean lr?'),
    ),
    'optimizer wrapper': Case(
        f'{T} {OPT} optim_wrapper.clip_gard.max_norm=1', ('optim_wrapper of', "'clip_gard'")
    ),
    'value of the optimizer': Case(
        f'{T} {OPT} optim_wrapper.optimizer.betas=2', ('optim_wrapper.optimizer of', 'betas=2')
    ),
    'mistyped argument of a schedule': Case(
        f'{T} {OPT} param_scheduler.0.start_facter=1',
        ('param_scheduler.0 of', 'did you mean start_factor?'),
    ),
    'value of a schedule': Case(
        f'{T} {OPT} param_scheduler.0.start_factor=3',
        ('param_scheduler.0 of', 'start_factor=3', 'factor should'),
    ),
    'end before the begin of a schedule': Case(
        f'{T} {OPT} param_scheduler.0.end=-1', ('param_scheduler.0 of', 'end=-1')
    ),
    'unknown metric': Case(
        f'{T} {OPT} val_evaluator.metric=foo', ('val_evaluator of', "'segm'", 'foo')
    ),
    'mistyped argument of a metric': Case(
        f'{T} {OPT} val_evaluator.metrik=bbox', ('val_evaluator of', 'did you mean metric?')
    ),
    'mistyped argument of a transform': Case(
        f'{T} {OPT} train_dataloader.dataset.pipeline.2.porb=1',
        ('train_dataloader.dataset.pipeline.2 of', 'RandomFlip', 'did you mean prob?'),
    ),
    'value of a transform': Case(
        f'{T} {OPT} train_dataloader.dataset.pipeline.2.prob=7',
        ('train_dataloader.dataset.pipeline.2 of', 'prob=7'),
    ),
    'mistyped argument of a data set': Case(
        f'{T} {OPT} val_dataloader.dataset.ann_fiel=x',
        ('val_dataloader.dataset of', 'did you mean ann_file?'),
    ),
    'mistyped argument of a sampler': Case(
        f'{T} {OPT} train_dataloader.sampler.shufle=1',
        ('train_dataloader.sampler of', 'did you mean shuffle?'),
    ),
    'mistyped argument of a loader': Case(
        f'{T} {OPT} train_dataloader.num_worker=1',
        ('train_dataloader of', 'did you mean num_workers?'),
    ),
    'mistyped argument of a loop': Case(
        f'{T} {OPT} train_cfg.val_intervall=1', ('train_cfg of', 'did you mean val_interval?')
    ),
    'mistyped argument of a hook': Case(
        f'{T} {OPT} default_hooks.logger.intervall=1',
        ('default_hooks.logger of', 'did you mean interval?'),
    ),
    'mistyped argument of the seed': Case(
        f'{T} {OPT} randomness.sead=1', ('randomness of', 'did you mean seed?')
    ),
    'an option of another version': Case(
        f'{T} {OPT} optimizer.lr=0.1', ("'optimizer'", 'write optim_wrapper.optimizer.lr')
    ),
    'an option that is a variable': Case(
        f'{T} {OPT} train_pipeline.3.scale=9', ('already used', 'train_dataloader.dataset.pipeline')
    ),
    'an option of nobody': Case(f'{T} {OPT} modle.x=1', ('modle', 'did you mean model?')),
    'an option beside one': Case(
        f'{T} {OPT} model.test_cfg.rcnn.score_th=0.1', ('did you mean', 'score_thr')
    ),
    'half a validation': Case(
        'train mine.py --data-root DATA',
        ('val_dataloader not', 'all three or none'),
        inherits('val_dataloader = None'),
    ),
    'classes of the head alone': Case(
        f'train {CLS} --data-root mine {OPT} model.head.num_classes=2 '
        'train_dataloader.dataset.metainfo.classes=a,b val_dataloader.dataset.metainfo.classes=a,b',
        ('data_preprocessor.num_classes is 1000', 'data_preprocessor.num_classes=2'),
        two_classes,
    ),
    'heads for other classes': Case(
        f'{T} {OPT} model.roi_head.bbox_head.num_classes=80',
        ('bbox_head.num_classes is 80', '6 classes', 'bbox_head.num_classes=6'),
    ),
    'masks that nothing makes': Case(
        'train mine.py --data-root DATA',
        ('val_evaluator', 'metric segm', 'val_evaluator.metric=bbox'),
        inherits('model = dict(roi_head=dict(mask_head=None))'),
    ),
    'masks that nothing makes, tested': Case(
        'test mine.py CKPT --data-root DATA',
        ('test_evaluator', 'metric segm'),
        inherits('model = dict(roi_head=dict(mask_head=None))'),
    ),
    'a mask head without masks': Case(
        f'{T} {OPT} train_dataloader.dataset.pipeline.1.with_mask=False',
        ('mask_head', 'with_mask=True'),
    ),
    'mosaic of masks': Case(
        'train mine.py',
        ("mmdet's Mosaic does not mix masks", 'with_mask=False'),
        inherits(MOSAIC),
    ),
    'one root for two folders': Case(
        'train mine.py --data-root DATA',
        ('--data-root', 'joins data of 2 folders (a, b)'),
        inherits(TWO_FOLDERS),
    ),
    'one class without a comma': Case(
        'train mine.py --data-root DATA',
        ("'cat'", "('cat',)"),
        inherits("train_dataloader = dict(dataset=dict(metainfo=dict(classes='cat')))"),
    ),
}
DATA = {
    'no data': Case(f'train {CFG}', ('data/shapes', '--data-root')),
    'no such folder': Case(f'train {CFG} --data-root no', ('no', 'annotations/')),
    'folder beside it': Case(
        f'train {CFG} --data-root mein', ('mein', 'did you mean mine?'), spoil(lambda content: None)
    ),
    'no annotations': Case(MINE, ('mine', 'annotations'), config('', 'mine/a.txt')),
    'annotations cut': Case(MINE, (ANN, 'truncated'), spoil_file('{"images": [{"id": 1,')),
    'annotations empty': Case(MINE, (ANN, 'is empty'), spoil_file('')),
    'annotations of html': Case(MINE, (ANN, 'HTML'), spoil_file('<html>log in</html>')),
    'annotations as pickle': Case(MINE, (ANN, 'pickle'), spoil_file(pickle.dumps({}))),
    'annotations as list': Case(MINE, (ANN, 'holds a list'), spoil(lambda c: [1])),
    'annotations without images': Case(
        MINE, (ANN, 'lists no images; export'), spoil(lambda c: c['images'].clear())
    ),
    'annotations without labels': Case(
        MINE, (ANN, 'no annotations'), spoil(lambda c: c['annotations'].clear())
    ),
    'test set without labels': Case(
        f'test {CFG} CKPT --data-root mine',
        ('no annotations', 'without a score: test_evaluator.format_only=True'),
        unlabel,
    ),
    'mistyped class': Case(MINE, (ANN, "'square'", "did you mean 'sqaure'"), spoil(rename)),
    'classes in another order': Case(MINE, (ANN, 'another order', 'cross'), spoil(swap)),
    'annotation ids': Case(MINE, (ANN, 'repeat an id'), spoil(twice)),
    'image ids as text': Case(
        MINE, (ANN, 'image_id', 'type int'), each('image_id', lambda a: str(a['image_id']))
    ),
    'image ids of two kinds': Case(
        MINE,
        (ANN, 'some ids are texts'),
        spoil(lambda c: c['images'][0].update(id=str(c['images'][0]['id']))),
    ),
    'image ids of null': Case(
        MINE, (ANN, 'lack an id'), spoil(lambda c: c['images'][0].update(id=None))
    ),
    'coordinates of nan': Case(
        MINE, (ANN, 'finite'), each('segmentation', [[1, 2, 3, 4, float('nan'), 6]])
    ),
    'coordinates far away': Case(
        MINE, (ANN, '10 image sizes away'), each('segmentation', [[1, 2, 3, 4, 2e8, 6]])
    ),
    'run lengths cut': Case(
        MINE, (ANN, 'do not add up'), each('segmentation', dict(size=[96, 96], counts='`0'))
    ),
    'crowds in words': Case(MINE, (ANN, 'not 0 or 1'), each('iscrowd', 'maybe')),
    'images under the smallest size': Case(
        f'{MINE} {OPT} train_dataloader.dataset.filter_cfg.min_size=500',
        ('16 of 16 images', 'min_size=500'),
        spoil(lambda content: None),
    ),
    'images of which all are small': Case(
        'train mine.py --data-root mine',
        ('16 of 16 images', 'filter_cfg.min_size=500'),
        lambda room: (
            spoil(lambda content: None)(room),
            inherits('train_dataloader = dict(dataset=dict(filter_cfg=dict(min_size=500)))')(room),
        ),
    ),
    'classes in the old place': Case(
        'train mine.py --data-root DATA',
        ('CLASSES', 'metainfo=dict(classes='),
        inherits(
            "CLASSES = ('cat',)\n"
            'train_dataloader = dict(dataset=dict(metainfo=dict(_delete_=True)))'
        ),
    ),
    'boxes as corners': Case(MINE, (ANN, 'two corners'), each('bbox', to_corners)),
    'boxes without numbers': Case(MINE, (ANN, 'four finite'), each('bbox', ['a'] * 4)),
    'boxes of nan': Case(MINE, (ANN, 'four finite'), each('bbox', [float('nan')] * 4)),
    'areas of zero': Case(MINE, (ANN, 'area of 0'), each('area', 0)),
    'no masks': Case(MINE, (ANN, 'no segmentation', 'configs/retinanet'), each('segmentation', [])),
    'only crowds': Case(MINE, (ANN, 'iscrowd'), each('iscrowd', 1)),
    'images of training missing': Case(MINE, ('train2017', 'images are missing'), lose('train', 3)),
    'images of validation missing': Case(MINE, ('val2017', '1 of 8 images'), lose('val', 1)),
    'image folder missing': Case(
        MINE, ('train2017',), lambda room: (room.copy_data(), shutil.rmtree('mine/train2017'))
    ),
    'test image missing': Case(
        f'test {CFG} CKPT --data-root mine', ('val2017', '1 of 8 images'), lose('val', 1)
    ),
    'class folders differ': Case(
        f'train {CLS} --data-root mine {OPT} model.head.num_classes=2 '
        'data_preprocessor.num_classes=2 '
        'train_dataloader.dataset.metainfo.classes=a,b val_dataloader.dataset.metainfo.classes=a,b',
        ('class folders differ', 'lacks b', 'has c'),
        two_classes,
    ),
    'class folders are too few': Case(
        f'train {CLS} --data-root mine', ('2 class folders', '1000 classes'), two_classes
    ),
    'folder without images': Case(
        FEATURES, ('no images', 'pictures'), config('', 'pictures/notes.txt')
    ),
    'broken image, predicted': Case(PREDICT, ('the image cannot be read',), pictures),
    'broken image': Case(FEATURES, ('1.jpg', 'not an image'), pictures),
}
CHECKPOINTS = {
    'none': Case(f'test {CFG} no.pth --data-root DATA', ('no.pth', 'no such file')),
    'none, and no data': Case(f'test {CFG} no.pth --data-root gone', ('no.pth', 'no such file')),
    'folder': Case(f'test {CFG} . --data-root DATA', ('is a directory',)),
    'text': Case(
        f'test {CFG} w.pth --data-root DATA', ('w.pth', 'not a checkpoint'), config('hi', 'w.pth')
    ),
    'empty': Case(f'test {CFG} w.pth --data-root DATA', ('w.pth', 'empty'), config('', 'w.pth')),
    'git lfs pointer': Case(
        f'test {CFG} w.pth --data-root DATA',
        ('git lfs pull',),
        config('version https://git-lfs.github.com/spec/v1\n', 'w.pth'),
    ),
    'damaged pickle': Case(
        f'test {CFG} w.pth --data-root DATA',
        ('w.pth', 'KeyError: 101'),
        checkpoint(lambda _: b'\x80\x02he'),
    ),
    'truncated': Case(
        f'test {CFG} w.pth --data-root DATA', ('w.pth', 'truncated'), checkpoint(truncated)
    ),
    'bomb': Case(f'test {CFG} w.pth --data-root DATA', ('w.pth', 'unpacks'), checkpoint(bomb)),
    'hostile, tested': Case(
        f'test {CFG} w.pth --data-root DATA', ('w.pth', 'refused'), checkpoint(hostile)
    ),
    'hostile, resumed': Case(f'{T} --resume w.pth', ('w.pth', 'refused'), checkpoint(hostile)),
    'hostile, resumed by itself': Case(
        f'{T} --work-dir work --resume',
        ('w.pth', 'refused'),
        lambda room: (
            room.write('work/w.pth', hostile(room)),
            room.write('work/last_checkpoint', str(room.path / 'work/w.pth')),
        ),
    ),
    'hostile, as a start': Case(
        f'{T} {OPT} load_from=w.pth', ('w.pth', 'refused'), checkpoint(hostile)
    ),
    'hostile, for the backbone': Case(
        f'{T} {OPT} pretrained=w.pth', ('w.pth', 'refused'), checkpoint(hostile)
    ),
    'hostile, converted': Case(
        'convert w.pth out.pth --from selnext', ('w.pth', 'refused'), checkpoint(hostile)
    ),
    'hostile, predicted': Case(
        f'predict {CFG} w.pth pictures --out out',
        ('w.pth', 'refused'),
        lambda room: (one_picture(room), checkpoint(hostile)(room)),
    ),
    'hostile, exported': Case(
        f'export {CFG} w.pth --to onnx --out m.onnx', ('w.pth', 'refused'), checkpoint(hostile)
    ),
    'hostile, looked at': Case(
        f'cam {CLS} --checkpoints w.pth --images pictures --out a.png',
        ('w.pth', 'refused'),
        lambda room: (one_picture(room), checkpoint(hostile)(room)),
    ),
    'predicted by another model': Case(
        'predict retinanet/r50_2x_coco.py CKPT pictures --out out',
        ('CKPT', 'is not a checkpoint of this model'),
        one_picture,
    ),
    'hostile, measured': Case(
        f'{FEATURES} --checkpoints w.pth',
        ('w.pth', 'refused'),
        lambda room: (pictures(room), checkpoint(hostile)(room)),
    ),
    'hostile, with the suffix of a safe file': Case(
        f'{T} {OPT} pretrained=w.safetensors',
        ('w.safetensors', 'rename'),
        checkpoint(hostile, 'w.safetensors'),
    ),
    'other model': Case(
        'test retinanet/r50_2x_coco.py CKPT --data-root mine',
        ('not a checkpoint of this model', 'Use the config'),
        spoil(lambda c: None),
    ),
    'other number of classes': Case(
        f'test {CFG} w.pth --data-root DATA',
        ('another number of classes', '81', 'circle'),
        checkpoint(other_classes),
    ),
    'no weights': Case(
        f'test {CFG} w.pth --data-root DATA',
        ('w.pth', 'no weights', 'epoch'),
        checkpoint(lambda room: saved({'epoch': 3})),
    ),
    'a list': Case(
        f'test {CFG} w.pth --data-root DATA',
        ('w.pth', 'list'),
        checkpoint(lambda room: saved([1, 2])),
    ),
    'nothing to resume': Case(f'{T} --work-dir work --resume', ('no checkpoint in work',)),
    'resume from no file': Case(f'{T} --resume no.pth', ('no.pth', 'no such file')),
    'backbone from no file': Case(f'{T} {OPT} pretrained=no.pth', ('no.pth', 'no such file')),
    'resume from weights': Case(
        f'{T} --resume w.pth', ('w.pth', 'load_from=w.pth'), checkpoint(weights_only)
    ),
    'pointer to nothing': Case(
        f'{T} --work-dir work --resume',
        ('gone.pth',),
        config('/x/gone.pth', 'work/last_checkpoint'),
    ),
    'start from another model': Case(
        f'{T} {OPT} load_from=w.pth',
        ('w.pth', '95%', 'pretrained=FILE'),
        checkpoint(lambda room: saved({'a': torch.zeros(3)})),
    ),
    'backbone of other names': Case(
        f'{T} {OPT} pretrained=w.pth',
        ('w.pth', "prefix='backbone.'", 'selnext-mm'),
        checkpoint(lambda room: saved({'stem.weight': torch.zeros(3)})),
    ),
    'backbone of NA-ResNet with other names': Case(
        f'train retinanet/na_r50_2x_coco.py --data-root DATA --skip-data-check {OPT} '
        'pretrained=w.pth',
        ('w.pth', "prefix='backbone.'", 'selnext-mm'),
        checkpoint(lambda room: saved({'stem.weight': torch.zeros(3)})),
    ),
    'foreign keys': Case(
        'convert w.pth out.pth --from selnext',
        ('stem.weight', '--from'),
        checkpoint(lambda room: saved({'stem.weight': torch.zeros(3)})),
    ),
    'detector, converted for a detector': Case(
        'convert CKPT out.pth --from selnext_mm --to detection',
        ('weights of a detector', 'rpn_head.', '--weights FILE of train', "prefix='backbone.'"),
    ),
    'detector of another project, converted': Case(
        'convert w.pth out.pth --from convnext-mmpretrain',
        ('weights of a detector', 'name the file of a classifier'),
        checkpoint(lambda room: saved({'bbox_head.fc.weight': torch.zeros(3)})),
    ),
    'address without a server': Case(
        f'{T} --work-dir work {OPT} pretrained=http://127.0.0.1:9/w.pth',
        ('http://127.0.0.1:9/w.pth', 'cannot be fetched'),
    ),
}
ENVIRONMENT = {
    'rank in words': Case(T, ('LOCAL_RANK', "'x'"), env=(('LOCAL_RANK', 'x'),)),
    'world of nobody': Case(
        f'{T} --launcher pytorch',
        ('WORLD_SIZE', 'dist_train.sh'),
        env=(('RANK', '0'), ('MASTER_ADDR', '127.0.0.1'), ('MASTER_PORT', '29999')),
    ),
    'slurm without slurm': Case(f'{T} --launcher slurm', ('slurm',)),
}
SERVED = {
    'checkpoint without a config': Case(
        'serve epoch_3.pth', ('epoch_3.pth is a checkpoint', 'serve CONFIG epoch_3.pth')
    ),
    'checkpoint before its config': Case(f'serve CKPT {CFG}', ('CKPT', 'give its config first')),
    'config without a checkpoint': Case(
        f'serve {CFG}', (CFG, 'give CONFIG and CHECKPOINT', '.onnx or .xml')
    ),
    'folder without weights': Case(
        'serve work', ('work alone is no model',), config('', 'work/config.py')
    ),
    'publish what is published': Case(
        'publish given --to out',
        ('given is a published folder', 'hf upload OWNER/REPO given', 'work dir'),
        lambda room: [
            room.write(f'given/{name}', b'') for name in ('config.py', 'model.safetensors')
        ],
    ),
    'config of the Hub': Case('serve hf://me/pets', ('hf://me/pets', 'only weights')),
    'folder that is not there': Case('serve weights/bccd', ('there is no weights/bccd in ',)),
    'folder without a config': Case(
        'serve pictures', ('pictures is a folder without a config.py',), pictures
    ),
    'no such config': Case('serve no.py CKPT', ('there is no no.py in ', 'configs are in')),
    'no such checkpoint': Case(f'serve {CFG} no.pth', ('no.pth', 'no such file')),
    'checkpoint of another model': Case(
        'serve retinanet/r50_2x_coco.py CKPT', ('CKPT', 'is not a checkpoint of this model')
    ),
    'hostile checkpoint': Case(f'serve {CFG} w.pth', ('w.pth', 'refused'), checkpoint(hostile)),
    'device that is not there': Case(
        f'serve {CFG} CKPT --device gpu', ('--device gpu', 'give cpu, cuda, cuda:1 or auto')
    ),
    'too few classes': Case(
        f'serve {CFG} CKPT --classes one', ('--classes names 1 class and the model has 6',)
    ),
    'exported file with a config': Case(
        f'serve {CFG} m.onnx', ('m.onnx needs no config: selnext-mm serve m.onnx',)
    ),
    'damaged exported file': Case(
        'serve m.onnx',
        ('onnxruntime cannot read m.onnx', 'fetch or copy it again', 'selnext-mm export'),
        config(b'\x08\x08\x12', 'm.onnx'),
    ),
    'exported file with a checkpoint': Case(
        'serve m.onnx CKPT',
        ('m.onnx holds config and weights', 'give one of them'),
        config('', 'm.onnx'),
    ),
    'exported file that is not there': Case('serve m.onnx CKPT', ('m.onnx is not there',)),
    'device of an exported file': Case(
        'serve m.onnx --device cuda:0',
        ('--device cuda:0 is for a checkpoint', 'leave out --device'),
    ),
    'classes of an exported file': Case(
        'serve m.xml --classes a b', ('--classes a b is for a checkpoint', 'm.xml')
    ),
    'dtype of an exported file': Case(
        'serve m.onnx --dtype bfloat16', ('--dtype bfloat16 is for a checkpoint',)
    ),
}
GROUPS = {
    'arguments': ARGUMENTS,
    'config': CONFIGS,
    'data': DATA,
    'checkpoint': CHECKPOINTS,
    'environment': ENVIRONMENT,
    'served': SERVED,
}
TABLE = {
    f'{group}: {name}': case for group, cases in GROUPS.items() for name, case in cases.items()
}
# What a message about a file that cannot be used has to tell besides what is wrong: what to do.
REMEDIES = {
    'arguments: convert nothing': 'check the path',
    'checkpoint: none': 'check the path',
    'checkpoint: folder': 'name the checkpoint file',
    'checkpoint: text': 'or name a file of torch.save',
    'checkpoint: empty': 'fetch or copy it again',
    'checkpoint: truncated': 'fetch or copy it again',
    'checkpoint: a list': 'save model.state_dict()',
    'checkpoint: hostile, tested': 'Ask its author for',
    'checkpoint: hostile, resumed': 'Ask its author for',
    'checkpoint: hostile, as a start': 'Ask its author for',
    'checkpoint: other model': 'Use the config that trained it',
    'checkpoint: nothing to resume': 'drop --resume',
    'checkpoint: pipe': 'copy its content',
    'checkpoint: bomb, resumed by itself': 'Name another file with --resume PATH',
}


def bomb_to_resume(room):
    """A sound state of training whose pickle goes on for 50 MB, stored in a few kB."""
    state = saved({'meta': {'epoch': 1, 'iter': 8}, 'optimizer': {}, 'state_dict': {}})
    source, target = zipfile.ZipFile(io.BytesIO(state)), io.BytesIO()
    with zipfile.ZipFile(target, 'w', zipfile.ZIP_DEFLATED) as file:
        for name in source.namelist():
            tail = bytes(50_000_000) if name.endswith('data.pkl') else b''
            file.writestr(name, source.read(name) + tail)
    return target.getvalue()


TABLE['checkpoint: bomb, resumed by itself'] = Case(
    f'{T} --work-dir work --resume', ('w.pth', 'unpacks'), checkpoint(bomb_to_resume, 'work/w.pth')
)
TABLE['checkpoint: pipe'] = Case(
    f'test {CFG} w.pth --data-root DATA',
    ('w.pth', 'not a regular file'),
    lambda room: os.mkfifo(room.path / 'w.pth'),
)


# From a folder of labels; what the labels themselves may have is in
# tests/datasets/formats/bad_labels.py.
def labels(files):
    """A folder ``set`` with ``files``: name -> content."""
    return lambda room: [room.write(f'set/{name}', content) for name, content in files.items()]


def empty_folder(room):
    (room.path / 'set').mkdir()


def small_image():
    content = io.BytesIO()
    Image.new('RGB', (8, 8)).save(content, 'JPEG')
    return content.getvalue()


LABELS = 'train --data set'
VOC_BOMB = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a0 "lol">'
    + ''.join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))
    + ']><annotation><filename>1.jpg</filename><object><name>&a9;</name></object></annotation>'
)
YAML_BOMB = 'a0: &a0 [x, x]\n' + ''.join(
    f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 9)}]\n' for i in range(1, 12)
)
TABLE |= {
    'labels: no such folder': Case(LABELS, ('set', 'no such file or folder')),
    'labels: an empty folder': Case(
        LABELS,
        ('no labels found in set', 'Looked for COCO'),
        empty_folder,
    ),
    'labels: an archive': Case(
        'train --data set.zip', ('set.zip is an archive', 'unpack it'), config('PK', 'set.zip')
    ),
    'labels: an unknown model': Case(
        'train --data DATA selnet_t', ("no model 'selnet_t'", 'did you mean selnext_t')
    ),
    'labels: an unknown detector': Case(
        'train --data DATA mask_rcn/selnext_t', ("no detector 'mask_rcn'", 'did you mean mask_rcnn')
    ),
    'labels: no epochs': Case('train --data DATA --epochs 0', ('--epochs 0', 'expected 1 or more')),
    'labels: no lr': Case('train --data DATA --lr 3', ('--lr 3', 'less than 1')),
    'labels: weights that are not there': Case(
        'train --data DATA --weights w.pth', ('--weights w.pth', 'no such file')
    ),
    'labels: nothing to resume': Case(
        'train --data DATA --resume', ('--resume: no checkpoint in work_dirs', 'drop --resume')
    ),
    'labels: nothing to resume in a folder': Case(
        'train --data DATA --resume --out w',
        ('--resume: no checkpoint in w;', '--out DIR, or drop --resume'),
    ),
    'labels: a file to resume': Case(
        'train --data DATA --resume CKPT',
        ('CKPT', 'is a file in the place of MODEL', '--weights', '--resume takes no file', '--out'),
    ),
    'labels: a checkpoint of none as the model': Case(
        'train --data DATA w/epoch_1.pth', ('--weights w/epoch_1.pth', '--resume --out w')
    ),
    'labels: a share that is none': Case(
        'train --data DATA --val 1.5', ('--val 1.5 is not between 0 and 1', 'such as 0.2')
    ),
    'labels: a file as the folder of the run': Case(
        'train --data DATA --out taken', ('taken is a file',), config('', 'taken')
    ),
    'labels: an entity bomb': Case(
        f'{LABELS} --format voc',
        ('1.xml', 'entit'),
        labels({'1.xml': VOC_BOMB, '1.jpg': small_image()}),
    ),
    'labels: a yaml bomb': Case(
        'train --data set/data.yaml',
        ('data.yaml',),
        labels({'data.yaml': YAML_BOMB + 'names: [a]\n'}),
    ),
    'labels: a yaml that runs code': Case(
        'train --data set/data.yaml',
        ('data.yaml',),
        labels({'data.yaml': 'names: !!python/object/apply:os.mkdir [planted]\n'}),
    ),
    'labels: checked, no such folder': Case(
        'check-data nope', ('there is no nope in ', 'neither a file nor a folder', 'no such config')
    ),
    'labels: checked, no such place': Case(
        'check-data /nowhere/nope', ('there is no /nowhere/nope, neither a file nor a folder',)
    ),
    'labels: looked at, no such folder': Case(
        'browse nope', ('there is no nope in ', 'neither a file nor a folder')
    ),
    'labels: a folder without --data': Case(
        'train set', ('set is a folder', 'selnext-mm train --data set'), empty_folder
    ),
    'labels: a model without --data': Case(
        'train faster_rcnn/selnext_yocto --data-root set',
        (
            'faster_rcnn/selnext_yocto is a model that is trained on labels',
            'selnext-mm train --data DIR faster_rcnn/selnext_yocto',
        ),
        empty_folder,
    ),
    'labels: a COCO file without --data': Case(
        'train set/a.json',
        ('set/a.json is a file of labels', 'selnext-mm train --data set/a.json'),
        labels({'a.json': '{"images": [], "annotations": [], "categories": []}'}),
    ),
    'labels: a YOLO file without --data': Case(
        'train set/data.yaml',
        ('set/data.yaml is a file of labels', 'selnext-mm train --data set/data.yaml'),
        labels({'data.yaml': 'train: images\nnames: [a]\n'}),
    ),
    'labels: a folder tested': Case(
        'test set CKPT', ('set is a folder without a config.py',), empty_folder
    ),
    'labels: checked, an empty folder': Case(
        'check-data set', ('no labels found in set',), empty_folder
    ),
}
