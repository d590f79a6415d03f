"""mmdet's box heads of ``StandardRoIHead`` and ``CascadeRoIHead``, from proposals to detections."""

import torch
from torch import Tensor, nn

from selnext_mm.export.detection.boxes import EMPTY, Decoder, Suppression, pick
from selnext_mm.export.detection.roi_features import RoIFeatures
from selnext_mm.export.detection.support import expect_type, expect_value, positive

HEADS = ('BBoxHead', 'ConvFCBBoxHead', 'Shared2FCBBoxHead', 'Shared4Conv1FCBBoxHead')


def with_image(boxes: Tensor) -> Tensor:
    """(N, K, 4) -> (N * K, 5): the index of the image before every box, as RoIAlign expects it."""
    n, k = boxes.shape[:2]
    image = torch.arange(n, device=boxes.device, dtype=boxes.dtype)[:, None, None]
    return torch.cat([image.expand(n, k, 1), boxes], -1).flatten(0, 1)


class BoxStage(nn.Module):
    """A head with its extractor: proposals (N, K, 4) -> logits (N, K, C + 1), deltas (N, K, B, 4).

    B is the number of classes, or 1 if they share a box (``reg_class_agnostic``).
    """

    def __init__(self, extractor, head, place: str) -> None:
        super().__init__()
        expect_type(head, *HEADS, place=f'{place}.bbox_head')
        expect_value(head.with_cls and head.with_reg, True, place=f'{place}: with_cls and with_reg')
        expect_value(head.custom_cls_channels, False, place=f'{place}: custom_cls_channels')
        expect_value(head.custom_activation, False, place=f'{place}: custom_activation')
        self.head = head
        self.features = RoIFeatures(extractor, f'{place}.bbox_roi_extractor')
        self.decode = Decoder(head.bbox_coder, f'{place}.bbox_head')

    def forward(self, maps: list[Tensor], proposals: Tensor) -> tuple[Tensor, Tensor]:
        n, k = proposals.shape[:2]
        logits, deltas = self.head(self.features(maps, with_image(proposals)))
        return logits.reshape(n, k, -1), deltas.reshape(n, k, -1, 4)

    def refine(
        self, proposals: Tensor, logits: Tensor, deltas: Tensor, height: int, width: int
    ) -> Tensor:
        """The proposals moved by the deltas of their best class (``regress_by_class``)."""
        if deltas.shape[2] > 1:
            label = logits[..., :-1].argmax(-1)[..., None, None]
            deltas = deltas.gather(2, label.expand(-1, -1, 1, 4))
        return self.decode(proposals, deltas[:, :, 0], height, width)


class Detections(nn.Module):
    """Proposals -> boxes (N, D, 4), scores (N, D), labels (N, D); D is ``max_per_img``.

    A cascade refines the proposals stage by stage, and its logits are the mean over the stages.
    Source: ``CascadeRoIHead._refine_roi``, ``BBoxHead._predict_by_feat_single`` and
    ``multiclass_nms`` of mmdet 3.3.
    """

    def __init__(self, roi_head) -> None:
        super().__init__()
        expect_type(roi_head, 'StandardRoIHead', 'CascadeRoIHead', place='roi_head')
        shared = getattr(roi_head, 'with_shared_head', False)
        expect_value(shared, False, place='roi_head.with_shared_head')
        extractors, heads = roi_head.bbox_roi_extractor, roi_head.bbox_head
        if not isinstance(heads, nn.ModuleList):
            extractors, heads = [extractors], [heads]
        self.stages = nn.ModuleList(
            BoxStage(e, h, 'roi_head') for e, h in zip(extractors, heads, strict=True)
        )
        cfg, place = roi_head.test_cfg, 'test_cfg.rcnn'
        self.score_thr = float(cfg.score_thr)
        self.suppress = Suppression.of(cfg.nms, positive(cfg, 'max_per_img', place), place)

    def forward(
        self,
        maps: list[Tensor],
        proposals: Tensor,
        proposal_scores: Tensor,
        height: int,
        width: int,
        scale: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The boxes are multiplied by ``scale`` (N, 4) before the suppression, as in mmdet."""
        total = None
        for i, stage in enumerate(self.stages):
            logits, deltas = stage(maps, proposals)
            total = logits if total is None else total + logits
            if i < len(self.stages) - 1:
                proposals = stage.refine(proposals, logits, deltas, height, width)
        scores = (total / len(self.stages)).softmax(-1)[..., :-1]
        boxes = stage.decode(proposals[:, :, None], deltas, height, width)
        if scale is not None:
            boxes = boxes * scale[:, None, None]
        n, k, classes = scores.shape
        labels = torch.arange(classes, device=scores.device).expand(n, k, classes).flatten(1)
        there = (proposal_scores >= 0)[..., None] & (scores > self.score_thr)
        scores = torch.where(there, scores, EMPTY).flatten(1)
        boxes = boxes.expand(n, k, classes, 4).flatten(1, 2)
        scores, index = self.suppress(boxes, scores, labels)
        return pick(boxes, index), scores, labels.gather(1, index)
