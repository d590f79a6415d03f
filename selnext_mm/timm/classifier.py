"""A backbone of this package behind the interface that timm expects of a model."""

from collections.abc import Sequence

import torch
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from selnext_mm.framework.plain import initialize

POOLS = ('avg', '')


class LinearHead(nn.Module):
    """Dropout and one linear layer ``fc``; the names of MMPretrain's ``LinearClsHead``.

    Shapes: (N, in_features) -> (N, num_classes), or unchanged for 0 classes.
    """

    classifier = 'head.fc'

    def __init__(self, in_features: int, num_classes: int, drop_rate: float) -> None:
        super().__init__()
        self.num_features = in_features
        self.drop_rate = drop_rate
        self.reset(num_classes)

    @property
    def last(self) -> nn.Module:
        """The classifier itself."""
        return self.fc

    def reset(self, num_classes: int) -> None:
        """Replace the head by a new one with ``num_classes`` outputs."""
        self.fc = fresh_linear(self.num_features, num_classes)

    def pre_logits(self, x: Tensor) -> Tensor:
        """The input of the classifier, before its dropout."""
        return x

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.pre_logits(x)
        return x if pre_logits else self.last(drop(x, self))


class StackedHead(LinearHead):
    """Linear, Hardswish, dropout, linear; the names of MMPretrain's ``StackedLinearClsHead``.

    Shapes: (N, in_features) -> (N, num_classes), or (N, hidden) for 0 classes.
    """

    classifier = 'head.layers.1.fc'

    def __init__(
        self, in_features: int, num_classes: int, drop_rate: float, hidden: int = 1280
    ) -> None:
        nn.Module.__init__(self)
        self.num_features = hidden
        self.drop_rate = drop_rate
        self.layers = nn.ModuleList([nn.Module(), nn.Module()])
        self.layers[0].fc = fresh_linear(in_features, hidden)
        self.act = nn.Hardswish()
        self.reset(num_classes)

    @property
    def last(self) -> nn.Module:
        return self.layers[1].fc

    def reset(self, num_classes: int) -> None:
        self.layers[1].fc = fresh_linear(self.num_features, num_classes)

    def pre_logits(self, x: Tensor) -> Tensor:
        return self.act(self.layers[0].fc(x))


def drop(x: Tensor, head: LinearHead) -> Tensor:
    """Dropout with the rate of ``head`` in training."""
    return nn.functional.dropout(x, head.drop_rate, head.training)


def fresh_linear(in_features: int, out_features: int) -> nn.Module:
    """A linear layer, truncated normal with std 0.02; the identity for 0 outputs."""
    if not out_features:
        return nn.Identity()
    layer = nn.Linear(in_features, out_features)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return layer


class Classifier(nn.Module):
    """``backbone``, ``neck`` and ``head`` with timm's methods.

    The tensors have the names of MMPretrain's ImageClassifier with the same parts, so a checkpoint
    of ``selnext-mm train`` loads as it is.

    ``forward_features`` returns the last map (N, C, h, w), ``forward_head`` pools it and
    classifies. With ``global_pool=''`` it classifies each position, (N, num_classes, h, w), as
    timm's ConvNeXt does; with ``num_classes=0``, too, it returns the map.

    Args:
        backbone: with ``run_stage`` and ``stages``.
        channels: width of each stage.
        head: takes the features of ``neck``, or else the backbone's pooled output.
        neck: from the last map to features (N, F); None for the backbone's own mean.
        num_classes: outputs of ``head``.
        in_chans: channels of the input.
        global_pool: 'avg' or ''.

    Raises:
        ValueError: for another pooling.
    """

    def __init__(
        self,
        backbone: nn.Module,
        channels: Sequence[int],
        head: LinearHead,
        neck: nn.Module | None = None,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = 'avg',
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.head = head
        self.in_chans = in_chans
        self.num_features = channels[-1]
        self.head_hidden_size = head.num_features
        self.feature_info = [
            dict(num_chs=width, reduction=4 * 2**i, module=f'backbone.stages.{i}')
            for i, width in enumerate(channels)
        ]
        for part in (backbone, neck):
            for cfg in as_list(getattr(part, 'init_cfg', None)):
                initialize(part, cfg)
        self._set_classes(num_classes, global_pool)

    def _set_classes(self, num_classes: int, global_pool: str) -> None:
        if global_pool not in POOLS:
            raise ValueError(f'global_pool={global_pool!r}; expected one of {POOLS}')
        self.num_classes, self.global_pool = num_classes, global_pool

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Matrices that are not the weight of a layer; timm itself excludes vectors."""
        return {name for name, _ in self.named_parameters() if name.endswith('.position.table')}

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict:
        """Patterns of timm's layer-wise lr decay: the stem, then each block or each stage."""
        stage = r'^backbone\.(?:downsample_layers|stages)\.(\d+)'
        fine = [
            (r'^backbone\.downsample_layers\.(\d+)', (0,)),
            (r'^backbone\.stages\.(\d+)\.(\d+)', None),
        ]
        return dict(
            stem=r'^backbone\.(?:stem|downsample_layers\.0)\b', blocks=stage if coarse else fine
        )

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute each block again in the backward pass instead of keeping its activations."""
        for module in self.backbone.modules():
            if hasattr(module, 'with_cp'):
                module.with_cp = enable

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        return self.head.last

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by an untrained one for ``num_classes``; 0 gives the features.

        The pooling stays as it is for ``global_pool=None``.
        """
        self._set_classes(num_classes, self.global_pool if global_pool is None else global_pool)
        weight = next(self.backbone.parameters())
        self.head.reset(num_classes)
        self.head.last.to(weight.device, weight.dtype).train(self.training)

    def final_map(self, x: Tensor) -> Tensor:
        """The model's output if nothing is pooled, from the last map."""
        return x

    def pooled(self, x: Tensor) -> Tensor:
        """Features (N, F) of the last map, before the head."""
        return x.mean((2, 3)) if self.neck is None else self.neck(x)[0]

    def forward_features(self, x: Tensor) -> Tensor:
        for i in range(len(self.backbone.stages)):
            x = self.backbone.run_stage(i, x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        if self.global_pool:
            return self.head(self.pooled(x), pre_logits)
        if not self.num_classes:
            return self.final_map(x)
        positions = x.permute(0, 2, 3, 1)
        # Each as an image of one pixel, whose mean is itself.
        features = self.pooled(positions.flatten(0, 2)[..., None, None]).flatten(1)
        logits = self.head(features.unflatten(0, positions.shape[:3]), pre_logits)
        return logits.permute(0, 3, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The maps of the stages of ``indices``, and unless ``intermediates_only`` the last one.

        ``norm`` applies the backbone's last norm to the last map, if it has one.
        """
        if output_fmt != 'NCHW':
            raise ValueError(f"output_fmt={output_fmt!r}; expected 'NCHW'")
        last = len(self.backbone.stages) - 1
        take, highest = feature_take_indices(last + 1, indices)
        maps = []
        for i in range(highest + 1 if stop_early else last + 1):
            x = self.backbone.run_stage(i, x)
            if i in take:
                maps.append(self.final_map(x) if norm and i == last else x)
        return maps if intermediates_only else (x, maps)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove what the maps of ``indices`` do not need; return the indices, counted from 0.

        ``reset_classifier`` gives a model without a head a linear one.
        """
        net = self.backbone
        take, highest = feature_take_indices(len(net.stages), indices)
        if prune_norm or highest < len(net.stages) - 1:
            self.prune_norm()
        net.stages = net.stages[: highest + 1]
        if hasattr(net, 'downsample_layers'):
            net.downsample_layers = net.downsample_layers[: highest + 1]
        if prune_head:
            self._set_classes(0, '')
            self.num_features = self.head_hidden_size = self.feature_info[highest]['num_chs']
            head = LinearHead(self.num_features, 0, self.head.drop_rate)
            self.neck, self.head = None, head.train(self.training)
        return take

    def prune_norm(self) -> None:
        """Remove the norm of the last map, if there is one."""


def as_list(init_cfg: dict | list[dict] | None) -> list[dict]:
    """``init_cfg`` as a list of dicts."""
    return [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg or ())
