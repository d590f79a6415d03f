"""mmdet's test-time augmentation for detectors with masks, which mmdet does not support."""

import torch
from mmcv.ops import batched_nms
from mmdet.models.test_time_augs import DetTTAModel
from mmengine.registry import MODELS
from mmengine.structures import InstanceData


@MODELS.register_module()
class MaskTTAModel(DetTTAModel):
    """One NMS over the boxes of all views, flipped back; each box keeps the mask of its view.

    ``tta_cfg``: ``nms`` and ``max_per_img``, as for ``mmdet.DetTTAModel``; the boxes are the same.
    """

    def _merge_single_sample(self, data_samples):
        found = [sample.pred_instances for sample in data_samples]
        if found[0].get('masks', None) is None:
            return super()._merge_single_sample(data_samples)
        metas = [sample.metainfo for sample in data_samples]
        boxes, scores = self.merge_aug_bboxes(
            [f.bboxes for f in found], [f.scores for f in found], metas
        )
        labels = torch.cat([f.labels for f in found])
        views = zip(found, metas, strict=True)
        masks = torch.cat([flip_back(torch.as_tensor(f.masks), meta) for f, meta in views])
        result = data_samples[0]
        if boxes.numel():
            best, kept = batched_nms(boxes, scores, labels, self.tta_cfg.nms)
            best, kept = best[: self.tta_cfg.max_per_img], kept[: self.tta_cfg.max_per_img]
            result.pred_instances = InstanceData(
                bboxes=best[:, :4], scores=best[:, 4], labels=labels[kept], masks=masks[kept]
            )
        return result


def flip_back(masks: torch.Tensor, meta: dict) -> torch.Tensor:
    """(N, H, W) masks of a view converted to the image: flipped if the view was."""
    if not meta.get('flip'):
        return masks
    axes = {'horizontal': (2,), 'vertical': (1,), 'diagonal': (1, 2)}
    return masks.flip(axes[meta['flip_direction']])
