"""What the tables of a report say about its runs."""

from collections.abc import Iterable

from mmengine.config import Config

from selnext_mm.config import summary
from selnext_mm.report.charts import main_metrics, metric_keys
from selnext_mm.report.work_dir import Run

ENVIRONMENT = (
    *('sys.platform', 'Python', 'CUDA available', 'GPU 0', 'GPU 0,1,2,3,4,5,6,7', 'NVCC'),
    *('PyTorch', 'TorchVision', 'OpenCV', 'MMEngine', 'numpy_random_seed', 'seed'),
)
# Keys that differ from run to run without being part of the recipe.
PLACES = ('work_dir', 'load_from', 'resume', 'launcher', 'outfile_prefix', 'filename')


def environment(text: str) -> dict[str, str]:
    """The ``key: value`` lines of environment.txt about the run's hardware and software."""
    lines = text.split('\nhooks:')[0].splitlines()
    pairs = [line.split(': ', 1) for line in lines if ': ' in line and not line.startswith(' ')]
    found = {k.strip(): v.strip() for k, v in pairs}
    chosen = {k: found[k] for k in ENVIRONMENT if k in found}
    return chosen | {k: v for k, v in found.items() if k.startswith('GPU')}


def duration(seconds: float) -> str:
    """45 -> '45 s', 690 -> '11.5 min', 9000 -> '2.5 h'."""
    if seconds < 90:
        return f'{seconds:.0f} s'
    return f'{seconds / 60:.1f} min' if seconds < 5400 else f'{seconds / 3600:.1f} h'


def training_seconds(rows: list[dict]) -> float:
    """Seconds of all logged iterations: the mean time of each logging interval times its length."""
    total, before = 0.0, 0
    for row in rows:
        total += row.get('time', 0) * (row['iter'] - before)
        before = row['iter']
    return total


def best_metrics(run: Run) -> dict[str, str]:
    """'bbox_mAP' -> '0.623 (epoch 9)': the best value of each main metric."""
    found = {}
    for key in main_metrics(metric_keys([run])):
        rows = [r for r in run.val if isinstance(r.get(key), int | float)]
        rows = [r for r in rows if 'loss' not in key and r[key] == r[key]]
        if rows:
            best = max(rows, key=lambda r: r[key])
            unit = 'epoch' if run.by_epoch else 'iteration'
            found[key.split('/')[-1]] = f'{best[key]:g} ({unit} {best["step"]})'
    return found


def at_a_glance(runs: list[Run]) -> list[tuple[str, list[str]]]:
    """Rows (name, value in each run); rows that are empty in all runs are left out."""
    columns = []
    for run in runs:
        facts, cfg = {}, run.config
        if cfg is not None:
            batch = (cfg.get('train_dataloader') or {}).get('batch_size')
            facts |= {
                'model': summary.model_line(cfg),
                'data': summary.data_line(cfg),
                'schedule': summary.schedule_line(cfg),
                'batch per process': str(batch or ''),
                'requested precision': summary.precision(cfg),
            }
        # Written by the banner at the start of the run.
        for line in run.environment.splitlines():
            for key in ('parameters', 'start', 'batch', 'device'):
                if line.startswith(f'run {key}: '):
                    facts[key] = line.split(': ', 1)[1]
        for said, by in (('batch per process', 'batch'), ('requested precision', 'device')):
            if by in facts:
                facts.pop(said, None)
        if run.train:
            last = run.train[-1]
            facts['trained'] = f'{last["iter"]} iterations' + (
                f', {last["epoch"]} epochs' if 'epoch' in last else ''
            )
            facts['time in iterations'] = duration(training_seconds(run.train))
            if 'loss' in last:
                facts['last loss'] = f'{last["loss"]:.4g}'
            memory = max(row.get('memory', 0) for row in run.train)
            facts['peak memory'] = f'{memory} MB' if memory else ''
        facts |= {f'best {k}': v for k, v in best_metrics(run).items()}
        facts['sessions'] = str(run.sessions) if run.sessions > 1 else ''
        facts['folder'] = str(run.folder)
        columns.append(facts)
    names = list(dict.fromkeys(k for c in columns for k in c))
    rows = [(name, [c.get(name, '') for c in columns]) for name in names]
    return [row for row in rows if any(row[1])]


def last_metrics(runs: list[Run]) -> list[tuple[str, list[str]]]:
    """(metric, its last value in each run) of every validation metric."""
    rows = []
    for key in metric_keys(runs):
        values = [next((r[key] for r in reversed(run.val) if key in r), None) for run in runs]
        rows.append((key, [f'{v:.4g}' if isinstance(v, int | float) else '' for v in values]))
    return rows


def _flat(node, prefix: str = '') -> dict[str, str]:
    if isinstance(node, dict):
        items: Iterable[tuple] = node.items()
    elif isinstance(node, list | tuple) and any(isinstance(v, dict) for v in node):
        items = enumerate(node)
    else:
        return {prefix: repr(node)}
    found = {}
    for key, value in items:
        found |= _flat(value, f'{prefix}.{key}' if prefix else str(key))
    return found


def differences(configs: list[Config | None]) -> list[tuple[str, list[str]]]:
    """(key, value in each run) of the config keys whose values are not the same in all runs.

    Values that other keys repeat (``test_pipeline`` inside ``test_dataloader``) are listed once.
    """
    if len(configs) < 2 or any(c is None for c in configs):
        return []
    columns = [_flat(c.to_dict()) for c in configs]
    rows, said = [], set()
    for key in sorted({k for c in columns for k in c}, key=lambda k: (k.count('.'), k)):
        values = [c.get(key, '') for c in columns]
        if len(set(values)) == 1 or any(part in PLACES for part in key.split('.')):
            continue
        mark = (key.split('.')[-1], *values)
        if mark not in said:
            said.add(mark)
            rows.append((key, values))
    return rows
