"""Shared by the commands that run models over a folder of images: options, files, progress."""

import argparse
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selnext_mm.cli.parser import Parser
from selnext_mm.disk import write_output
from selnext_mm.errors import UserError
from selnext_mm.text import counted


def base_parser(prog: str, description: str, num: int | None = None) -> argparse.ArgumentParser:
    """Parser with the options of every command; ``num`` images by default, None for all."""
    parser = Parser(prog=prog, description=description)
    parser.add_argument('configs', nargs='*', metavar='CONFIG', help='configs, paths or names')
    parser.add_argument(
        '--checkpoints',
        nargs='+',
        metavar='F',
        help="weights, one file per config, or 'none'; default: initial weights",
    )
    parser.add_argument('--labels', nargs='+', metavar='NAME', help='names, one per config')
    parser.add_argument(
        '--model',
        action='append',
        metavar='NAME=CONFIG[@F]',
        help='the same in one word, again for every model: name, config and checkpoint F',
    )
    parser.add_argument('--images', required=True, metavar='DIR', help='folder of images')
    text = f'images to take, evenly spaced ({num or "all"})'
    parser.add_argument('--num', type=int, default=num, help=text)
    parser.add_argument('--size', type=int, default=224, help='side of the crop (%(default)s)')
    parser.add_argument('--batch-size', type=int, default=32, help='(%(default)s)')
    parser.add_argument(
        '--device', help='cpu, cuda, cuda:1, ...; default: the accelerator, if there is one'
    )
    parser.add_argument('--out', required=True, metavar='PNG', help='the image to write')
    parser.add_argument('--csv', metavar='F', help='write the rows to this file, too')
    parser.add_argument('--json', metavar='F', help='write the rows to this file, too')
    return parser


def _take_models(args: argparse.Namespace) -> None:
    """Split ``--model`` into configs, labels and checkpoints."""
    if args.model and (args.configs or args.labels or args.checkpoints):
        raise UserError('give the models as --model or as configs, not both')
    if not args.model and not args.configs:
        raise UserError('no model: give configs, or --model NAME=CONFIG[@CHECKPOINT]')
    if not args.model:
        return
    args.labels, args.checkpoints = [], []
    for text in args.model:
        name, equals, rest = text.partition('=')
        config, _, checkpoint = rest.partition('@')
        if not (name and equals and config):
            raise UserError(f'--model {text}; expected NAME=CONFIG or NAME=CONFIG@CHECKPOINT')
        args.labels.append(name)
        args.configs.append(config)
        args.checkpoints.append(checkpoint or 'none')


def _check(args: argparse.Namespace) -> None:
    for name in ('num', 'size', 'batch_size'):
        value = getattr(args, name)
        low = 32 if name == 'size' else 1
        if value is not None and value < low:
            raise UserError(f'--{name.replace("_", "-")} {value}; expected {low} or more')
    for name in ('checkpoints', 'labels'):
        values = getattr(args, name)
        if values and len(values) != len(args.configs):
            raise UserError(
                f'--{name} has {counted(len(values), "entry")} for '
                f'{counted(len(args.configs), "config")}; give one each'
            )
    layers = getattr(args, 'layer', None) or [None]
    if len(layers) not in (1, len(args.configs)):
        raise UserError(
            f'--layer has {counted(len(layers), "entry")} for '
            f'{counted(len(args.configs), "config")}; give one for all '
            'or one each'
        )
    if Path(args.out).suffix.lower() != '.png':
        raise UserError(f'--out {args.out}; expected a file name that ends in .png')


def run_models(args: argparse.Namespace, measure: Callable) -> tuple[dict[str, Any], list[Path]]:
    """Run ``measure(model, batches, on_batch)`` for every config; label -> result, and the images.

    Raises:
        UserError: for options, configs, checkpoints or images that cannot be used.
    """
    _take_models(args)
    _check(args)
    from rich.console import Console
    from rich.progress import Progress

    from selnext_mm.analysis.pictures import batches, find_images
    from selnext_mm.config.build import quiet
    from selnext_mm.inference.loading import choose_device, load_for_inference

    device = str(choose_device(args.device or 'auto'))
    paths = find_images(args.images, args.num)
    checkpoints = args.checkpoints or ['none'] * len(args.configs)
    labels = args.labels or [Path(c).stem for c in args.configs]
    if len(set(labels)) < len(labels):
        raise UserError(f'labels {labels} are not distinct; give --labels')
    results = {}
    with Progress(console=Console(stderr=True)) as progress:
        for label, config, checkpoint in zip(labels, args.configs, checkpoints, strict=True):
            with quiet():
                weights = None if checkpoint == 'none' else checkpoint
                loaded = load_for_inference(config, weights, device, deployed=False, named=False)
            model = loaded.model
            task = progress.add_task(label, total=len(paths))
            results[label] = measure(
                model,
                batches(paths, model, args.size, args.batch_size),
                lambda n, task=task: progress.advance(task, n),
            )
    return results, paths


def write_rows(args: argparse.Namespace, rows: list[dict]) -> None:
    """Write the rows as requested by ``--csv`` and ``--json``."""
    if args.csv:
        table = io.StringIO()
        writer = csv.DictWriter(table, rows[0])
        writer.writeheader()
        writer.writerows(rows)
        write_output('--csv', args.csv, table.getvalue())
    if args.json:
        write_output('--json', args.json, json.dumps(rows, indent=2) + '\n')
