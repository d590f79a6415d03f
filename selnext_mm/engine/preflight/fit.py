"""Parts of a config that are valid on their own, but not together."""

from collections.abc import Iterable

from mmengine.config import Config
from torch import nn
from torch.utils.data import DataLoader

from selnext_mm.config.walk import iter_evaluators, loader_parts
from selnext_mm.errors import UserError
from selnext_mm.models.attention.patnet_gates import MeanStdGate
from selnext_mm.text import counted

MIXES = ('Mosaic', 'MixUp')  # mmdet's; they mix images and boxes, but not masks


def _kind(node: dict) -> str:
    kind = node.get('type')
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
    return name.rpartition('.')[2]


def _loads_masks(cfg: Config, loader: str) -> bool | None:
    """Whether a loader's transforms read masks; None if none of them reads annotations."""
    found = [n for _, n, _ in loader_parts(cfg, loader) if _kind(n) == 'LoadAnnotations']
    return any(node.get('with_mask') for node in found) if found else None


def refuse_merged_masks(cfg: Config, merging: dict, makes_masks: bool) -> None:
    """Raise :class:`UserError` if mmdet's test-time augmentation would have to merge masks."""
    if makes_masks and _kind(merging) == 'DetTTAModel':
        raise UserError(
            f"the model of {cfg.filename} makes masks, and mmdet's DetTTAModel merges boxes alone: "
            'leave it out, and "selnext-mm test --tta" merges both; or take the masks away with '
            'roi_head.mask_head=None'
        )


def check_masks(cfg: Config, loaders: Iterable[str]) -> None:
    """Check that heads, transforms and metrics agree on masks, for models with an RoI head.

    Raises:
        UserError: if masks are evaluated but not predicted, or a mask head gets no masks to learn.
    """
    model = cfg.model or {}
    inner = model.get('module')
    head = (inner if isinstance(inner, dict) else model).get('roi_head')
    if not isinstance(head, dict):
        return
    makes_masks = head.get('mask_head') is not None
    refuse_merged_masks(cfg, model, makes_masks)
    loads = _loads_masks(cfg, 'train_dataloader') if 'train_dataloader' in loaders else None
    if makes_masks and loads is False:
        raise UserError(
            f'model.roi_head of {cfg.filename} has a mask_head, and no LoadAnnotations of '
            'train_dataloader reads masks: set with_mask=True there, or train on boxes alone with '
            'model.roi_head.mask_head=None and the metric bbox in both evaluators'
        )
    judged = {f'{loader.partition("_")[0].replace("train", "val")}_evaluator' for loader in loaders}
    for name, metric in iter_evaluators(cfg):
        wanted = metric.get('metric') or ()
        if name in judged and not makes_masks and 'segm' in wanted:
            raise UserError(
                f'{name} of {cfg.filename} scores masks (metric segm), and the model makes none '
                '(model.roi_head.mask_head is not set): --cfg-options val_evaluator.metric=bbox '
                'test_evaluator.metric=bbox'
            )


def check_mixing(cfg: Config, loaders: Iterable[str]) -> None:
    """Raise :class:`UserError` for a Mosaic or MixUp of mmdet on data with masks."""
    for loader in loaders:
        mixes = [(place, n) for place, n, _ in loader_parts(cfg, loader) if _kind(n) in MIXES]
        if mixes and _loads_masks(cfg, loader):
            place, node = mixes[0]
            raise UserError(
                f"{place} of {cfg.filename}: mmdet's {_kind(node)} does not mix masks, and the "
                'data set reads them: take it out, or train on boxes alone (with_mask=False in '
                'LoadAnnotations, a detector without a mask head)'
            )


def check_some_batch(loader: DataLoader) -> None:
    """Raise :class:`UserError` if every batch is an incomplete last one that is dropped.

    The epochs would have no iterations, and the checkpoints would contain the initial weights.
    """
    sampler = getattr(loader.batch_sampler, 'sampler', loader.sampler)
    if 'Infinite' in type(sampler).__name__ or not hasattr(sampler, '__len__'):
        return
    batch = getattr(loader.batch_sampler, 'batch_size', loader.batch_size)
    if len(sampler) and not len(loader):
        raise UserError(
            f'{counted(len(sampler), "image")} in batches of {batch} make no whole batch, and '
            'drop_last leaves out the others, so that nothing would be trained: --cfg-options '
            f'train_dataloader.batch_size={max(1, len(sampler) // 2)}, or drop_last=False where it '
            'is set'
        )


def check_last_batch(loader: DataLoader, model: nn.Module) -> None:
    """Refuse a batch of one image if the model's gates contain batch norms in training mode.

    Such a gate sees one value per image and channel, which has no variance. Every process counts
    the images that its sampler gives it.

    Raises:
        UserError: if such a batch would occur, including the last of an epoch.
    """
    model.train()
    gates = [m for m in model.modules() if isinstance(m, MeanStdGate)]
    if not any(isinstance(g.norm, nn.BatchNorm2d) and g.norm.training for g in gates):
        return
    batch, sampler = loader.batch_size, loader.sampler
    if batch is None or not hasattr(sampler, '__len__'):
        return
    images = len(sampler)
    if batch > 1 and (loader.drop_last or images % batch != 1):
        return
    which = 'every batch' if batch == 1 else f'the last of {images} images in batches of {batch}'
    raise UserError(
        f'{which} is a single image, and the batch norms inside the gates need two: set another '
        'train_dataloader.batch_size, train_dataloader.drop_last=True, or '
        'model.backbone.gate_norm_eval=True (running statistics)'
    )
