"""Misspelt keys of model.train_cfg and model.test_cfg; the recipes of this package have none."""

import copy
import pathlib

import pytest
from mmengine.config import Config

from selnext_mm.__main__ import main
from selnext_mm.config.load import load_config
from selnext_mm.config_files import config_leaves
from selnext_mm.engine.preflight.model_keys import check_model_keys
from selnext_mm.errors import UserError

pytest.importorskip('mmdet')
LEAVES = list({name.rpartition('/')[0]: name for name in config_leaves()}.values())
MASK_RCNN = 'mask_rcnn/selnext_atto_shapes.py'
CASCADE = 'cascade_mask_rcnn/selnext_atto_shapes.py'
# Of those that the README names; the others of mmdet were looked at by hand.
STOCK = (
    *('retinanet/retinanet_r50_fpn_1x_coco', 'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco'),
    *('faster_rcnn/faster-rcnn_r50_fpn_1x_coco', 'cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco'),
    *('rtmdet/rtmdet_tiny_8xb32-300e_coco', 'dino/dino-4scale_r50_8xb2-12e_coco'),
    'detr/detr_r50_8xb2-150e_coco',
)


@pytest.mark.parametrize('name', LEAVES)
def test_no_recipe_of_ours_is_refused(name):
    check_model_keys(load_config(name))


@pytest.mark.parametrize('name', STOCK)
def test_no_recipe_of_mmdet_is_refused(name):
    import mmdet

    folder = pathlib.Path(mmdet.__file__).parent / '.mim' / 'configs'
    if not folder.is_dir():
        pytest.skip('an mmdet that was installed with its configs (pip install mmdet) runs this')
    check_model_keys(Config.fromfile(folder / f'{name}.py'))


def misspelt(name, place, wrong, value=None):
    cfg = copy.deepcopy(load_config(name))
    node = cfg
    *path, last = place.split('.')
    for key in path:
        node = node[int(key)] if isinstance(node, list | tuple) else node[key]
    old = node.pop(last, None)
    node[wrong] = value if old is None else old
    return cfg


@pytest.mark.parametrize(
    ('name', 'place', 'wrong'),
    [
        (MASK_RCNN, 'model.test_cfg.rcnn.score_thr', 'score_thrs'),
        (MASK_RCNN, 'model.test_cfg.rcnn.mask_thr_binary', 'mask_thr_binry'),
        (MASK_RCNN, 'model.test_cfg.rpn.nms_pre', 'nmspre'),
        (MASK_RCNN, 'model.test_cfg.rpn', 'rpm'),
        (MASK_RCNN, 'model.test_cfg.rpn.nms.iou_threshold', 'iou_treshold'),
        (MASK_RCNN, 'model.train_cfg.rpn_proposal.max_per_img', 'max_per_imgs'),
        (MASK_RCNN, 'model.train_cfg.rpn.assigner', 'asigner'),
        (MASK_RCNN, 'model.train_cfg.rcnn.assigner.pos_iou_thr', 'pos_iou_th'),
        (MASK_RCNN, 'model.train_cfg.rcnn.sampler.neg_pos_ub', 'neg_pos_up'),
        (CASCADE, 'model.train_cfg.rcnn.1.sampler.pos_fraction', 'pos_fracton'),
        (CASCADE, 'model.train_cfg.rcnn.2.pos_weight', 'pos_weigth'),
        ('retinanet/na_r50_2x_coco.py', 'model.test_cfg.max_per_img', 'max_per_image'),
        ('cls/selnext_t_in1k.py', 'model.train_cfg.augments', 'augment'),
    ],
)
def test_a_misspelt_key_is_named_with_the_near_one(name, place, wrong):
    path = place.rpartition('.')[0]
    with pytest.raises(UserError) as caught:
        check_model_keys(misspelt(name, place, wrong, []))
    message = str(caught.value)
    assert f'{path}.{wrong} = ' in message
    assert f'nothing reads the key {wrong!r}; did you mean {place}?' in message
    assert '\n' not in message


def test_what_is_like_nothing_or_there_for_other_tools_is_let_be():
    cfg = load_config(MASK_RCNN)
    cfg.model.train_cfg.rcnn.debug = True
    cfg.model.test_cfg.note_of_mine = 'kept'
    check_model_keys(cfg)
    check_model_keys(Config(dict(model=dict(type='Nothing', test_cfg=dict(type=1, a=[{}])))))
    check_model_keys(Config(dict(optim_wrapper=dict())))


@pytest.mark.parametrize('command', ['train', 'test', 'check-data'])
def test_every_command_names_it(command, shapes_root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    weights = ['none.pth'] if command == 'test' else []
    option = 'model.test_cfg.rcnn.score_thr2=0.1'
    code = main(
        [command, MASK_RCNN, *weights, '--data-root', str(shapes_root), '--cfg-options', option]
    )
    assert code == 2
    assert 'did you mean model.test_cfg.rcnn.score_thr?' in capsys.readouterr().err
