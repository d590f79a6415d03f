"""The page of one call of benchmarks/gpu.sh: what ran, the targets, and the tables behind them."""

import detector_training
import gpu_kernels
from _report import markdown_table
from targets import table

PARTIAL = (
    '**Partial: not every step has run to its end.** What is missing is "not run" below, and no '
    'conclusion is drawn from it.'
)


def states(steps: list[dict]) -> str:
    lines = ['| step | | s | |', '|---' * 4 + '|']
    for step in steps:
        lines.append(
            f'| {step["name"]} | {step["status"]} | {step["seconds"]:.0f} | {step["reason"]} |'
        )
    return '\n'.join(lines)


def trainings(results: dict[str, dict]) -> str:
    lines = [f'- {detector_training.text(result)}' for result in results.values()]
    runs = [results.get(f'detector_{name}', {}).get('run') for name in ('selnext', 'convnext')]
    if all(runs):
        ours, theirs = (run['step_s'] for run in runs)
        lines.append(f'- SELNeXt / ConvNeXt, whole step: {ours / theirs:.3f}')
    return '\n'.join(lines)


def head(content: dict) -> str:
    commit = f'Commit {content["commit"]}, ' if content['commit'] else ''
    return f'{commit}{content["date"]}. `{content["command"]}`'


def page(content: dict) -> str:
    """Markdown.

    Args:
        content: as in gpu.json.
    """
    results = dict(content['results'])
    exact = results.pop('kernels', None)
    timed = {name: result for name, result in results.items() if 'suite' in result}
    trained = {name: result for name, result in results.items() if 'run' in result}
    parts = [f'# {content["title"]}', head(content)]
    if not content['complete']:
        parts.append(PARTIAL)
    parts += [states(content['steps']), '## Targets', table(list(timed.values()))]
    if exact:
        unfinished = '' if exact['complete'] else '\n\nPartial: cut off between two precisions.'
        parts += ['## Kernels against float64', gpu_kernels.text(exact['rows']) + unfinished]
    if trained:
        parts += ['## Mask R-CNN', trainings(trained)]
    for name, result in timed.items():
        parts += [f'## {name}', markdown_table(result)]
    return '\n\n'.join(parts) + '\n'
