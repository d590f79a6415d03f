"""The options of an export, and checks that they are compatible."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selnext_mm.disk import check_folder
from selnext_mm.errors import UserError
from selnext_mm.export.writers import SUFFIXES, require
from selnext_mm.inference.images import Images

OLDEST_OPSET = 18  # the oldest that torch's exporter writes
# Options for models and graphs only; they do not apply to a file of weights.
GRAPH_OPTIONS = (
    *('part', 'normalize', 'no_deploy', 'check', 'check_images', 'check_ann'),
    *('data', 'thresholds', 'opset'),
)


class MismatchError(Exception):
    """The written file gives other results than PyTorch, so it was removed again."""


@dataclass
class ExportOptions:
    """The options of ``selnext-mm export`` (docs/deploy.md), by the same names.

    Attributes:
        config: a config file, or a name under ``configs/``.
        checkpoint: .pth or .safetensors.
        out: the file to write; ends in .onnx, .xml, .pt2 or .safetensors.
        target: 'onnx', 'openvino', 'torch-export' or 'safetensors'; None: by the suffix of ``out``.
        force: whether an existing file is replaced.
        part: 'classifier', 'backbone', 'backbone-neck' or 'detector'; None: the whole model if
        the target supports it.
        normalize: the graph takes 0..255 and normalises it; a detector always does.
        no_deploy: merge nothing.
        check: inputs (N, H, W) to compare on.
        tolerance: largest error, relative to the largest output if that is above 1; for a
        detector the largest difference of scores.
        check_images: images, or a folder of them, to compare on.
        check_ann: COCO labels of ``check_images``.
        data: labels in any format that ``train --data`` reads, in place of ``check_images``,
        ``check_ann`` and ``calibrate``: its test split (else val) is checked or measured on, and
        its training images calibrate.
        thresholds: a JSON file with the lowest score of each class.
        int8: quantise layers to int8; ``calibrate`` gives the images for the ranges of values. No
        file is kept if more than ``max_loss`` points of AP or top-1 are lost. Without images, the
        training and test set of the config are used.
        opset: ONNX operator set; None: the exporter's.
        classes: class names; None: the checkpoint's.
        cfg_options: values of the config to override, by dotted key.
        say: called with each line about progress.
    """

    config: str
    checkpoint: str
    out: str | Path
    target: str | None = None
    force: bool = False
    part: str | None = None
    normalize: bool = False
    no_deploy: bool = False
    check: Sequence[tuple[int, int, int]] | None = None
    tolerance: float = 1e-4
    check_images: Images | None = None
    check_ann: str | None = None
    data: str | Path | None = None
    thresholds: str | None = None
    int8: bool = False
    calibrate: Images | None = None
    max_loss: float | None = None
    opset: int | None = None
    classes: list[str] | None = None
    cfg_options: dict | None = None
    say: Callable[[str], None] = field(default=functools.partial(print, flush=True), repr=False)
    # How messages name images that no option of this name gave.
    sources: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.config, self.checkpoint = str(self.config), str(self.checkpoint)
        self.out = Path(self.out).expanduser()
        for name in ('check_images', 'calibrate'):
            value = getattr(self, name)
            if isinstance(value, str | Path):
                value = [value]
            setattr(self, name, value and [str(path) for path in value])
        if self.target is None:
            targets = {suffix: target for target, suffix in SUFFIXES.items()}
            if self.out.suffix not in targets:
                raise UserError(f'--out {self.out}: it ends in none of {", ".join(targets)}')
            self.target = targets[self.out.suffix]
        elif self.target not in SUFFIXES:
            raise UserError(f'--to {self.target}; choose from {", ".join(SUFFIXES)}')

    def name_of(self, option: str) -> str:
        """How a message names what ``option`` holds."""
        return self.sources.get(option, f'--{option.replace("_", "-")}')

    @property
    def labels(self) -> str:
        """How a message names ``check_ann``."""
        return self.sources.get('check_images', str(self.check_ann))


def check_options(options: ExportOptions) -> None:
    """Raise :class:`UserError` for incompatible options and missing packages."""
    out, target = Path(options.out), str(options.target)
    suffix = SUFFIXES[target]
    if out.suffix != suffix:
        raise UserError(f'--out {out}: --to {target} writes a file that ends in {suffix}')
    if out.is_dir():
        raise UserError(f'--out {out} is a directory; name a file')
    if out.exists() and not options.force:
        raise UserError(f'{out} exists; --force overwrites it')
    check_folder('--out', out.parent)
    if target == 'safetensors':
        for name in GRAPH_OPTIONS:
            if getattr(options, name):
                raise UserError(
                    f'--{name.replace("_", "-")} has no meaning with --to safetensors, which '
                    'holds all weights of the model as they were trained'
                )
    if not options.tolerance > 0:
        raise UserError(f'--tolerance {options.tolerance:g}; expected a number above 0')
    if options.opset is not None and target == 'onnx':
        require('onnx')
        import onnx

        newest = onnx.defs.onnx_opset_version()
        if not OLDEST_OPSET <= options.opset <= newest:
            raise UserError(
                f'--opset {options.opset}; expected {OLDEST_OPSET} to {newest}, which torch '
                'writes and the installed onnx knows'
            )
    if options.opset is not None and target != 'onnx':
        raise UserError('--opset needs --to onnx')
    for name in ('calibrate', 'check_images', 'check_ann'):
        if options.data and getattr(options, name):
            raise UserError(
                f'--data {options.data} and --{name.replace("_", "-")} both name images; give one'
            )
    _check_int8(options)
    require(target)
    if options.int8:
        require('onnx')


def _check_int8(options: ExportOptions) -> None:
    if not options.int8:
        for name in ('calibrate', 'max_loss'):
            if getattr(options, name) is not None:
                raise UserError(f'--{name.replace("_", "-")} needs --int8')
        return
    if options.target not in ('onnx', 'openvino'):
        raise UserError(f'--int8 needs --to onnx or --to openvino, not --to {options.target}')
    given = options.calibrate or options.check_images or options.check_ann
    if given and not options.calibrate:
        raise UserError('--int8 needs --calibrate IMAGES, images like those to come')
    if given and not options.check_images:
        raise UserError(
            '--int8 needs --check-images, labelled images to measure on what is lost: with '
            '--check-ann JSON of a detector, a folder with a folder per class of a classifier'
        )
    if options.max_loss is not None and not 0 <= options.max_loss < 100:
        raise UserError(
            f'--max-loss {options.max_loss:g}; expected points of AP or top-1, 0 to 100'
        )
