"""Table 1 of PATNet, which its Fig. 1 (b) draws: ImageNet-1k accuracy and what it costs.

Digits as printed in "Partial Convolution Meets Visual Attention"; cells that are garbled in its
text are from its Table 9. Throughput in images of 224 x 224 per second on a V100 and an MI250,
latency of one image on a CPU in milliseconds.
"""

from selnext_mm.analysis.papers.paper_model import PaperModel

# name, params (M), FLOPs (G), images/s on a V100, on an MI250, ms on a CPU, top-1
TABLE1 = (
    ('ShuffleNetV2 x1.5', 3.5, 0.3, 5315, 6642, 13.7, 72.6),
    ('MobileNetV2', 3.5, 0.31, 3924, 7359, 13.7, 72.0),
    ('FasterNet-T0', 3.9, 0.34, 8546, 10612, 10.5, 71.9),
    ('MobileViTv2-0.5', 1.4, 0.46, 3094, 3135, 15.8, 70.2),
    ('PATNet-T0', 4.3, 0.25, 7777, 11744, 12.2, 73.9),
    ('EfficientNet-B0', 5.3, 0.39, 2934, 3344, 22.7, 77.1),
    ('ShuffleNetV2 x2', 7.4, 0.59, 4290, 5371, 22.6, 74.9),
    ('MobileNetV2 x1.4', 6.1, 0.6, 2615, 4142, 21.7, 74.7),
    ('FasterNet-T1', 7.6, 0.85, 4648, 7198, 22.2, 76.2),
    ('PATNet-T1', 7.8, 0.55, 4403, 7379, 21.5, 78.1),
    ('EfficientNet-B1', 7.8, 0.7, 1730, 1583, 35.5, 79.1),
    ('ResNet50', 25.6, 4.11, 1258, 3135, 94.8, 78.8),
    ('FasterNet-T2', 15.0, 1.91, 2455, 4189, 43.7, 78.9),
    ('PoolFormer-S12', 11.9, 1.82, 1927, 3558, 56.1, 77.2),
    ('MobileViTv2-1.0', 4.9, 1.85, 1391, 1543, 41.5, 78.1),
    ('EfficientViT-B1', 9.1, 0.52, 3072, 3387, 25.7, 79.4),
    ('PATNet-T2', 12.6, 1.03, 3074, 4761, 35.2, 80.2),
    ('EfficientNet-B3', 12.0, 1.8, 768, 926, 73.5, 81.6),
    ('ConvNeXt-T', 28.6, 4.47, 902, 1103, 99.4, 82.1),
    ('FasterNet-S', 31.1, 4.56, 1261, 2243, 96.0, 81.3),
    ('PoolFormer-S36', 30.9, 5.0, 675, 1092, 152.4, 81.4),
    ('MobileViTv2-2.0', 18.5, 7.5, 551, 684, 103.7, 81.2),
    ('Swin-T', 28.3, 4.51, 808, 1192, 107.1, 81.3),
    ('PATNet-S', 29.0, 2.71, 1559, 2422, 72.5, 82.1),
    ('EfficientNet-B4', 19.0, 4.2, 356, 442, 156.9, 82.9),
    ('ConvNeXt-S', 50.2, 8.71, 510, 610, 185.5, 83.1),
    ('FasterNet-M', 53.5, 8.74, 621, 1098, 181.6, 83.0),
    ('PoolFormer-M36', 56.2, 8.8, 444, 721, 244.3, 82.1),
    ('Swin-S', 49.6, 8.77, 477, 732, 199.1, 83.0),
    ('PATNet-M', 61.3, 6.69, 799, 1280, 155.3, 83.1),
    ('EfficientNet-B5', 30.0, 9.9, 246, 313, 333.3, 83.6),
    ('ConvNeXt-B', 88.6, 15.38, 322, 430, 317.1, 83.8),
    ('FasterNet-L', 93.5, 15.52, 384, 709, 312.5, 83.5),
    ('PoolFormer-M48', 73.5, 11.59, 335, 556, 322.3, 82.5),
    ('Swin-B', 87.8, 15.47, 315, 520, 333.8, 83.5),
    ('PATNet-L', 104.3, 11.91, 426, 765, 272.5, 83.9),
)
FAMILIES = (
    *('PATNet', 'FasterNet', 'MobileViTv2', 'EfficientNet', 'ShuffleNetV2', 'MobileNetV2'),
    *('PoolFormer', 'ConvNeXt', 'Swin'),
)


def _family(name: str) -> str:
    return next((f for f in FAMILIES if name.startswith(f)), name)


# Milliseconds per image: 1000 / throughput on the V100, and the latency on the CPU.
PATNET_GPU = tuple(
    PaperModel(name, _family(name), params, flops, round(1000 / v100, 4), accuracy)
    for name, params, flops, v100, _, _, accuracy in TABLE1
)
PATNET_CPU = tuple(
    PaperModel(name, _family(name), params, flops, cpu, accuracy)
    for name, params, flops, _, _, cpu, accuracy in TABLE1
)
