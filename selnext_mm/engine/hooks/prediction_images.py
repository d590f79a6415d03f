"""Draw predictions in each evaluation, for the loggers that also receive the scalars."""

import inspect
import re
from pathlib import Path

import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop

from selnext_mm.datasets.pixels import read_rgb

SIDE = 256  # a classifier's images are enlarged to this side


@HOOKS.register_module()
class PredictionImagesHook(Hook):
    """Draw the same ``num`` images in each evaluation, spread over the validation set.

    mmdet's own hook takes a different image each time. The visualizer's backends store them: the
    local one in ``vis_data/vis_image/``, as ``prediction_<number>_<name>_<step>.png``. ``step`` is
    the epoch, or the iteration in iteration-based training.

    Args:
        num: number of images, from the first process's share.
        score_thr: predictions below it are not drawn.
    """

    priority = 'LOW'

    def __init__(self, num: int, score_thr: float = 0.3) -> None:
        self.num, self.score_thr = num, score_thr
        self.seen = 0
        self.chosen: dict[int, int] = {}  # index of an image in this process -> its number

    def before_val_epoch(self, runner) -> None:
        loader = runner.val_dataloader
        total = len(loader.sampler) if hasattr(loader, 'sampler') else len(loader.dataset)
        num = min(self.num, total)
        places = [k * total // num for k in range(num)]
        self.seen, self.chosen = 0, {place: k for k, place in enumerate(places)}

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        for n, sample in enumerate(outputs or ()):
            number = self.chosen.get(self.seen)
            self.seen += 1
            if number is not None and is_main_process():
                self._draw(runner, number, sample, data_batch['inputs'][n])

    def _draw(self, runner, number: int, sample, tensor) -> None:
        path = sample.get('img_path')
        try:
            image = read_rgb(path) if path else tensor.permute(1, 2, 0).cpu().numpy()
        except OSError:  # the loader has already reported the file
            return
        image = np.ascontiguousarray(image, np.uint8)
        stem = re.sub(r'\W+', '_', Path(path).stem) if path else 'image'
        by_iter = isinstance(runner._train_loop, IterBasedTrainLoop)
        name, step = f'prediction_{number}_{stem}', runner.iter if by_iter else runner.epoch
        visualizer = runner.visualizer
        if hasattr(visualizer, 'visualize_cls'):
            factor = max(1.0, SIDE / min(image.shape[:2]))
            visualizer.visualize_cls(image, sample, rescale_factor=factor, name=name, step=step)
        else:
            draw = visualizer.add_datasample
            # Label maps have no scores.
            scored = 'pred_score_thr' in inspect.signature(draw).parameters
            limit = dict(pred_score_thr=self.score_thr) if scored else {}
            draw(name, image, data_sample=sample, step=step, **limit)
