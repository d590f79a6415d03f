"""``selnext-mm tune --data DIR --trials N``: search for the settings of a recipe."""

import argparse
import shlex
from pathlib import Path

from selnext_mm.cli.arguments import given_options
from selnext_mm.cli.parser import Parser
from selnext_mm.datasets.formats import FORMATS
from selnext_mm.disk import check_folder
from selnext_mm.engine.signals import stop_early

# Options of train --data that are the same in all trials.
FIXED = ('epochs', 'batch_size', 'image_size', 'workers', 'patience', 'seed', 'weights')


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog='selnext-mm tune',
        description='Train several times on labels of your own, each time with other settings, '
        'and name the best. The same command goes on where it stopped; started twice, both share '
        'the trials.',
    )
    add = parser.add_argument
    add('--data', required=True, metavar='DIR', help='labels, as for train --data')
    add('model', nargs='?', help='BACKBONE or DETECTOR/BACKBONE, as for train --data')
    add('--trials', type=int, default=20, metavar='N', help='in all; default: %(default)s')
    add(
        '--over',
        nargs='+',
        default=[],
        metavar='SETTING',
        help='lr, weight-decay, drop-path, image-size; default: all that the model has',
    )
    add('--out', default='work_dirs/tune', metavar='DIR', help='default: %(default)s')
    add('--format', choices=FORMATS, help='of the labels; found by looking')
    add('--val', metavar='FRACTION|DIR', help='validate on a share of the training images, or DIR')
    for name in FIXED:
        kind: type = str if name == 'weights' else int
        default = 0 if name == 'seed' else None
        option = f'--{name.replace("_", "-")}'
        add(option, type=kind, default=default, help='as for train --data')
    add('--debug', action='store_true', help='show the traceback of an error')
    return parser.parse_args(argv)


@stop_early()
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    check_folder('--out', args.out)

    from selnext_mm.recipes.tune import tune

    options = vars(args)
    del options['debug']
    result = tune(**options, say=lambda text: print(text, flush=True))
    print(table(result))
    if result.best is None:
        return 1
    picture = draw(result)
    best = result.best
    folder = result.folder / f'trial_{best.number:03d}'
    so_far = ' so far' if result.running else ''
    print(
        f'\nbest{so_far}: trial {best.number}, {result.metric} {best.score:.4f} on the val split\n'
        + (others(result.running) if result.running else '')
        + '\n'
        f'  weights and config  {folder}\n'
        f'  all trials          {result.folder / "trials.json"}\n'
        + (f'  plot                {picture}\n' if picture else '')
        + '\nTrain with these settings\n  '
        + command(args, best.settings)
    )
    return 0


def others(running: list[int]) -> str:
    """A warning that this is not the end of the search."""
    numbers = ', '.join(map(str, running))
    return (
        f'trial {numbers}: still running in other processes. If one is better, its weights '
        'replace these; the process that ends last names the best of all\n'
    )


def command(args: argparse.Namespace, settings: dict[str, float]) -> str:
    """The command that trains with ``settings``, and with what the user has set for all trials."""
    words = ['selnext-mm', 'train', '--data', args.data, *([args.model] if args.model else [])]
    names = [name for name in ('format', 'val', *FIXED) if name not in settings]
    words += given_options(args, names, seed=0)
    for name, value in settings.items():
        words += [f'--{name.replace("_", "-")}', f'{value:.4g}']
    return shlex.join(words)


def table(result) -> str:
    """The trials as Markdown, best first."""
    names = list(dict.fromkeys(name for row in result.trials for name in row.settings))
    head = ['trial', result.metric, *(name.replace('_', ' ') for name in names), 'state']
    lines = ['', '| ' + ' | '.join(head) + ' |', '|' + '---|' * len(head)]
    for row in result.trials:
        score = '' if row.score is None else f'{row.score:.4f}'
        settings = (f'{row.settings[name]:.3g}' if name in row.settings else '' for name in names)
        lines.append('| ' + ' | '.join([str(row.number), score, *settings, row.state]) + ' |')
    return '\n'.join(lines)


def draw(result) -> Path | None:
    """The plot of the trials; None if matplotlib is missing."""
    try:
        from selnext_mm.visualization.trials import draw_trials
    except ImportError as error:
        print(f'\nno plot: {error}; pip install "selnext_mm[tune]"')
        return None
    return draw_trials(result.metric, result.trials, result.folder / 'trials.png')
