"""mmdet's ``RetinaHead``: the best (anchor, class) pairs of every level, decoded and suppressed."""

import torch
from torch import Tensor, nn

from selnext_mm.export.detection.boxes import EMPTY, Anchors, Decoder, Suppression, best, pick
from selnext_mm.export.detection.support import expect_type, expect_value, positive


class DenseDetections(nn.Module):
    """maps -> boxes (N, K, 4) of the image, scores (N, K), labels (N, K); K is ``max_per_img``.

    Source: ``BaseDenseHead._predict_by_feat_single``, ``filter_scores_and_topk`` and
    ``_bbox_post_process`` of mmdet 3.3. Of every level mmdet takes the ``nms_pre`` best of all
    (anchor, class) pairs. All of these belong to the ``nms_pre`` anchors with the highest best
    score, so we choose these anchors first: a level of a large image has twelve million pairs.
    """

    def __init__(self, head) -> None:
        super().__init__()
        expect_type(head, 'RetinaHead', place='bbox_head')
        expect_value(head.use_sigmoid_cls, True, place='bbox_head.loss_cls.use_sigmoid')
        custom = getattr(head.loss_cls, 'custom_cls_channels', False)
        expect_value(custom, False, place='bbox_head.loss_cls.custom_cls_channels')
        cfg, place = head.test_cfg, 'test_cfg'
        self.head = head
        self.anchors = Anchors(head.prior_generator, 'bbox_head')
        self.decode = Decoder(head.bbox_coder, 'bbox_head')
        self.nms_pre = positive(cfg, 'nms_pre', place)
        self.score_thr, self.min_size = cfg.get('score_thr', 0), cfg.get('min_bbox_size', -1)
        self.suppress = Suppression.of(cfg.nms, positive(cfg, 'max_per_img', place), place)

    def forward(
        self, maps: list[Tensor], height: int, width: int, scale: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``scale`` (N, 4): pixels of the original image per pixel of the resized one."""
        classes = self.head.cls_out_channels
        scores, deltas, anchors, labels = [], [], [], []
        for i, (logits, regression) in enumerate(zip(*self.head(maps), strict=True)):
            grid = self.anchors(i, *logits.shape[2:])
            n = logits.shape[0]  # len() would make it a constant
            score = logits.permute(0, 2, 3, 1).reshape(n, -1, classes).sigmoid()
            regression = regression.permute(0, 2, 3, 1).reshape(n, -1, 4)
            there, anchor = best(score.amax(-1), self.nms_pre)
            score = pick(score, anchor)
            valid = (there >= 0)[..., None] & (score > self.score_thr)
            score, index = torch.where(valid, score, EMPTY).flatten(1).topk(self.nms_pre)
            anchor = anchor.gather(1, index // classes)
            scores.append(score)
            deltas.append(pick(regression, anchor))
            anchors.append(grid[anchor])
            labels.append(index % classes)
        scores, labels = torch.cat(scores, 1), torch.cat(labels, 1)
        boxes = self.decode(torch.cat(anchors, 1), torch.cat(deltas, 1), height, width)
        boxes = boxes * scale[:, None]
        if self.min_size >= 0:
            side = boxes[..., 2:] - boxes[..., :2]
            scores = torch.where((side > self.min_size).all(-1), scores, EMPTY)
        scores, index = self.suppress(boxes, scores, labels)
        return pick(boxes, index), scores, labels.gather(1, index)
