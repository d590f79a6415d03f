"""A folder of images as normalised batches for a backbone."""

import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor, nn

from selnext_mm.datasets.image_suffixes import IMAGE_SUFFIXES, is_image_file, paths_below
from selnext_mm.errors import UserError

CROP_RATIO = 0.875  # a 224 crop out of 256, as in the paper's evaluation
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def find_images(folder: str | Path, limit: int | None = None) -> list[Path]:
    """Images below ``folder``, sorted; ``limit`` of them, evenly spaced.

    Raises:
        UserError: if it is not a folder or has no images.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f'{folder} is not a folder')
    paths = sorted(p for p in paths_below(folder) if is_image_file(p))
    if not paths:
        raise UserError(f'no images ({", ".join(IMAGE_SUFFIXES)}) in {folder}')
    if limit is not None and limit < len(paths):
        paths = [paths[i * len(paths) // limit] for i in range(limit)]
    return paths


def read_image(path: Path, size: int) -> np.ndarray:
    """RGB (size, size, 3): short side resized to ``size / 0.875`` (bicubic), then centre-cropped.

    Raises:
        UserError: if the file is not a readable image.
    """
    try:
        with Image.open(path) as file:
            picture = file.convert('RGB')
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f'{path} is not an image that Pillow can read') from error
    scale = round(size / CROP_RATIO) / min(picture.size)
    width, height = (max(size, round(side * scale)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(picture.crop((left, top, left + size, top + size)))


def _read_ahead(paths: Sequence[Path], size: int, count: int) -> Generator[np.ndarray, None, None]:
    """The images in order; threads read up to ``count`` of them ahead of their use."""
    usable = getattr(os, 'sched_getaffinity', None)  # Linux: the cores of this process
    pool = ThreadPoolExecutor(len(usable(0)) if usable else os.cpu_count())
    waiting: deque[Future] = deque()
    try:
        for path in paths:
            waiting.append(pool.submit(read_image, path, size))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Also when the consumer stops, or an image cannot be read.
        pool.shutdown(wait=True, cancel_futures=True)


def _takes_bgr(preprocessor: nn.Module | None) -> bool:
    """Whether the model gets the channels in OpenCV's order, blue first.

    mmpretrain's and mmengine's preprocessors say whether they swap what OpenCV has read.
    """
    for name in ('to_rgb', '_channel_conversion'):
        if hasattr(preprocessor, name):
            return not getattr(preprocessor, name)
    return False


def batches(
    paths: Sequence[Path], model: nn.Module, size: int = 224, batch_size: int = 32
) -> Iterator[Tensor]:
    """Normalised batches (N, 3, size, size) on the model's device.

    While one batch is in use, threads read the images of the next, one thread per core. Mean and
    std are those of ``model.data_preprocessor``, and so is the order of the channels.
    """
    device = next(model.parameters()).device
    prep = getattr(model, 'data_preprocessor', None)
    mean = getattr(prep, 'mean', None)
    std = getattr(prep, 'std', None)
    mean = torch.tensor(MEAN).view(3, 1, 1) if mean is None else mean
    std = torch.tensor(STD).view(3, 1, 1) if std is None else std
    mean, std, bgr = mean.to(device), std.to(device), _takes_bgr(prep)
    images = _read_ahead(paths, size, batch_size)
    with closing(images):
        while batch := list(islice(images, batch_size)):
            x = torch.from_numpy(np.stack(batch)).to(device).permute(0, 3, 1, 2).float()
            x = x.flip(1) if bgr else x
            yield (x - mean) / std
