"""The quick recipe of a comparison: images decoded once, augmented a batch at a time on the device.

Our own recipe, from no paper: 20 epochs of one cycle in batches of 512, AdamW with lr
``1e-3 * sqrt(512 / 64)`` (the rule of ``docs/recipes.md``), 64 pixels, layer scale 1 (1e-6 keeps
the blocks of a short training near the identity), bfloat16 on a GPU that has it. Crop and flip are
those of the small comparison: 4 pixels of zero padding, then a crop of the image's own size.
"""

import hashlib
import inspect
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import DATASETS, FUNCTIONS, MODELS
from torch import Tensor
from torch.utils.data import Dataset

from selnext_mm.datasets.pixels import read_rgb
from selnext_mm.disk import new_file
from selnext_mm.errors import UserError

EPOCHS = 20
SIZE = 64
BATCH_SIZE = 512
BASE_BATCH_SIZE = 64  # the batch size that the lr of configs/cls/cifar10 is meant for
PADDING = 4


def use_quick_recipe(cfg: Config, batch_size: int = BATCH_SIZE) -> None:
    """Turn a config of the small comparison into one of this recipe, in place.

    Args:
        cfg: a config with ``data_preprocessor`` (mean, std of RGB), one ``OneCycleLR`` and
            ``CustomDataset``s.
        batch_size: images per update; the lr scales with its square root.
    """
    lr = cfg.optim_wrapper.optimizer.lr * math.sqrt(batch_size / BASE_BATCH_SIZE)
    cfg.optim_wrapper.optimizer.lr = cfg.param_scheduler[0].eta_max = lr
    cfg.train_cfg.max_epochs = cfg.param_scheduler[0].total_steps = EPOCHS
    if torch.cuda.is_available() and torch.cuda.is_bf16_supported():
        cfg.optim_wrapper.update(type='AmpOptimWrapper', dtype='bfloat16')
    old = cfg.data_preprocessor
    cfg.data_preprocessor = dict(
        type='CropFlipPreprocessor', mean=old.mean, std=old.std, size=SIZE, padding=PADDING
    )
    for split in ('train', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.batch_size = batch_size
        loader.collate_fn = dict(type='take_batch')
        loader.update(num_workers=0, persistent_workers=False)
        data = loader.dataset
        loader.dataset = dict(
            type='DecodedImages',
            data_root=data.data_root,
            data_prefix=data.data_prefix,
            ann_file='',
            metainfo=data.metainfo,
        )
    backbone = cfg.model.backbone
    parameters = inspect.signature(MODELS.get(backbone.type)).parameters
    if 'layer_scale_init_value' in parameters:
        default = parameters['layer_scale_init_value'].default
        if backbone.get('layer_scale_init_value', default):  # 0 means no layer scale
            backbone.layer_scale_init_value = 1.0


@FUNCTIONS.register_module()
def take_batch(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Collate function that keeps the batch: :class:`DecodedImages` has made it already."""
    return batch


def decode(paths: Sequence[Path], file: Path) -> None:
    """Write the images to a ``.npy`` file: one uint8 array (N, 3, height, width), RGB.

    Raises:
        UserError: for a file that is not an image, images of several sizes, or a full disk.
    """
    first: tuple[int, int] | None = None
    pixels = None
    for i, path in enumerate(paths):
        try:
            image = read_rgb(path)
        except OSError as error:
            raise UserError(f'{path} cannot be read as an image: {error}') from error
        if pixels is None:
            first = image.shape[:2]
            pixels = np.empty((len(paths), 3, *first), np.uint8)
        if image.shape[:2] != first:
            (h, w), (other_h, other_w) = first, image.shape[:2]
            raise UserError(
                f'{path} is {other_w} x {other_h} pixels, {paths[0]} {w} x {h}; the quick recipe '
                'needs images of one size. Resize them, or leave out --recipe quick'
            )
        pixels[i] = image.transpose(2, 0, 1)
    with new_file(file, '--out') as part:
        np.save(part, pixels)


def _changed(path: Path) -> int:
    """When a file was last changed or moved into place, in ns; 0 if it does not exist."""
    try:
        found = path.stat()
    except OSError:
        return 0
    return max(found.st_mtime_ns, found.st_ctime_ns)


@DATASETS.register_module()
class DecodedImages(Dataset):
    """Images and labels of a list, decoded once into a file beside it that all runs memory-map.

    Args:
        data_root, data_prefix: the folder of the images is ``data_root/data_prefix``.
        ann_file: lines ``path label``.
        metainfo: ``classes``, the names.
    """

    def __init__(
        self, data_root: str, data_prefix: str, ann_file: str, metainfo: dict | None = None
    ) -> None:
        text = Path(ann_file).read_text(encoding='utf-8')
        rows = [line.rsplit(' ', 1) for line in text.splitlines()]
        self.metainfo = dict(metainfo or {})
        self.labels = torch.tensor([int(label) for _, label in rows])
        folder = Path(data_root, data_prefix)
        paths = [folder / name for name, _ in rows]
        key = hashlib.sha256(f'{folder}\n{text}'.encode()).hexdigest()[:8]
        file = Path(ann_file).with_suffix(f'.{key}.npy')
        # Images that have been replaced since are decoded again.
        if not file.exists() or _changed(file) < max(map(_changed, paths), default=0):
            decode(paths, file)
        self.images = np.load(file, mmap_mode='r')

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """``inputs`` (B, 3, height, width) uint8 and ``labels`` (B): a batch in one read."""
        indices = list(indices)
        return dict(inputs=torch.from_numpy(self.images[indices]), labels=self.labels[indices])


@MODELS.register_module()
class CropFlipPreprocessor(BaseDataPreprocessor):
    """Random crop and flip of a batch on the device, then mean, std and the input's size.

    Args:
        mean, std: of RGB, in 0..255.
        size: side of the model's square input, reached by bilinear interpolation.
        padding: pixels of zeros around an image before it is cropped to its own size.
        batch_augments: ignored; mmpretrain's classifiers pass it to every preprocessor.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        size: int,
        padding: int = PADDING,
        batch_augments: dict | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer('mean', torch.tensor(mean).view(-1, 1, 1), False)
        self.register_buffer('std', torch.tensor(std).view(-1, 1, 1), False)
        self.size, self.padding = size, padding

    def forward(self, data: dict[str, Tensor], training: bool = False) -> dict:
        from mmpretrain.structures import DataSample

        data = self.cast_data(data)
        inputs = data['inputs']
        if training:
            inputs = crop_and_flip(inputs, self.padding)
        inputs = (inputs.float() - self.mean) / self.std
        if inputs.shape[-2:] != (self.size, self.size):
            inputs = torch.nn.functional.interpolate(
                inputs, (self.size, self.size), mode='bilinear', antialias=False
            )
        samples = [DataSample().set_gt_label(label) for label in data['labels'].split(1)]
        return dict(inputs=inputs, data_samples=samples)


def crop_and_flip(images: Tensor, padding: int) -> Tensor:
    """Images (B, C, H, W) padded with zeros, cropped back to (H, W), and randomly flipped.

    The crop position is uniform and the flip probability 1/2; both are drawn for each image.
    """
    count, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    device = images.device
    top, left = torch.randint(2 * padding + 1, (2, count, 1), device=device)
    rows = top + torch.arange(height, device=device)
    columns = left + torch.arange(width, device=device)
    mirrored = torch.rand(count, 1, device=device) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    which = torch.arange(count, device=device)[:, None, None]
    cropped = padded[which, :, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2).contiguous()
