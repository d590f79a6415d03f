"""What is loaded before and in a run is said, and too little of it is refused."""

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import Dataset

from selnext_mm.checkpoints.files import load_file, take_weights
from selnext_mm.checkpoints.pretrained import load_pretrained
from selnext_mm.config.build import build_model
from selnext_mm.config.load import load_config
from selnext_mm.engine.preflight.weights import (
    check_checkpoint,
    check_class_names,
    check_load_from,
    check_pretrained,
    read_checkpoint,
)
from selnext_mm.engine.runner import ConciseRunner
from selnext_mm.errors import UserError

CFG = 'mask_rcnn/selnext_atto_shapes.py'
HEADS = ('fc_cls', 'fc_reg', 'conv_logits')


class Model(BaseModel):
    def __init__(self, classes):
        super().__init__()
        self.backbone = nn.Linear(3, 4)
        self.head = nn.Linear(4, classes)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.head(self.backbone(inputs))


def runner(tmp_path, load_from):
    return ConciseRunner(
        model=Model(2),
        work_dir=str(tmp_path / 'work'),
        load_from=str(load_from),
        experiment_name=f'loading_{tmp_path.name}',
    )


def test_a_run_starts_from_weights_for_other_classes_and_says_so(tmp_path, monkeypatch):
    before = Model(80)
    state = {f'module.{k}': v for k, v in before.state_dict().items()}
    torch.save(dict(state_dict=state, meta={}), tmp_path / 'w.pth')
    run = runner(tmp_path, tmp_path / 'w.pth')
    lines = []
    monkeypatch.setattr(run.logger, 'info', lambda text, *args: lines.append(text))
    head = run.model.head.weight.clone()
    run.load_or_resume()
    assert torch.equal(run.model.backbone.weight, before.backbone.weight)
    assert torch.equal(run.model.head.weight, head)
    (line,) = [line for line in lines if 'loaded' in line]
    assert line.startswith(f'Model: loaded 2 of 4 tensors from {tmp_path}/w.pth; for another')
    assert 'head.weight (80 -> 2), head.bias (80 -> 2)' in line


class Tensors(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return dict(inputs=torch.ones(3))


def trainer(tmp_path, name, **kwargs):
    class Trained(Model):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            return dict(loss=super().forward(inputs).sum())

    return ConciseRunner(
        model=Trained(2),
        work_dir=str(tmp_path / 'work'),
        train_dataloader=dict(
            dataset=Tensors(),
            batch_size=2,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        experiment_name=f'{name}_{tmp_path.name}',
        **kwargs,
    )


def test_a_program_in_the_meta_data_is_not_executed_by_a_resume(tmp_path):
    """mmengine runs ``meta['config']`` as a config when it resumes; no pickle trick is needed."""
    trainer(tmp_path, 'first', train_cfg=dict(by_epoch=True, max_epochs=1)).train()
    path = tmp_path / 'work' / 'epoch_1.pth'
    content = torch.load(path, weights_only=True)
    planted = tmp_path / 'planted'
    content['meta']['config'] = f"gpu_ids = [open({str(planted)!r}, 'w').fileno()]\n"
    torch.save(content, path)
    run = trainer(
        *(tmp_path, 'second'),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        load_from=str(path),
        resume=True,
    )
    run.train()
    assert run.epoch == 2
    assert not planted.exists()
    assert 'cfg' in load_file(path)['meta']
    # The text is live: this is what mmengine would have done with it.
    Config.fromstring(content['meta']['config'], file_format='.py')
    assert planted.exists()


def test_strict_loading_is_strict(tmp_path):
    torch.save(dict(state_dict=Model(80).state_dict()), tmp_path / 'w.pth')
    run = runner(tmp_path, tmp_path / 'w.pth')
    with pytest.raises(UserError, match='does not hold all weights'):
        run.load_checkpoint(str(tmp_path / 'w.pth'), strict=True)


@pytest.fixture(scope='module')
def atto():
    cfg = load_config(CFG)
    return cfg, build_model(cfg)


def save(path, state, **meta):
    torch.save(dict(state_dict=state, meta=meta), path)
    return str(path)


def test_a_detector_for_other_classes_is_a_start(atto, tmp_path):
    cfg, model = atto
    state = model.state_dict()
    for key in state:
        if any(f'.{head}.' in key for head in HEADS):
            state[key] = torch.zeros(7, *state[key].shape[1:])
    cfg.load_from = save(tmp_path / 'w.pth', state)
    check_load_from(cfg, model)


@pytest.mark.parametrize('others', [{}, {'model_ema': {}}, {'state_dict': {}}])
def test_weights_called_model_are_tested_and_started_from_as_they_are_predicted_with(
    others, tmp_path
):
    """One reader decides: what ``predict`` takes of a file is what all others load."""
    before = Model(2)
    path = tmp_path / 'w.pth'
    torch.save(dict(others, model=before.state_dict(), meta={}), path)
    run = runner(tmp_path, path)
    run.load_or_resume()
    assert torch.equal(run.model.head.weight, before.head.weight)
    taken, _ = take_weights(load_file(path))
    read = read_checkpoint(str(path))
    assert read['state_dict'].keys() == taken.keys()
    assert 'meta' in read


def test_a_test_reads_weights_called_model(atto, tmp_path):
    cfg, model = atto
    path = tmp_path / 'w.pth'
    torch.save(dict(model=model.state_dict()), path)
    check_checkpoint(cfg, str(path))
    cfg.load_from = str(path)
    check_load_from(cfg, model)
    parts = {f'backbone.{k}': v for k, v in model.backbone.state_dict().items()}
    torch.save(dict(model=parts), path)
    assert 'loaded' in load_pretrained(model.backbone, str(path), 'backbone.')


@pytest.mark.parametrize('attention', ['SELN', None])
def test_a_classifier_is_a_start_for_a_detector(attention, tmp_path):
    """The four norms of its maps, which the classifier does not have, do not count as lost."""
    options = {} if attention else {'model.backbone.attention_cfg': None}
    cfg = load_config(CFG, options)
    model = build_model(cfg)
    parts = ('backbone.stages', 'backbone.downsample_layers')
    state = {k: v for k, v in model.state_dict().items() if k.startswith(parts)}
    final = {f'backbone.norm3.{k}': torch.full((320,), 7.0) for k in ('weight', 'bias')}
    head = {'head.fc.weight': torch.zeros(10, 320), 'head.fc.bias': torch.zeros(10)}
    cfg.load_from = save(tmp_path / 'w.pth', {**state, **final, **head})
    check_load_from(cfg, model)


def test_a_backbone_that_does_not_fit_is_no_start(atto, tmp_path):
    cfg, model = atto
    state = {k.replace('pointwise', 'pw'): v for k, v in model.state_dict().items()}
    cfg.load_from = save(tmp_path / 'w.pth', state)
    with pytest.raises(UserError, match=r'loaded \d+ of \d+ tensors .* under 95% of the backbone'):
        check_load_from(cfg, model)


def test_a_test_wants_the_classes_of_the_config(atto, tmp_path):
    cfg, model = atto
    classes = tuple(cfg.metainfo.classes)
    path = save(tmp_path / 'w.pth', model.state_dict(), dataset_meta=dict(classes=classes))
    check_checkpoint(cfg, path)
    assert check_class_names(cfg, path, load_file(path)) is None
    other = (*classes[:-1], 'plus')
    path = save(tmp_path / 'w.pth', model.state_dict(), dataset_meta=dict(classes=other))
    assert "number 5 is 'plus' there and 'cross' in" in check_class_names(
        cfg, path, load_file(path)
    )
    path = save(tmp_path / 'w.pth', model.state_dict())
    assert check_class_names(cfg, path, load_file(path)) is None


def test_addresses_are_read_before_the_run_by_one_process(atto, monkeypatch):
    cfg, model = atto
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='nothing://a.pth')
    address = 'torchvision://no_such_model'
    cfg.load_from = address
    with pytest.raises(UserError, match=f'{address} cannot be loaded: KeyError'):
        check_load_from(cfg, model)
    monkeypatch.setenv('RANK', '1')
    check_load_from(cfg, model)
    check_pretrained(cfg, model)
