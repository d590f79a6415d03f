"""Images that cannot be read during a run: skipped, counted and logged, up to a limit."""

import os
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.registry import HOOKS, TRANSFORMS

from selnext_mm.engine.distributed.collectives import highest
from selnext_mm.errors import UserError
from selnext_mm.text import counted

LOADER = 'LoadImageFromFile'  # the transform that is guarded, in any scope
FILE = 'unreadable_images.txt'


@TRANSFORMS.register_module()
class GuardedLoad:
    """A loading transform whose failure gives a missing sample or one message, not a traceback.

    With ``record`` the sample is skipped: the data set uses another one instead, as it does for
    samples that an augmentation rejects, and path and reason are appended to the file. Without
    ``record`` the image is required, and a failure is a :class:`UserError` with its path.

    Args:
        transform: the transform, or its dict.
        record: file that data-loader workers append to.
        sizes: also skip images whose size differs from the annotated one; their boxes and masks
        would be misplaced.
    """

    def __init__(
        self, transform, record: str | os.PathLike | None = None, sizes: bool = False
    ) -> None:
        self.transform = TRANSFORMS.build(transform) if isinstance(transform, dict) else transform
        self.record, self.sizes = record, sizes

    def __call__(self, results: dict) -> dict | None:
        path = results.get('img_path', 'an image')
        annotated = (results.get('width'), results.get('height'))
        problem, remedy = 'read', 'fetch it again'
        try:
            loaded = self.transform(results)
        except MemoryError:
            raise
        # Decoders raise AssertionError, OSError, ValueError, cv2.error, ...
        except Exception as error:
            reason = getattr(error, 'strerror', None) or str(error) or type(error).__name__
            reason = ' '.join(reason.split()).replace(str(path), 'it')
            if reason == 'failed to load image: it':  # mmcv's, of what OpenCV does not decode
                reason = 'it cannot be decoded'
        else:
            reason = 'the loader returned nothing' if loaded is None else ''
            if loaded is not None and self.sizes and loaded.get('img') is not None:
                reason = other_size(loaded['img'], annotated)
                problem, remedy = 'used', 'annotate the file that is there'
            if not reason:
                return loaded
        if self.record is None:
            raise UserError(
                f'{path} cannot be {problem} ({reason}); an evaluation needs every image: '
                f'{remedy}. "selnext-mm check-data CONFIG --images" finds all such images'
            )
        # One short write in append mode does not interleave with other workers' writes.
        with open(self.record, 'a', encoding='utf-8') as file:
            file.write(f'{path}\t{reason}\n')
        return None

    def __repr__(self) -> str:
        return f'GuardedLoad({self.transform!r})'


def other_size(image, annotated: tuple) -> str:
    """How the size of an image differs from ``annotated`` (width, height); '' if it does not."""
    height, width = image.shape[:2]
    if None in annotated or (width, height) == annotated:
        return ''
    return f'it is {width} x {height}, annotated {annotated[0]} x {annotated[1]}'


def record_file(runner) -> Path:
    """Where the unreadable images of a run are listed."""
    return Path(runner._log_dir, FILE).absolute()


def guard_image_loading(node, record: str | None = None, sizes: bool = False):
    """A copy of a loader's config in which every ``LoadImageFromFile`` is guarded."""
    if isinstance(node, dict):
        kind = node.get('type')
        if isinstance(kind, str) and kind.rpartition('.')[2] == LOADER:
            return dict(type='GuardedLoad', transform=node, record=record, sizes=sizes)
        items = node.items()
        return type(node)({key: guard_image_loading(v, record, sizes) for key, v in items})
    if isinstance(node, list | tuple):
        return type(node)(guard_image_loading(value, record, sizes) for value in node)
    return node


@HOOKS.register_module()
class UnreadableImagesHook(Hook):
    """Skip training images that cannot be read; stop the run if there are too many.

    :class:`ConciseRunner` has this hook and guards the pipelines. Skipped images are listed in
    ``unreadable_images.txt`` beside the log; each is named in the log once, and their number at
    the end. In validation and test nothing is skipped: an unreadable image ends the run with a
    message, since the metrics would silently be those of another data set.

    Args:
        max_share: share of the training images that may be skipped.
        min_images: number of images that may be skipped in any case.
        interval: iterations between two checks of the list.

    Raises:
        UserError: above both limits, in every process.
    """

    priority = 'LOW'

    def __init__(self, max_share: float = 0.01, min_images: int = 10, interval: int = 10) -> None:
        if not 0 <= max_share <= 1 or min_images < 0 or interval < 1:
            raise UserError(
                f'UnreadableImagesHook: max_share={max_share}, min_images={min_images}, '
                f'interval={interval}; expected a share from 0 to 1, 0 or more, 1 or more'
            )
        self.max_share, self.min_images, self.interval = max_share, min_images, interval
        self.record: Path | None = None
        self.seen = 0  # bytes of the list read so far
        self.names: set[str] = set()

    def before_train(self, runner) -> None:
        self.record = record_file(runner)
        size = len(runner.train_dataloader.dataset)
        self.limit = max(self.min_images, int(self.max_share * size))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self.every_n_train_iters(runner, self.interval):
            self._look(runner)

    def after_train_epoch(self, runner) -> None:
        self._look(runner)

    def after_train(self, runner) -> None:
        self._read(runner)
        if self.names:  # the line of each is far above
            runner.logger.warning(
                f'trained without {counted(len(self.names), "image")} that could not be used: '
                f'{self.record}'
            )

    def _look(self, runner) -> None:
        self._read(runner)
        # All processes together: if only one stopped, the others would hang.
        (count,) = highest(len(self.names))
        if count > self.limit:
            raise UserError(
                f'{counted(count, "training image")} cannot be used (unreadable, or of another '
                f'size than annotated), more than the limit of {self.limit}; see {self.record}. Is '
                'the disk still mounted? Then go on with --resume, or allow more: '
                "custom_hooks=[dict(type='UnreadableImagesHook', max_share=...)]"
            )

    def _read(self, runner) -> None:
        try:
            if os.path.getsize(self.record) == self.seen:
                return
            lines = self.record.read_text(encoding='utf-8', errors='replace')
        except OSError:
            return  # nothing was skipped
        self.seen = len(lines.encode(errors='replace'))
        for line in lines.splitlines():
            path, _, reason = line.partition('\t')
            if path not in self.names:
                self.names.add(path)
                runner.logger.warning(
                    f'skipped {path}: {reason} ({len(self.names)} unreadable, limit {self.limit})'
                )
