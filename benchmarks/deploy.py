#!/usr/bin/env python3
"""Time SELNeXt-T and ConvNeXt-T on a CPU in the forms that people run them in, in turns.

    python benchmarks/deploy.py --json benchmarks/results/deploy_cpu.json

A classifier (from normalised images to logits) and a Mask R-CNN (from the pixels of one image to
boxes and masks pasted into it; random weights and a score threshold of 0, so 1000 proposals and 100
objects: a crowded image), each as PyTorch eager and deployed in float32, PyTorch in bfloat16
(autocast, and the backbone's weights; deployed where there is something to deploy), onnxruntime in
float32 and int8, and OpenVINO in float32, bfloat16 and int8. Files are those of "selnext-mm
export"; that of int8 is onnxruntime's, which OpenVINO reads, and is calibrated on noise: its time
counts, not its accuracy. Each file runs in a process of its own, as its users run it.

Ratios, of medians, with the quartiles over the rounds: to ConvNeXt-T eager in float32, and to
ConvNeXt-T in the same form. A form that cannot be made is left out with the reason.
"""

import argparse
import gc
import resource
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from _forms import EXACT, FORMS, ClassifierSubject, DetectorSubject, Subject
from _models import LARGEST_ERROR, UnavailableError, packaged_config
from _report import check_writable, command, now, read_json
from _session import natural, positive, show
from _timing import compare, interleave, summarize
from end_to_end import CONVNEXT, detector_config
from mmengine.config import Config

from selnext_mm.__main__ import call
from selnext_mm.analysis.machine import machine, versions
from selnext_mm.config_files import find_config
from selnext_mm.disk import write_json
from selnext_mm.errors import UserError
from selnext_mm.process import keep_freed_memory

OURS, THEIRS = 'SELNeXt', 'ConvNeXt'
MODELS = {'classifier': ClassifierSubject, 'mask-rcnn': DetectorSubject}
# What a model is timed with: size, batch, rounds, untimed calls before each timed one.
DEFAULTS = {'classifier': ((224, 224), 8, 15, 1), 'mask-rcnn': ((800, 1280), 1, 7, 0)}
# In the form that has no counterpart, ConvNeXt as it is.
COUNTERPART = {'deployed': 'eager'}


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='benchmarks/deploy.py',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('--models', nargs='+', choices=list(MODELS), default=list(MODELS))
    add('--forms', nargs='+', choices=list(FORMS), default=list(FORMS))
    add(
        '--classifiers',
        nargs=2,
        metavar=('OURS', 'THEIRS'),
        default=['cls/selnext_t_in1k.py', 'mmpretrain::convnext/convnext-tiny_32xb128_in1k.py'],
        help='configs (default: %(default)s)',
    )
    add(
        '--detector',
        metavar='OURS',
        default='mask_rcnn/selnext_t_3x_coco.py',
        help='config, in which ConvNeXt then takes the place of SELNeXt (default: %(default)s)',
    )
    add('--size', nargs=2, type=positive, metavar=('H', 'W'), help='224 224; of detectors 800 1280')
    add('--batch', type=positive, help='images of a classifier (default: 8)')
    add('--repeats', type=positive, help='timed rounds (default: 15; of detectors 7)')
    add('--warmup', type=natural, default=1, help='untimed rounds before (default: 1)')
    add('--settle', type=natural, help='untimed calls in each turn (default: 1; of detectors 0)')
    add('--calibration', type=positive, default=2, help='images for int8 (default: 2)')
    add('--threads', type=positive, help='(default: as many as there are cores)')
    add('--seed', type=int, default=0, help='of the order, weights and images (default: 0)')
    add('--json', metavar='FILE', help='write everything to this file, too, after each model')
    add('--show', metavar='FILE', help='print a stored result')
    return parser.parse_args(argv)


def configs(args: argparse.Namespace, model: str) -> dict[str, Config]:
    if model == 'mask-rcnn':
        return {
            OURS: detector_config(args.detector, {}),
            THEIRS: detector_config(args.detector, CONVNEXT),
        }
    pair = {}
    for name, source in zip((OURS, THEIRS), args.classifiers, strict=True):
        path = packaged_config(source) if '::' in source else find_config(source)
        pair[name] = Config.fromfile(path)
        pair[name].setdefault('default_scope', 'mmpretrain')
        pair[name].model.backbone.pop('init_cfg', None)
    return pair


def build(args: argparse.Namespace, subjects: dict[str, Subject]) -> tuple[dict, dict, list]:
    """Calls and errors by (backbone, form), and those left out with their reasons."""
    calls, errors, missing = {}, {}, []
    for name, subject in subjects.items():
        reference = FORMS['eager'](subject)()
        for form in args.forms:
            show(f'building {name}, {form}')
            try:
                run = FORMS[form](subject)
                errors[name, form] = subject.distance(subject.result(run), reference)
            except UnavailableError as reason:
                missing.append({'backbone': name, 'form': form, 'reason': str(reason)})
                continue
            # An exporter or a runtime that refuses a model; the other forms are still worth timing.
            except (RuntimeError, UserError, NotImplementedError, TypeError) as error:
                reason = (str(error).strip() or repr(error)).splitlines()[0]
                missing.append({'backbone': name, 'form': form, 'reason': reason})
                continue
            if form in EXACT and not errors[name, form] <= LARGEST_ERROR:
                reason = f'it computes something else than eager: error {errors[name, form]:.1e}'
                missing.append({'backbone': name, 'form': form, 'reason': reason})
                continue
            calls[name, form] = run
            gc.collect()
    show('')
    return calls, errors, missing


def versus(seconds: dict, key: tuple[str, str], base: tuple[str, str]) -> dict | None:
    """Ratio and quartiles of ``key`` to ``base``; None where one of them was not timed."""
    return compare(seconds[key], seconds[base]) if base in seconds else None


def time_model(args: argparse.Namespace, model: str) -> dict:
    """All forms of both backbones, in turns."""
    size, batch, repeats, settle = DEFAULTS[model]
    size = tuple(args.size or size)
    batch = 1 if model == 'mask-rcnn' else args.batch or batch
    repeats = args.repeats or repeats
    settle = settle if args.settle is None else args.settle
    with tempfile.TemporaryDirectory(prefix='selnext_deploy_') as folder:
        subjects = {}
        for name, config in configs(args, model).items():
            place = Path(folder, name)
            place.mkdir()
            options = (size, batch, args.seed, args.threads, args.calibration, place)
            subjects[name] = MODELS[model](config, *options)
        calls, errors, missing = build(args, subjects)
    if not calls:
        raise UserError('; '.join(f'{m["form"]} left out: {m["reason"]}' for m in missing))
    seconds = interleave(
        calls,
        repeats=repeats,
        warmup=args.warmup,
        settle=settle,
        seed=args.seed,
        progress=lambda done, rounds: show(f'{model}: round {done}/{rounds}'),
    )
    show('')
    rows = []
    for key in calls:
        name, form = key
        same = (THEIRS, form) if (THEIRS, form) in calls else (THEIRS, COUNTERPART.get(form, form))
        rows.append(
            {
                'backbone': name,
                'form': form,
                **summarize(seconds[key]),
                'images_per_s': batch / summarize(seconds[key])['median_s'],
                'to_eager': versus(seconds, key, (THEIRS, 'eager')),
                'to_same': versus(seconds, key, same),
                'error': errors[key],
                'seconds': [round(s, 6) for s in seconds[key]],
            }
        )
    used = [args.detector] if model == 'mask-rcnn' else args.classifiers
    setting = dict(configs=used, size=list(size), batch=batch, repeats=repeats, settle=settle)
    return {'model': model, **setting, 'rows': rows, 'left_out': missing}


def ratio(value: dict | None) -> str:
    if value is None:
        return '-'
    return f'{value["ratio"]:.3f} [{value["ratio_q25"]:.2f}, {value["ratio_q75"]:.2f}]'


def goals(rows: list[dict]) -> list[str]:
    """The goals, as far as what they compare was timed."""
    ours = {row['form']: row for row in rows if row['backbone'] == OURS}
    found = []
    slower = [form for form, row in ours.items() if row['to_same'] and row['to_same']['ratio'] > 1]
    if any(row['to_same'] for row in ours.values()):
        verdict = f'not met: {", ".join(slower)}' if slower else 'met'
        found.append(f'{OURS} at most 1.00 of {THEIRS} in every form: {verdict}')
    timed = {form: row['to_eager']['ratio'] for form, row in ours.items() if row['to_eager']}
    if timed:
        best = min(timed, key=timed.__getitem__)
        verdict = 'met' if timed[best] <= 0.30 else 'not met'
        found.append(
            f'the best form of {OURS} at most 0.30 of {THEIRS} eager: {timed[best]:.3f} '
            f'({best}), {verdict}'
        )
    if {'deployed', 'onnxruntime'} <= set(ours):
        value = ours['deployed']['median_s'] / ours['onnxruntime']['median_s']
        verdict = 'met' if value <= 1 else 'not met'
        found.append(f'{OURS} deployed at most 1.00 of its onnxruntime: {value:.3f}, {verdict}')
    return found


def text(result: dict) -> str:
    """Markdown, a table per model."""
    facts = result['machine']
    parts = [
        f'{facts["cpu"]}, {result["setting"]["threads"]} of {facts["cores"]} cores; torch '
        f'{result["versions"]["torch"]}, {result["date"][:10]}. `{result["command"]}`'
    ]
    if not result['complete']:
        parts.append('**Partial: not every model has been timed.**')
    for model in result['models']:
        height, width = model['size']
        lines = [
            f'### {model["model"]}, {model["batch"]}x{height}x{width}, {model["repeats"]} rounds',
            '',
            ', '.join(f'`{config}`' for config in model['configs']),
            '',
            f'| | form | ms | images/s | / {THEIRS} eager | / {THEIRS}, same form | error |',
            '|---' * 7 + '|',
        ]
        for row in model['rows']:
            lines.append(
                f'| {row["backbone"]} | {row["form"]} | {row["median_s"] * 1e3:.1f} | '
                f'{row["images_per_s"]:.2f} | {ratio(row["to_eager"])} | '
                f'{ratio(row["to_same"])} | {row["error"]:.0e} |'
            )
        lines += [
            '',
            *(
                f'- left out: {m["backbone"]}, {m["form"]}: {m["reason"]}'
                for m in model['left_out']
            ),
            *(f'- {line}' for line in goals(model['rows'])),
        ]
        parts.append('\n'.join(lines))
    return '\n\n'.join(parts)


def program_versions() -> dict[str, str]:
    found = {}
    for name in ('onnxruntime', 'openvino', 'onnx'):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def run(args: argparse.Namespace) -> dict:
    """Time all models; returns the result as the JSON file has it."""
    if args.json:
        check_writable(args.json)
    if args.threads:
        torch.set_num_threads(args.threads)
    result = {
        'title': 'Deployed forms on a CPU',
        'date': now(),
        'command': command(),
        'machine': machine(torch.device('cpu')),
        'versions': {**versions(), **program_versions()},
        'setting': {**vars(args), 'threads': torch.get_num_threads()},
        'complete': False,
        'models': [],
    }
    for model in args.models:
        result['models'].append(time_model(args, model))
        result['complete'] = len(result['models']) == len(args.models)
        # Kilobytes on Linux.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result['peak_gib'] = round(peak / 2**20, 1)
        if args.json:
            write_json(args.json, result)
        gc.collect()
    return result


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    if args.show:
        print(text(read_json(args.show, ('models', 'machine', 'versions'), 'deploy.py')))
        return 0
    keep_freed_memory()  # as the package's commands do
    print(text(run(args)))
    return 0


if __name__ == '__main__':
    sys.exit(call(main, sys.argv[1:]))
