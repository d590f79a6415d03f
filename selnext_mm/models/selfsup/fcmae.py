"""Fully convolutional masked autoencoder (FCMAE): pretraining without labels on mmpretrain."""

import math

import torch
from mmpretrain.models.selfsup.base import BaseSelfSupervisor
from torch import Tensor, nn

from selnext_mm.models.backbones.selnext_block import SELNeXtBlock
from selnext_mm.models.selfsup.masked import (
    check_maskable,
    masked_forward,
    random_visible,
    resize_mask,
)


class FCMAE(BaseSelfSupervisor):
    """Hide cells of an image, encode what is left, and predict the pixels of the hidden cells.

    The encoder is the backbone on the visible part
    (:func:`~selnext_mm.models.selfsup.masked.masked_forward`). The decoder fills hidden positions
    of the last map with a learned token: ``1x1 convolution, tokens, blocks, 1x1 convolution``,
    the last one with ``3 * stride ** 2`` channels, which are the pixels under a position. The head
    compares them with the images over the hidden patches only.

    The trained ``backbone.`` has the keys of a classifier or detector: ``init_cfg=dict(
    type='Pretrained', checkpoint=FILE, prefix='backbone.')``.

    Source: "ConvNeXt V2: Co-designing and Scaling ConvNets with Masked Autoencoders", sections 3
    and 4, which the SELNeXt paper names as future work. Differences: the mask is applied repeatedly
    instead of using sparse convolutions (same numbers), the decoder's block is SELNeXt's, the
    last map goes through its output norm, and ``patch_size`` may be smaller than the stride.

    Args:
        backbone: a ``SELNeXt`` with ``gap_before_final_norm=False``; its last map is decoded.
        head: mmpretrain's ``MAEPretrainHead``; its ``patch_size`` is set from here.
        patch_size: side of a hidden or visible cell in pixels, a multiple of the stem's stride.
        mask_ratio: share of hidden cells, 0.6 in the source.
        decoder_channels: width of the decoder, 512 in the source.
        decoder_depth: number of its blocks, 1 in the source.
        data_preprocessor, init_cfg: as for every model of mmpretrain.

    Raises:
        ValueError: for arguments outside these limits, a backbone that is not SELNeXt, and
        images that are not square or whose side is not a multiple of stride and patch.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict,
        patch_size: int = 32,
        mask_ratio: float = 0.6,
        decoder_channels: int = 512,
        decoder_depth: int = 1,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            backbone=backbone,
            head=dict(head, patch_size=patch_size),
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        check_maskable(self.backbone)
        if not 0 < mask_ratio < 1:
            raise ValueError(f'mask_ratio={mask_ratio!r}; expected more than 0 and less than 1')
        if decoder_depth < 1:
            raise ValueError(f'decoder_depth={decoder_depth!r}; expected 1 or more')
        stem = self.backbone.downsample_layers[0][0]
        if patch_size < 1 or patch_size % stem.stride[0]:
            raise ValueError(
                f'patch_size={patch_size!r}; expected a multiple of {stem.stride[0]}, the stride '
                'of the stem'
            )
        self.patch_size, self.mask_ratio = patch_size, mask_ratio
        last = max(self.backbone.out_indices)
        self.stride = stem.stride[0] * 2**last
        channels = self.backbone.channels[last]
        self.projection = nn.Conv2d(channels, decoder_channels, 1)
        self.mask_token = nn.Parameter(torch.zeros(1, decoder_channels, 1, 1))
        gate = dict(type='SELN', reduction=16)
        self.decoder = nn.Sequential(
            *[
                SELNeXtBlock(decoder_channels, attention_cfg=gate, layer_scale_init_value=0)
                for _ in range(decoder_depth)
            ]
        )
        self.prediction = nn.Conv2d(decoder_channels, stem.in_channels * self.stride**2, 1)

    def init_weights(self) -> None:
        """Initialise the layers around the backbone as the backbone: normal with std 0.02."""
        super().init_weights()
        nn.init.normal_(self.mask_token, std=0.02)
        for part in (self.projection, self.decoder, self.prediction):
            for module in part.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    nn.init.trunc_normal_(module.weight, std=0.02)
                    nn.init.zeros_(module.bias)

    def draw_mask(self, images: Tensor) -> Tensor:
        """A mask (N, 1, H / patch, W / patch) of 1 (visible) and 0, see :func:`random_visible`."""
        height, width = images.shape[2:]
        step = math.lcm(self.stride, self.patch_size)
        if height != width or height % step or height // self.patch_size < 2:
            raise ValueError(
                f'images of {width} x {height} pixels; expected square ones whose side is a '
                f'multiple of {step} (stride {self.stride}, patch_size {self.patch_size}) and at '
                'least two patches. Set the sizes in the pipeline'
            )
        grid = (height // self.patch_size, width // self.patch_size)
        return random_visible(len(images), grid, self.mask_ratio, images.device)

    def reconstruct(self, images: Tensor, visible: Tensor) -> Tensor:
        """The predicted images (N, C, H, W), normalised as the head's target; see ``norm_pix``."""
        x = masked_forward(self.backbone, images, visible)[-1]
        mask = resize_mask(visible, x.shape[2:])
        x = self.projection(x) * mask + self.mask_token * (1 - mask)
        pixels = self.prediction(self.decoder(x))
        return nn.functional.pixel_shuffle(pixels, self.stride)

    def loss(self, inputs: Tensor, data_samples: list, **kwargs) -> dict[str, Tensor]:
        """``dict(loss=...)`` of a batch (N, C, H, W): mean squared error over hidden patches."""
        visible = self.draw_mask(inputs)
        predicted = self.head.patchify(self.reconstruct(inputs, visible))
        return dict(loss=self.head.loss(predicted, inputs, (1 - visible).flatten(1)))
