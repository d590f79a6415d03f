"""A whole detector as one module: pixels in, boxes, scores, labels and masks out."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selnext_mm.export.detection.box_head import Detections, with_image
from selnext_mm.export.detection.mask_head import Masks
from selnext_mm.export.detection.retina import DenseDetections
from selnext_mm.export.detection.rpn import Proposals
from selnext_mm.export.detection.support import expect_type, expect_value, refuse
from selnext_mm.export.graphs import preprocessing

INPUTS = ('images', 'sizes')


class DetectorGraph(nn.Module):
    """(N, H, W, 3) uint8 images -> the objects in them.

    The images have the size that the test pipeline gives them, and the channel order that the
    model was trained with. The graph normalises them and pads them on the right and at the bottom,
    as mmdet's data preprocessor does. H and W may vary, but not within a batch.

    ``sizes`` (N, 2) int64: height and width of the images before they were resized. The boxes are
    in pixels of these original images. Pass H and W to get them in pixels of ``images``.

    Outputs, M detections of all images in order, best first within an image:

    - ``boxes`` (M, 4) float: x1, y1, x2, y2;
    - ``scores`` (M,) float, ``labels`` (M,) int64, ``image_index`` (M,) int64 in 0..N-1;
    - ``masks`` (M, 28, 28) float with a mask head: probabilities within the box.

    Raises:
        UserError: for a part that cannot be written; it names the first one.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        prep = model.data_preprocessor
        expect_type(prep, 'DetDataPreprocessor', place='data_preprocessor')
        self.backbone = model.backbone
        self.neck = getattr(model, 'neck', None)
        self.masks = self.proposals = None
        if hasattr(model, 'roi_head'):
            if getattr(model, 'rpn_head', None) is None:
                raise refuse('a detector without rpn_head', 'an RPNHead')
            self.proposals = Proposals(model.rpn_head)
            self.detections = Detections(model.roi_head)
            if model.roi_head.with_mask:
                self.masks = Masks(model.roi_head)
        else:
            expect_type(model, 'RetinaNet', 'SingleStageDetector', place='model')
            self.detections = DenseDetections(model.bbox_head)
        mean, std, _ = preprocessing(model)
        self.register_buffer('mean', mean.clone())
        self.register_buffer('std', std.clone())
        self.divisor, self.pad_value = int(prep.pad_size_divisor), float(prep.pad_value)
        expect_value(bool(getattr(prep, 'boxtype2tensor', True)), True, place='boxtype2tensor')
        names = ('boxes', 'scores', 'labels', 'image_index', 'masks')
        self.outputs = names if self.masks is not None else names[:-1]

    def prepare(self, images: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 -> (N, 3, H', W') float, normalised and then padded."""
        height, width = images.shape[1:3]
        x = (images.permute(0, 3, 1, 2).float() - self.mean) / self.std
        down, across = ((n + self.divisor - 1) // self.divisor for n in (height, width))
        over = (0, across * self.divisor - width, 0, down * self.divisor - height)
        return F.pad(x, over, value=self.pad_value)

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        height, width = images.shape[1:3]
        maps = self.backbone(self.prepare(images))
        if self.neck is not None:
            maps = self.neck(maps)
        own = torch.stack([torch.full_like(sizes[:, 0], n) for n in (width, height)], 1).float()
        sizes = sizes.flip(1).float()
        scale = (sizes / own).repeat(1, 2)
        if self.proposals is None:
            boxes, scores, labels = self.detections(maps, height, width, scale)
        else:
            # With masks the boxes are scaled at the very end, as in mmdet.
            before = scale if self.masks is None else None
            proposals, proposal_scores = self.proposals(maps, height, width)
            boxes, scores, labels = self.detections(
                maps, proposals, proposal_scores, height, width, before
            )
        (found,) = torch.where(scores.flatten() >= 0)
        rois, labels = with_image(boxes)[found], labels.flatten()[found]
        result = rois[:, 1:]
        image = rois[:, 0].long()
        if self.masks is not None:
            result = result / (own / sizes).repeat(1, 2)[image]
        plain = (result, scores.flatten()[found], labels, image)
        if self.masks is None:
            return plain
        return (*plain, self.masks(maps, rois, labels))
