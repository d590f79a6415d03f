"""mmdet's ``SingleRoIExtractor``: the features of a box come from the map that fits its size."""

import torch
from torch import Tensor, nn

from selnext_mm.export.detection.support import expect_type, expect_value


class RoIFeatures(nn.Module):
    """maps, rois (R, 5) as image, x1, y1, x2, y2 -> (R, C, size, size).

    level = floor(log2(sqrt(area) / finest_scale + 1e-6)), clipped to the existing levels. It is
    computed by comparison with powers of two, because ONNX has no log2.
    Source: ``SingleRoIExtractor.forward`` and ``map_roi_levels`` of mmdet 3.3.
    """

    def __init__(self, extractor, place: str) -> None:
        super().__init__()
        expect_type(extractor, 'SingleRoIExtractor', place=place)
        layers = list(extractor.roi_layers)
        for layer in layers:
            expect_type(layer, 'RoIAlign', place=f'{place}.roi_layer')
            expect_value(layer.aligned, True, place=f'{place}.roi_layer.aligned')
            expect_value(layer.pool_mode, 'avg', place=f'{place}.roi_layer.pool_mode')
        height, width = layers[0].output_size
        expect_value(width, height, place=f'{place}.roi_layer.output_size')
        self.size, self.sampling_ratio = int(height), int(layers[0].sampling_ratio)
        self.scales = [float(layer.spatial_scale) for layer in layers]
        self.finest_scale = extractor.finest_scale

    def forward(self, maps: list[Tensor], rois: Tensor) -> Tensor:
        maps = list(maps[: len(self.scales)])
        area = (rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2])
        ratio = area.sqrt() / self.finest_scale + 1e-6
        levels = torch.zeros_like(ratio, dtype=torch.int64)
        for i in range(1, len(maps)):
            levels = levels + (ratio >= 2**i).long()
        return torch.ops.selnext_mm.roi_align_pyramid(
            maps, rois, levels, self.scales, self.size, self.sampling_ratio
        )
