"""Masks that stay polygons until the image has its final size."""

import numpy as np
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PolygonsToBitmaps:
    """``gt_masks`` as mmdet's ``BitmapMasks`` (n, H, W) uint8, from its ``PolygonMasks``.

    It is the last step before packing, after ``LoadAnnotations(poly2mask=False)`` and the
    augmentation. To resize and flip a polygon costs nothing; a bitmap of each object in a photo of
    twelve megapixels takes longer than to read the photo. Other masks are left as they are.
    """

    def __call__(self, results: dict) -> dict:
        from mmdet.structures.mask import BitmapMasks, PolygonMasks

        masks = results.get('gt_masks')
        if isinstance(masks, PolygonMasks):
            bitmaps = masks.to_ndarray().astype(np.uint8)
            results['gt_masks'] = BitmapMasks(bitmaps, masks.height, masks.width)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
