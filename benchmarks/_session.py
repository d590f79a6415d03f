"""What the timing scripts share: options, device, building and timing all rows, the result."""

import argparse
import os
import sys
import time
from collections.abc import Callable

import torch
from _choose import pick_rows
from _models import Candidate, Setting, UnavailableError
from _report import check_writable, command, markdown_table, now, read_json, result_rows, text_table
from _rows import Row, Suite
from _suites import SUITES
from _timing import interleave

from selnext_mm.analysis.machine import machine, versions
from selnext_mm.disk import write_json
from selnext_mm.errors import UserError

# Time that other processes take away does not count in 'cpu', that of all threads adds up.
CLOCKS = {'wall': time.perf_counter, 'cpu': time.process_time}
DTYPES = {'fp32': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text}; expected 1 or more')
    return value


def natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f'{text}; expected 0 or more')
    return value


def base_parser(prog: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('models', nargs='*', metavar='MODEL', help='see above; in addition to --suite')
    add('--suite', choices=list(SUITES), help='the models, sizes and figures of a table')
    add('--only', nargs='+', metavar='TEXT', help='rows with this in their name or baseline')
    add('--rows', nargs='+', metavar='LABEL', help='these rows of the suite, as --list names them')
    add('--baseline', metavar='MODEL', help="ratios to it; default: the suite's, or the first")
    add('--device', default='cpu', help='cpu, cuda or cuda:N (default: cpu)')
    add('--batch', type=positive, help="images (default: the suite's; 8, on a GPU 96)")
    add('--size', nargs=2, type=positive, metavar=('H', 'W'), help='of all models')
    add('--precision', choices=list(DTYPES), default='fp32', help='other than fp32: autocast')
    add('--tf32', action='store_true', help='TF32 for products and convolutions of a GPU')
    add('--memory-format', choices=['contiguous', 'channels_last'], default='contiguous')
    add('--threads', type=positive, help="of the CPU (default: the suite's, or torch's)")
    add('--compile', nargs='?', const='default', metavar='MODE', help='torch.compile(mode=MODE)')
    add('--compile-backend', metavar='NAME', default='inductor', help='(default: inductor)')
    add('--repeats', type=positive, default=15, help='timed rounds (default: 15)')
    add('--warmup', type=natural, default=2, help='untimed rounds before (default: 2)')
    add(
        '--build-limit',
        type=positive,
        metavar='SECONDS',
        help='models that are not built by then are left out (default: none)',
    )
    add('--settle', type=natural, default=1, help='untimed calls in each turn (default: 1)')
    add(
        '--clock',
        choices=list(CLOCKS),
        default='wall',
        help='cpu: processor time of the process, for a busy machine, with --threads 1',
    )
    add('--seed', type=int, default=0, help='of the order, weights and images (default: 0)')
    add('--json', metavar='FILE', help='write everything to this file, too')
    add('--list', action='store_true', help='list the suites and their models')
    add('--show', nargs='+', metavar='FILE', help='print stored results as Markdown')
    return parser


def list_suites() -> str:
    lines = []
    for name, suite in SUITES.items():
        lines.append(f'{name}: {suite.title}')
        lines += [f'  {row.label}' for row in suite.rows]
    return '\n'.join(lines)


def pick_device(text: str, tf32: bool) -> torch.device:
    """The device, with TF32 switched as asked for (torch's default is on for convolutions).

    Raises:
        UserError: for a device that is not there, or TF32 without a GPU.
    """
    try:
        device = torch.device(text)
    except RuntimeError as error:
        raise UserError(f'--device {text}; expected cpu, cuda or cuda:N') from error
    if device.type not in ('cpu', 'cuda'):
        raise UserError(f'--device {text}; expected cpu, cuda or cuda:N')
    if device.type == 'cpu':
        if tf32:
            raise UserError('--tf32 is for a GPU; add --device cuda')
        return device
    count = torch.cuda.device_count()
    if (device.index or 0) >= count:
        raise UserError(f'--device {text}, but torch sees {count} GPUs here')
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    return device


def show(text: str) -> None:
    """A line that the next one replaces, on a terminal."""
    if sys.stderr.isatty():
        print(f'\r\033[K{text}', end='', file=sys.stderr, flush=True)


def prepare(
    rows: list[Row], make: Callable[[Row], Candidate], limit_s: float | None = None
) -> tuple[dict[str, Candidate], list[dict]]:
    """Build all rows; returns them by label, and those left out with their reasons.

    After ``limit_s`` seconds no other row is begun: those that were built can still be timed.

    Raises:
        UserError: if none is left.
    """
    made, missing, begun = {}, [], time.monotonic()
    for number, row in enumerate(rows, 1):
        show(f'building {number}/{len(rows)} {row.label}')
        if limit_s is not None and time.monotonic() - begun > limit_s:
            missing.append({'label': row.label, 'reason': f'not built within {limit_s} s'})
            continue
        try:
            candidate = make(row)
        except UnavailableError as reason:
            missing.append({'label': row.label, 'reason': str(reason)})
        else:
            made.setdefault(candidate.row.label, candidate)
    show('')
    if not made:
        raise UserError('; '.join(f'{row["label"]} left out: {row["reason"]}' for row in missing))
    return made, missing


def run(args: argparse.Namespace, title: str, make: Callable[[Row, Setting], Candidate]) -> dict:
    """Build and time what ``args`` asks for; returns the result as the JSON file has it."""
    rows = pick_rows(args)
    if args.json:
        check_writable(args.json)
    suite = SUITES.get(args.suite) or Suite(title, ())
    device = pick_device(args.device, args.tf32)
    if args.threads or suite.threads:
        torch.set_num_threads(args.threads or suite.threads)
    if args.clock == 'cpu' and (device.type != 'cpu' or torch.get_num_threads() != 1):
        raise UserError('--clock cpu is for one thread of a CPU; add --threads 1')
    setting = Setting(
        device=device,
        batch=args.batch or suite.batch[device.type],
        size=tuple(args.size or suite.size),
        fixed_size=args.size is not None,
        autocast=DTYPES[args.precision],
        compile_mode=args.compile or 'default',
        compile_backend=args.compile_backend,
        seed=args.seed,
    )
    started, load = now(), os.getloadavg()[0] if hasattr(os, 'getloadavg') else None
    made, missing = prepare(rows, lambda row: make(row, setting), args.build_limit)
    seconds = interleave(
        {label: candidate.call for label, candidate in made.items()},
        repeats=args.repeats,
        warmup=args.warmup,
        settle=args.settle,
        seed=args.seed,
        synchronize=torch.cuda.synchronize if device.type == 'cuda' else lambda: None,
        clock=CLOCKS[args.clock],
        progress=lambda done, rounds: show(f'round {done}/{rounds}'),
    )
    show('')
    options = ('precision', 'memory_format', 'compile', 'compile_backend', 'repeats', 'warmup')
    options += ('settle', 'clock', 'seed')
    return {
        'title': suite.title,
        'suite': args.suite,
        'date': started,
        'command': command(),
        'machine': {**machine(device), 'load_at_start': load},
        'versions': versions(),
        'setting': {
            'device': str(device),
            'batch': setting.batch,
            'threads': torch.get_num_threads(),
            'tf32': args.tf32 if device.type == 'cuda' else None,
            'deploy': getattr(args, 'deploy', False),
            **{name: getattr(args, name) for name in options},
        },
        'paper': list(suite.paper.get(device.type, ())),
        'rows': result_rows(made, seconds, suite, setting),
        'left_out': missing,
    }


def execute(args: argparse.Namespace, title: str, make: Callable[[Row, Setting], Candidate]) -> int:
    """Do what the command line asks for: list, show stored results, or time, print and store."""
    if args.list:
        print(list_suites())
    elif args.show:
        results = map(read_json, args.show)
        print('\n\n'.join(f'### {r["title"]}\n\n{markdown_table(r)}' for r in results))
    else:
        result = run(args, title, make)
        print(text_table(result))
        if args.json:
            write_json(args.json, result)
    return 0
