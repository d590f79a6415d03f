"""MMSegmentation's models in a session: trained, resumed exactly, tested, drawn, refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from selnext_mm import Session, UserError
from selnext_mm.__main__ import main
from selnext_mm.cli.semantic_maps import main as make_maps
from selnext_mm.config.build import build_model
from selnext_mm.config.load import load_config, set_data_root
from selnext_mm.datasets.shapes import CLASSES, draw_scene
from tests.mmseg import needs_mmseg

pytestmark = needs_mmseg
CONFIG = 'upernet/selnext_atto_shapes.py'
LOADERS = ('train', 'val', 'test')
WIDTHS = [8, 12, 16, 20]
SMALL = {
    'model.backbone.arch': dict(_delete_=True, depths=[1, 1, 1, 1], channels=WIDTHS),
    'model.decode_head.in_channels': WIDTHS,
    'model.decode_head.channels': 8,
    'model.auxiliary_head.in_channels': WIDTHS[2],
    'model.auxiliary_head.channels': 8,
    'model.data_preprocessor.size': (64, 64),
    'train_dataloader.dataset.pipeline.3.scale': (64, 64),
    **{f'{s}_dataloader.dataset.pipeline.1.scale': (64, 64) for s in ('val', 'test')},
    **{f'{s}_dataloader.num_workers': 0 for s in LOADERS},
    **{f'{s}_dataloader.persistent_workers': False for s in LOADERS},
    'train_cfg.max_iters': 6,
    'train_cfg.val_interval': 3,
    'param_scheduler.0.end': 2,
    'param_scheduler.1.end': 6,
    'default_hooks.checkpoint.interval': 3,
    'default_hooks.logger.interval': 1,
}


@pytest.fixture(scope='module')
def data(shapes_root, tmp_path_factory):
    """What make-shapes writes, with label maps of its own: other tests have the same images."""
    root = tmp_path_factory.mktemp('semantic') / 'shapes'
    root.mkdir()
    for name in ('annotations', 'train2017', 'val2017'):
        (root / name).symlink_to(shapes_root / name)
    assert make_maps([str(root)]) == 0
    return root


@pytest.fixture(scope='module')
def trained(data, tmp_path_factory):
    session = Session(CONFIG, data, tmp_path_factory.mktemp('segmentor') / 'run', SMALL)
    return session, Path(session.train(show_predictions=2))


def losses(session):
    text = '\n'.join(p.read_text() for p in Path(session.cfg.work_dir).rglob('*.log'))
    return [float(x) for x in re.findall(r'Iter\(train\).* loss (\S+) \(decode', text)]


def test_the_stock_data_set_and_metric_are_trained_and_scored(trained):
    session, path = trained
    assert path.name == 'iter_6.pth'
    assert session.cfg.train_dataloader.dataset.type == 'BaseSegDataset'
    assert len(losses(session)) == 6
    assert type(session.runner.model).__module__.startswith('mmseg.')
    assert len(list(path.parent.glob('best_mIoU_iter_*.pth'))) == 1
    assert len(list(path.parent.rglob('vis_image/prediction_*.png'))) == 2 * 2


def test_the_miou_is_that_of_the_maps(trained, data):
    """The metric again, from the predicted maps, by its definition."""
    import cv2
    from mmseg.apis import inference_model, init_model

    session, path = trained
    metrics = session.test(path)
    kept = next(path.parent.glob('*.py'))
    model = init_model(str(kept), str(path), device='cpu')
    model.cfg.test_pipeline = model.cfg.test_dataloader.dataset.pipeline  # that of --cfg-options
    inter, union = np.zeros(7), np.zeros(7)
    for image in sorted((data / 'val2017').iterdir()):
        found = inference_model(model, str(image)).pred_sem_seg.data[0].numpy()
        truth = cv2.imread(str(data / 'semantic/val2017' / f'{image.stem}.png'), 0)
        for label in range(7):
            inter[label] += ((found == label) & (truth == label)).sum()
            union[label] += ((found == label) | (truth == label)).sum()
    iou = inter[union > 0] / union[union > 0]
    assert metrics['mIoU'] == pytest.approx(100 * iou.mean(), abs=0.006)


def test_the_stock_runner_trains_and_scores_an_inheriting_config(data, tmp_path):
    """mmengine's runner, a config of somebody else's, and our recipe by its name."""
    from mmengine.runner import Runner

    path = tmp_path / 'mine.py'
    path.write_text(f"_base_ = 'selnext_mm::{CONFIG}'\nwork_dir = {str(tmp_path / 'work')!r}\n")
    cfg = load_config(path, {**SMALL, 'train_cfg.max_iters': 2, 'train_cfg.val_interval': 2})
    set_data_root(cfg, data)
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 2
    assert 0 < runner.message_hub.get_scalar('val/mIoU').current() < 100
    assert type(runner.train_loop).__module__ == 'mmengine.runner.loops'


def test_semantic_fpn_labels_every_pixel_of_an_image_of_any_size():
    options = {
        'model.backbone.arch': SMALL['model.backbone.arch'],
        'model.neck.in_channels': WIDTHS,
        'model.decode_head.norm_cfg.type': 'BN',
    }
    model = build_model(load_config('semantic_fpn/selnext_t_ade20k.py', options)).eval()
    with torch.no_grad():
        found = model(torch.zeros(1, 3, 50, 75), mode='predict')
    assert found[0].pred_sem_seg.data.shape == (1, 50, 75)
    assert found[0].seg_logits.data.shape == (150, 50, 75)


def test_a_resumed_run_is_the_uninterrupted_one(trained, data, tmp_path):
    _, path = trained
    part = Session(CONFIG, data, tmp_path / 'run', {**SMALL, 'train_cfg.max_iters': 3})
    assert part.train().endswith('iter_3.pth')
    rest = Session(CONFIG, data, tmp_path / 'run', SMALL)
    again = rest.train(resume=True)
    whole, resumed = (torch.load(p, weights_only=True)['state_dict'] for p in (path, again))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_maps_are_drawn_and_metrics_written(trained, tmp_path):
    session, path = trained
    out = tmp_path / 'metrics.json'
    metrics = session.test(path, out=out, show_dir=tmp_path / 'drawn')
    assert json.loads(out.read_text())['metrics']['mIoU'] == pytest.approx(metrics['mIoU'])
    assert len(list((tmp_path / 'drawn' / 'vis_data' / 'vis_image').glob('*.png'))) == 8


def test_tta_sees_every_image_twice(trained, data, tmp_path, monkeypatch):
    from mmseg.models import SegTTAModel

    views, merge = [], SegTTAModel.merge_preds
    monkeypatch.setattr(
        SegTTAModel,
        'merge_preds',
        lambda self, data: views.extend(map(len, data)) or merge(self, data),
    )
    session = Session(CONFIG, data, tmp_path / 'run', SMALL)
    assert 0 < session.test(trained[1], tta=True)['mIoU'] < 100
    assert views == [2] * 8


def test_label_maps_are_browsed_and_the_run_is_reported(trained, data, tmp_path, capsys):
    from selnext_mm.recipes.browse import build_dataset, raw_view, trained_view

    session, path = trained
    dataset, names = build_dataset(session.cfg), ['background', *CLASSES]
    _, view = raw_view(dataset, 0, names)
    found = {names[i.category_id] for i in view.instances}
    scene = draw_scene(0, 'train', 0, 96)
    assert found == {CLASSES[label] for label in scene.labels}
    assert all(i.segmentation for i in view.instances)
    assert {names[i.category_id] for i in trained_view(dataset[0], names).instances} <= found
    capsys.readouterr()
    assert main(['report', str(path.parent), '--out', str(tmp_path / 'report.html')]) == 0
    assert 'the IoU of each class is in the log of the run' in capsys.readouterr().out
    assert 'mIoU' in (tmp_path / 'report.html').read_text()


def test_what_has_no_form_for_label_maps_says_so(trained, data, tmp_path, capsys):
    session, path = trained
    kept = str(next(path.parent.glob('*.py')))
    images = str(data / 'val2017')
    for words in (
        ['predict', kept, str(path), images, '--out', str(tmp_path / 'out')],
        ['export', kept, str(path), '--part', 'detector', '--to', 'onnx', '--out', 'x.onnx'],
        ['publish', str(path.parent), '--to', str(tmp_path / 'hub')],
    ):
        assert main(words) == 2
        assert 'this model is a segmentor. "selnext-mm test' in capsys.readouterr().err
    with pytest.raises(UserError, match='--fast-eval: the config has no CocoMetric'):
        session.test(path, fast_eval=True)


def test_bad_labels_stop_a_run_before_it_starts(data, tmp_path):
    options = {**SMALL, 'model.decode_head.num_classes': 6, 'model.auxiliary_head.num_classes': 6}
    with pytest.raises(UserError, match=r'decode_head.num_classes is 6, the data set has 7'):
        Session(CONFIG, data, tmp_path / 'run', options).train()
    assert not (tmp_path / 'run').exists()
