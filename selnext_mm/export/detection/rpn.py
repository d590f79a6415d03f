"""mmdet's ``RPNHead``: the best anchors of every level, decoded and suppressed."""

import torch
from torch import Tensor, nn

from selnext_mm.export.detection.boxes import EMPTY, Anchors, Decoder, Suppression, best, pick
from selnext_mm.export.detection.support import expect_type, expect_value, positive


class Proposals(nn.Module):
    """maps -> proposals (N, K, 4) and their scores (N, K), best first; K is ``max_per_img``.

    Source: ``RPNHead._predict_by_feat_single`` and ``_bbox_post_process`` of mmdet 3.3.
    """

    def __init__(self, head) -> None:
        super().__init__()
        expect_type(head, 'RPNHead', place='rpn_head')
        expect_value(head.use_sigmoid_cls, True, place='rpn_head.loss_cls.use_sigmoid')
        cfg, place = head.test_cfg, 'test_cfg.rpn'
        self.head = head
        self.anchors = Anchors(head.prior_generator, 'rpn_head')
        self.decode = Decoder(head.bbox_coder, 'rpn_head')
        self.nms_pre = positive(cfg, 'nms_pre', place)
        self.min_size = cfg.get('min_bbox_size', -1)
        self.suppress = Suppression.of(cfg.nms, positive(cfg, 'max_per_img', place), place)

    def forward(self, maps: list[Tensor], height: int, width: int) -> tuple[Tensor, Tensor]:
        scores, deltas, anchors, levels = [], [], [], []
        for i, (logits, regression) in enumerate(zip(*self.head(maps), strict=True)):
            grid = self.anchors(i, *logits.shape[2:])
            score = logits.permute(0, 2, 3, 1).flatten(1).sigmoid()
            regression = regression.permute(0, 2, 3, 1).reshape(*score.shape, 4)
            score, index = best(score, self.nms_pre)
            scores.append(score)
            deltas.append(pick(regression, index))
            anchors.append(grid[index])
            levels.append(torch.full_like(index, i))
        scores = torch.cat(scores, 1)
        boxes = self.decode(torch.cat(anchors, 1), torch.cat(deltas, 1), height, width)
        if self.min_size >= 0:
            side = boxes[..., 2:] - boxes[..., :2]
            scores = torch.where((side > self.min_size).all(-1), scores, EMPTY)
        scores, index = self.suppress(boxes, scores, torch.cat(levels, 1))
        return pick(boxes, index), scores
