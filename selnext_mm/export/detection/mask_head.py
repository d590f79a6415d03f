"""mmdet's ``FCNMaskHead``: a small mask for every detection, for its class."""

from torch import Tensor, nn

from selnext_mm.export.detection.roi_features import RoIFeatures
from selnext_mm.export.detection.support import expect_type, expect_value, refuse


class Masks(nn.Module):
    """maps, rois (M, 5), labels (M,) -> probabilities (M, 28, 28) within the boxes.

    A cascade has one head per stage; the mean of their probabilities is taken.
    Source: ``CascadeRoIHead.predict_mask`` and ``FCNMaskHead._predict_by_feat_single`` of mmdet
    3.3, up to the point where masks are pasted into the image.
    """

    def __init__(self, roi_head) -> None:
        super().__init__()
        extractors, heads = roi_head.mask_roi_extractor, roi_head.mask_head
        if not isinstance(heads, nn.ModuleList):
            extractors, heads = [extractors], [heads]
        elif not isinstance(extractors, nn.ModuleList):
            extractors = [extractors] * len(heads)
        for head in heads:
            expect_type(head, 'FCNMaskHead', place='roi_head.mask_head')
            methods = (None, 'deconv', 'nearest', 'bilinear')
            expect_value(head.upsample_method, *methods, place='roi_head.mask_head.upsample_cfg')
        self.threshold = float(roi_head.test_cfg.mask_thr_binary)
        if self.threshold < 0:
            raise refuse(f'test_cfg.rcnn.mask_thr_binary={self.threshold:g}', '0 or more')
        self.heads = nn.ModuleList(heads)
        self.class_agnostic = heads[0].class_agnostic
        self.features = nn.ModuleList(
            RoIFeatures(e, 'roi_head.mask_roi_extractor') for e in extractors
        )

    def forward(self, maps: list[Tensor], rois: Tensor, labels: Tensor) -> Tensor:
        total = None
        for extract, head in zip(self.features, self.heads, strict=True):
            masks = head(extract(maps, rois)).sigmoid()
            total = masks if total is None else total + masks
        total = total / len(self.heads)
        if self.class_agnostic:
            return total[:, 0]
        index = labels[:, None, None, None].expand(-1, 1, *total.shape[2:])
        return total.gather(1, index)[:, 0]
