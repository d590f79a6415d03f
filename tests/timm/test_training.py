"""One epoch of timm's own parts on real images: data, mixup, optimizer, schedule, averaging."""

import os
import tarfile
from pathlib import Path

import pytest
import timm
import torch

import selnext_mm.timm  # noqa: F401 - before timm.data, which loads torchvision

from timm.data import Mixup, create_dataset, create_loader, resolve_model_data_config  # isort: skip
from timm.loss import SoftTargetCrossEntropy  # isort: skip
from timm.optim import create_optimizer_v2  # isort: skip
from timm.scheduler import create_scheduler_v2  # isort: skip
from timm.utils import ModelEmaV3, accuracy  # isort: skip


@pytest.fixture
def cifar10(tmp_path):
    """480 training and 200 validation images of CIFAR-10 as class folders."""
    source = os.environ.get('SELNEXT_MM_CIFAR10')
    if not source:
        pytest.skip('set SELNEXT_MM_CIFAR10 to CIFAR-10 as folders, or a tar archive of them')
    wanted = {'train': 48, 'val': 20, 'test': 20}
    counts = {}

    def take(name):
        split, label = Path(name).parts[-3:-1]
        counts[split, label] = counts.get((split, label), 0) + 1
        target = tmp_path / ('train' if split == 'train' else 'val') / label / Path(name).name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target if counts[split, label] <= wanted.get(split, 0) else None

    if Path(source).is_dir():
        for path in sorted(Path(source).rglob('*.*')):
            if path.is_file() and (target := take(path)):
                target.write_bytes(path.read_bytes())
        return tmp_path
    with tarfile.open(source) as archive:
        for member in archive:
            if member.isfile() and len(Path(member.name).parts) > 2 and (t := take(member.name)):
                t.write_bytes(archive.extractfile(member).read())
    return tmp_path


@pytest.mark.realdata
def test_an_epoch_of_timms_training_on_real_pictures(cifar10):
    torch.manual_seed(0)
    model = timm.create_model(
        'selnext_atto', num_classes=10, drop_path_rate=0.1, layer_scale_init_value=1.0
    )
    config = resolve_model_data_config(model) | dict(input_size=(3, 32, 32))
    options = dict(input_size=config['input_size'], batch_size=16, use_prefetcher=False)
    options |= {key: config[key] for key in ('mean', 'std', 'interpolation')}
    train, val = (create_dataset('', str(cifar10), split=s) for s in ('train', 'val'))
    loader = create_loader(train, **options, is_training=True, num_workers=0)
    optimizer = create_optimizer_v2(model, 'adamw', lr=1e-3, weight_decay=0.05, layer_decay=0.9)
    scheduler, _ = create_scheduler_v2(optimizer, 'cosine', num_epochs=8, warmup_epochs=1)
    mixup = Mixup(mixup_alpha=0.1, cutmix_alpha=0.0, num_classes=10, label_smoothing=0.1)
    average, criterion = ModelEmaV3(model, decay=0.9), SoftTargetCrossEntropy()
    losses = []
    for epoch in range(8):
        model.train()
        for images, target in loader:
            images, target = mixup(images, target)
            loss = criterion(model(images), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update(model)
            losses.append(loss.item())
        scheduler.step(epoch + 1)
    first, last = sum(losses[:30]) / 30, sum(losses[-30:]) / 30
    assert last < first - 0.15
    right = 0
    average.eval()
    with torch.no_grad():
        for images, target in create_loader(val, **options, num_workers=0):
            right += accuracy(average.module(images), target)[0].item() * len(target) / 100
    assert right / len(val) > 0.15  # chance is 0.1 +- 0.02
