"""The files of a published model: weights, config, preparation of images, card."""

import json
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from mmengine.config import Config

from selnext_mm import __version__
from selnext_mm.checkpoints.files import load_file, save_file
from selnext_mm.checkpoints.hub import sha256
from selnext_mm.config import summary
from selnext_mm.config.build import quiet
from selnext_mm.disk import new_folder, write_json, write_text
from selnext_mm.engine.resume.lineage import belongs_to_run
from selnext_mm.errors import UserError
from selnext_mm.export.graphs import preprocessing
from selnext_mm.export.pipeline import plain_steps
from selnext_mm.inference.loading import LoadedModel, load_for_inference, refuse_segmentor
from selnext_mm.publish.card import model_card
from selnext_mm.recipes.resolve import WRITTEN_BY
from selnext_mm.recipes.run import best_checkpoint
from selnext_mm.report.work_dir import read_run
from selnext_mm.text import short

WEIGHTS, CONFIG, CARD = 'model.safetensors', 'config.py', 'README.md'
PREPROCESSOR, ABOUT = 'preprocessor_config.json', 'config.json'
FILES = (WEIGHTS, CONFIG, CARD, PREPROCESSOR, ABOUT)
ONNX = 'model.onnx'
COMPARED = 'weights.pth'
DTYPES = {'float32': None, 'float16': torch.float16}
# Keys of a run that have no meaning elsewhere.
LOCAL_KEYS = ('work_dir', 'load_from', 'resume', 'launcher')


def configs_of(work_dir: Path) -> list[Path]:
    """The resolved configs of a run's trainings, oldest first; else the configs in ``work_dir``.

    Raises:
        UserError: if there is none.
    """
    found = sorted(work_dir.glob('*/vis_data/config.py'))
    # A later test in the same folder leaves its own config, but no scalars.
    found = [p for p in found if any(p.parent.glob('*.json'))] or found
    found = found or sorted(work_dir.glob('*.py'))
    if not found:
        raise UserError(f'{work_dir} has no config of a run; give the work dir of a training')
    return found


def start_of(configs: list[Path]) -> str:
    """Where the training of :func:`configs_of` started, without folders of this machine."""

    def line(path: Path) -> str:
        text = summary.start_line(Config.fromfile(path, import_custom_modules=False))
        head, word, file = re.fullmatch('(.*?)(?:( of | from )(.*))?', text).groups()
        return text if not word or '://' in file else f'{head}{word}{Path(file).name}'

    last = line(configs[-1])
    first = line(configs[0]) if last.startswith('resumed') else last
    return last if first == last else f'{first}; {last}'


def checkpoint_of(work_dir: Path) -> Path:
    """The weights that ``selnext-mm compare`` left in a run, else its best checkpoint or its last.

    Raises:
        UserError: if there is none.
    """
    compared = work_dir / COMPARED
    if compared.is_file():
        return compared
    if (work_dir / WEIGHTS).is_file() and not any(work_dir.glob('*.pth')):
        raise UserError(
            f'{work_dir} is a published folder; to send it: hf upload OWNER/REPO {work_dir}. To '
            'publish it again give the work dir of its run'
        )
    return best_checkpoint(work_dir)


def check_run_of(path: Path, content: dict, work_dir: Path) -> None:
    """Raise :class:`UserError` if ``content``, from ``path``, is from an earlier run there."""
    meta = content.get('meta')
    if isinstance(meta, dict) and not belongs_to_run(work_dir, meta):
        raise UserError(
            f'{path} is of an earlier run than the last one in {work_dir}, whose config and log '
            'are there now: the card would tell of the wrong training. Give a checkpoint of the '
            'last run with --checkpoint, or train into a folder of its own'
        )


def portable(node: Any) -> Any:
    """``node`` with ``DATA/<last two parts>`` instead of every absolute path."""
    if isinstance(node, dict):
        return {k: portable(v) for k, v in node.items()}
    if isinstance(node, list | tuple):
        return type(node)(portable(v) for v in node)
    if isinstance(node, str) and node.startswith('/') and len(node) > 1:
        return '/'.join(('DATA', *PurePosixPath(node).parts[1:][-2:]))
    return node


def portable_config(cfg: Config) -> str:
    """The config as a string, without what belongs to this machine or to the start of the run."""
    content = {k: portable(v) for k, v in cfg.to_dict().items() if k not in LOCAL_KEYS}
    # The published weights are beside it; those that training started from are not.
    init = content.get('model', {}).get('backbone', {}).get('init_cfg')
    if isinstance(init, dict) and init.get('type') == 'Pretrained':
        init['checkpoint'] = None
    return Config(content).pretty_text


def command_of(work_dir: Path) -> str | None:
    """The command that made the run, without folders of this machine; None if it is not known.

    For a resumed run it is the command without ``--resume``, which leads to the same weights.
    """
    config = work_dir / CONFIG
    first = config.read_text(encoding='utf-8').partition('\n')[0] if config.is_file() else ''
    if not first.startswith(f'{WRITTEN_BY}selnext-mm '):
        return None
    words = first.removeprefix(WRITTEN_BY).replace(' --resume', '')
    return re.sub(r'(?<![^\s=])/\S+', lambda m: portable(m[0]), words)


def name_onnx(folder: Path) -> None:
    """Let the card of a published folder name the ONNX file beside it."""
    card = folder / CARD
    before, mark, after = card.read_text(encoding='utf-8').partition(f'- `{CONFIG}`: the resolved')
    line = f'- `{ONNX}`: the same model without PyTorch, `selnext-mm predict {ONNX} IMAGES`\n'
    write_text(card, f'{before}{line}{mark}{after}')


def stored(state: dict[str, torch.Tensor], dtype: str) -> dict[str, torch.Tensor]:
    """``state`` with its floating-point tensors in ``dtype``, of :data:`DTYPES`.

    Raises:
        UserError: if a value is too large for it.
    """
    kind = DTYPES[dtype]
    if kind is None:
        return state
    result = {k: v.to(kind) if v.is_floating_point() else v for k, v in state.items()}
    for name, value in result.items():
        if not value.isfinite().all() and state[name].isfinite().all():
            raise UserError(
                f'--dtype {dtype}: {name} holds values beyond {torch.finfo(kind).max:g}; publish '
                'it in float32'
            )
    return result


def preprocessor(loaded: LoadedModel) -> dict[str, Any]:
    """How images are prepared: the model's statistics, and the test pipeline in plain steps.

    ``image_mean`` and ``image_std`` are for pixels in 0..1, as other libraries expect them.
    """
    mean, std, order = preprocessing(loaded.model)
    result: dict[str, Any] = dict(
        do_normalize=True,
        do_rescale=True,
        rescale_factor=1 / 255,
        image_mean=[round(v / 255, 6) for v in mean.flatten().tolist()],
        image_std=[round(v / 255, 6) for v in std.flatten().tolist()],
        channels=order,
    )
    try:
        result['pipeline'] = plain_steps(loaded.cfg)
    except UserError as error:
        result['pipeline_missing'] = str(error)
    return result


def timm_name(loaded: LoadedModel) -> str | None:
    """The name in timm of a classifier whose tensors are those of a timm model; else None."""
    backbone = loaded.cfg.model.get('backbone') or {}
    arch = backbone.get('arch')
    name = dict(SELNeXt=f'selnext_{arch}', PATNet=f'patnet_{arch}').get(backbone.get('type'))
    if name is None or not loaded.is_classifier or not isinstance(arch, str):
        return None
    try:
        import torch
        from timm import create_model

        import selnext_mm.timm  # noqa: F401 - registers the name
    except (ImportError, UserError):
        return None
    with torch.device('meta'):
        model = create_model(name, num_classes=len(loaded.classes))
    shapes = {k: v.shape for k, v in model.state_dict().items()}
    return name if shapes == {k: v.shape for k, v in loaded.model.state_dict().items()} else None


def hub_config(loaded: LoadedModel, pictures: dict[str, Any]) -> dict[str, Any]:
    """``config.json``; ``timm.create_model('hf-hub:')`` reads it for a model that timm knows."""
    result: dict[str, Any] = dict(
        library_name='selnext_mm',
        selnext_mm=__version__,
        task='image-classification' if loaded.is_classifier else 'object-detection',
        label_names=list(loaded.classes),
    )
    name = timm_name(loaded)
    if name:
        size = next((s['width'] for s in pictures.get('pipeline', []) if 'width' in s), 224)
        result |= dict(
            architecture=name,
            num_classes=len(loaded.classes),
            num_features=loaded.model.head.fc.in_features,
            pretrained_cfg=dict(
                input_size=[3, size, size],
                mean=pictures['image_mean'],
                std=pictures['image_std'],
                num_classes=len(loaded.classes),
                classifier='head.fc',
            ),
        )
    return result


def check_place(out: Path, work_dir: Path, force: bool) -> None:
    """Raise :class:`UserError` if ``out`` holds files that :func:`publish` may not replace."""
    if out.resolve() == work_dir.resolve():
        raise UserError(f'--to {out} is the folder of the run; its {CONFIG} would be replaced')
    there = [name for name in (CARD, *FILES, ONNX) if (out / name).exists()]
    if there and not force:
        raise UserError(
            f'--to {out} holds a {there[0]}, which may have been edited; --force replaces what was '
            'published, or name another folder'
        )


def publish(
    work_dir: str | Path,
    to: str | Path,
    checkpoint: str | Path | None = None,
    licence: str = 'other',
    repo: str | None = None,
    dtype: str = 'float32',
    notes: Sequence[str] = (),
    force: bool = False,
) -> Path:
    """Write the folder of a run's model; nothing is sent anywhere.

    The same run and arguments give the same bytes.

    The files are ``model.safetensors`` (weights, classes in its header), ``config.py`` (resolved,
    without paths of this machine), ``preprocessor_config.json``, ``config.json`` and the card,
    ``README.md``.

    Args:
        work_dir: of the run.
        to: the folder; other files in it are kept.
        checkpoint: by default :func:`checkpoint_of` the run.
        licence: of the weights, as the Hub calls it; the card says that it is the user's choice.
        repo: ``owner/name`` that the commands of the card name.
        dtype: of the stored weights: ``float32``, or ``float16`` for half the size.
        notes: sentences for the card.
        force: replace the published files in ``to``, including a card that was edited by hand;
        an ONNX file of other weights is removed.

    Raises:
        UserError: for a ``work_dir`` that is not a run or has no checkpoint, a checkpoint of an
        earlier run in it, a folder that cannot be written, is ``work_dir`` or contains a file of
        these names (without ``force``), an invalid licence name, and weights that are too large
        for ``dtype``.
    """
    if not re.fullmatch(r'[\w.-]+', licence):
        raise UserError(
            f'--licence {short(licence)!r}; expected a name as the Hub has it, such as apache-2.0, '
            'mit, cc-by-4.0 or other'
        )
    work_dir, out = Path(work_dir).expanduser(), Path(to).expanduser()
    check_place(out, work_dir, force)
    run = read_run(work_dir)
    configs = configs_of(work_dir)
    path = Path(checkpoint).expanduser() if checkpoint else checkpoint_of(work_dir)
    content = load_file(path)
    check_run_of(path, content, work_dir)
    with quiet():
        loaded = load_for_inference(configs[-1], path, 'cpu', deployed=False, content=content)
    refuse_segmentor(loaded.model, 'publish')
    pictures = preprocessor(loaded)
    with new_folder(out, '--to') as folder:
        header = dict(
            format='pt', classes=json.dumps(loaded.classes), producer=f'selnext_mm {__version__}'
        )
        save_file(stored(loaded.model.state_dict(), dtype), folder / WEIGHTS, header)
        write_text(folder / CONFIG, portable_config(loaded.cfg))
        write_json(folder / PREPROCESSOR, pictures)
        about = hub_config(loaded, pictures)
        write_json(folder / ABOUT, about)
        digest = sha256(folder / WEIGHTS)
        start = start_of(configs)
        command = command_of(work_dir)
        # Weights that a training began with are not beside the config.
        if command is None and start.partition(';')[0] == 'random weights':
            command = f'selnext-mm train {CONFIG}'
        text = model_card(
            run, loaded, about, path.name, digest, licence, repo, start, dtype, notes, command
        )
        write_text(folder / CARD, text)
    (out / ONNX).unlink(missing_ok=True)  # it belongs to the previous weights
    return out
