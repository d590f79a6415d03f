"""``selnext-mm predict``: a trained model on images."""

import argparse
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from selnext_mm import register_modules
from selnext_mm.cli.parser import Parser
from selnext_mm.cli.slice_options import add_slice_arguments, in_slices, read_slicing
from selnext_mm.errors import UserError
from selnext_mm.text import counted, per_second, preview
from selnext_mm.visualization import SCORE_THR

TOP_K, BATCH = 5, 8
TOP_K_HELP = f'of a classifier: classes per image ({TOP_K})'
EPILOG = """examples:
  selnext-mm predict my_config.py epoch_36.pth photo.jpg holiday/ 'more/**/*.png' --out predicted
  selnext-mm predict my_config.py epoch_36.pth val2017 --ann instances_val2017.json --out p
  selnext-mm predict published/ photo.jpg --out predicted       (a folder of selnext-mm publish)
  selnext-mm predict detector.onnx photo.jpg --out predicted    (a file of selnext-mm export)
  selnext-mm predict my_config.py epoch_36.pth aerial/ --slice 640 --out p    (small objects)

written to DIR, when all of it is there:
  predictions.json   detector: a COCO file with scores; classifier: top-k of every image
  results.json       detector: the list that COCO.loadRes and selnext-mm panel read
  predictions.csv    classifier: one row per image
  pictures/          the images with what was found, from --score-thr on
  frames.jsonl, video.mp4   of a clip, camera or stream instead: a line per frame, and the frames

exit status: 0; 1 if images were skipped because they cannot be read; 2 for a mistake
"""


def add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that apply to both a checkpoint and an exported file."""
    parser.add_argument(
        'images',
        nargs='+',
        metavar='IMAGES',
        help='files, folders, globs; or one clip (.mp4, ...), address (rtsp://...) or camera (0)',
    )
    parser.add_argument('--out', required=True, metavar='DIR', help='folder to write')
    parser.add_argument('--force', action='store_true', help='replace the predictions in DIR')
    parser.add_argument(
        '--score-thr',
        type=float,
        help='of a detector: lowest score that is drawn (the scores that an exported file holds '
        f'for its classes, else {SCORE_THR})',
    )
    add_slice_arguments(parser)
    parser.add_argument('--no-pictures', action='store_true', help='write no annotated images')
    parser.add_argument(
        '--track', action='store_true', help='of a clip or stream: numbers of objects that stay'
    )
    parser.add_argument('--max-frames', type=int, help='of a clip or stream: stop after as many')
    parser.add_argument(
        '--ann', metavar='JSON', help='COCO file to take the category and image ids from'
    )


def build_parser() -> argparse.ArgumentParser:
    from selnext_mm.cli.arguments import Options

    result = Parser(
        prog='selnext-mm predict',
        description='Run a detector or classifier over images.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        intermixed=True,
    )
    result.add_argument(
        'config', metavar='CONFIG', help='config file, a name under configs/, or a published folder'
    )
    result.add_argument(
        'checkpoint',
        nargs='?',
        metavar='CHECKPOINT',
        help='.pth or .safetensors; a published folder holds its own',
    )
    add_shared_arguments(result)
    result.add_argument(
        '--classes', nargs='+', metavar='NAME', help="class names; default: the checkpoint's"
    )
    result.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        metavar='KEY=VALUE',
        help='override values of the config',
    )
    result.add_argument('--top-k', type=int, help=TOP_K_HELP)
    result.add_argument('--batch-size', type=int, help=f'of images, or of slices ({BATCH})')
    result.set_defaults(usual_batch=BATCH)
    result.add_argument('--device', default='auto', help='auto, cpu, cuda, cuda:1 (%(default)s)')
    result.add_argument(
        '--dtype',
        choices=('float32', 'bfloat16'),
        help="of the backbone's products; bfloat16 is faster on processors with AMX or AVX512-BF16 "
        'and on NVIDIA GPUs (the dtype of the weights)',
    )
    return result


def take_folder(args: argparse.Namespace) -> None:
    """Turn ``FOLDER IMAGES`` into ``CONFIG CHECKPOINT IMAGES``, in place.

    Raises:
        UserError: if there is no CONFIG; if there is no checkpoint, and CONFIG is not a folder that
        contains one; or if CONFIG is an address of the Hub.
    """
    from selnext_mm.checkpoints.hub import (
        CHECKPOINTS,
        DEFAULT_FILE,
        holds_model,
        is_hub_address,
        local_path,
    )
    from selnext_mm.config_files import find_config

    word, folder = args.checkpoint, holds_model(args.config)
    if not folder:
        find_config(args.config)  # first, because without a config the other words may be misread
    named = word and (is_hub_address(word) or local_path(word).suffix in CHECKPOINTS)
    if folder and not named:
        args.images = args.images if word is None else [word, *args.images]
        args.checkpoint = args.config
    elif word is None and Path(args.config).is_dir():
        raise UserError(
            f'{args.config} has a config and no {DEFAULT_FILE}; fetch or publish it again, or give '
            'CONFIG, CHECKPOINT and IMAGES'
        )
    elif word is None:
        raise UserError(
            f'{args.config} and {args.images[0]} are two of three: give CONFIG, CHECKPOINT and '
            'IMAGES, or a folder of "selnext-mm publish" and IMAGES'
        )


def check(args: argparse.Namespace) -> None:
    for name in ('top_k', 'batch_size'):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UserError(f'--{name.replace("_", "-")} {value}; expected 1 or more')
    if args.score_thr is not None and not 0 <= args.score_thr <= 1:
        raise UserError(f'--score-thr {args.score_thr:g}; expected a number from 0 to 1')


def refuse_unused(is_classifier: bool, score_thr: float | None, top_k: int | None) -> None:
    """Raise :class:`UserError` for an option that has no effect on this kind of model."""
    if is_classifier and score_thr is not None:
        raise UserError(
            f'--score-thr {score_thr:g} is for detectors; of a classifier the best classes are '
            'written, whatever their scores: leave it out, or give --top-k'
        )
    if not is_classifier and top_k is not None:
        raise UserError(
            f'--top-k {top_k} is for classifiers; of a detector all objects are written: leave it '
            'out, or give --score-thr'
        )


def thresholds_of(args: argparse.Namespace, predictor):
    """The lowest score that is drawn: from ``--score-thr``, from the file, or the default."""
    if args.score_thr is not None:
        return args.score_thr
    return getattr(predictor, 'thresholds', None) or SCORE_THR


def open_predictor(args: argparse.Namespace) -> tuple:
    """(predictor, category and image ids)."""
    from selnext_mm.config.build import quiet
    from selnext_mm.inference import Predictor
    from selnext_mm.inference.categories import find_ids

    with quiet():
        predictor = Predictor(
            args.config,
            args.checkpoint,
            device=args.device,
            classes=args.classes,
            options=args.cfg_options,
            batch_size=args.batch_size or BATCH,
            top_k=args.top_k or TOP_K,
            dtype=args.dtype,
        )
    refuse_unused(predictor.loaded.is_classifier, args.score_thr, args.top_k)
    return predictor, find_ids(predictor.loaded.cfg, predictor.classes, args.ann)


def run(args: argparse.Namespace, opened_by: Callable = open_predictor) -> int:
    from selnext_mm.cli import predict_video

    if slicing := read_slicing(args, args.batch_size or args.usual_batch):
        opened_by = in_slices(opened_by, slicing)
    if predict_video.is_meant(args):
        if args.batch_size and not slicing:
            raise UserError(
                f'--batch-size {args.batch_size}: the frames of {args.images[0]} are predicted as '
                'they come, one by one; leave it out, or give --slice'
            )
        return predict_video.run(args, opened_by)

    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    from selnext_mm.inference.images import list_images
    from selnext_mm.inference.output import complete_folder
    from selnext_mm.inference.stills import predict_images

    images, out = list_images(args.images), Path(args.out).expanduser()
    pictures = not args.no_pictures
    with predict_video.stopped_by_signals(), complete_folder(out, args.force, images) as folder:
        predictor, ids = opened_by(args)
        columns = (*Progress.get_default_columns(), MofNCompleteColumn())
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task(f'predict on {predictor.device}', total=len(images))
            found = predict_images(
                *(predictor, images, folder, ids, thresholds_of(args, predictor)),
                pictures=pictures,
                on_image=lambda: progress.advance(task),
                on_unreadable=skipped,
            )
    report(args, predictor, ids, found)
    names = [str(out / name) for name in found.files]
    print(f'wrote {", ".join(names)}' + (f', {out / "pictures"}/' if pictures else ''))
    return 1 if found.unreadable else 0


def skipped(record: dict) -> None:
    print(f'skipped {record["path"]}: {record["error"]}', file=sys.stderr)


def report(args: argparse.Namespace, predictor, ids, found) -> None:
    """Report what was found, and the origin of names and ids, in three lines."""
    rate = f'{per_second(len(found.records), found.seconds, "image")} on {predictor.device}'
    missing = f', {len(found.unreadable)} skipped' if found.unreadable else ''
    print(f'{counted(len(found.records), "image")}{missing}, {rate}')
    if found.dark:
        have = counted(len(found.dark), 'image has', 'images have')
        print(
            f'{have} 16 bits, of which the model sees the upper 8: all but black '
            f'({preview(found.dark, 3)}). Scale them to the whole range, or write 8 bits',
            file=sys.stderr,
        )
    classes = counted(len(predictor.classes), 'class')
    if predictor.loaded.is_classifier:
        print(f'{classes}, named by {predictor.loaded.source}')
        return
    from selnext_mm.inference.categories import BY_ORDER
    from selnext_mm.inference.thresholds import in_words, shown

    objects = [i for r in found.records for i in r['instances']]
    lowest = thresholds_of(args, predictor)
    drawn = len(shown(objects, lowest))
    words = in_words(lowest, predictor.loaded.source)
    print(f'{counted(len(objects), "object")}, {drawn} with score >= {words}')
    print(
        f'{classes}, named by {predictor.loaded.source}; '
        f'category ids from {ids.source}'
        + ('; --ann FILE takes those of your annotations' if ids.source == BY_ORDER else '')
    )
    if args.ann and found.new_ids:
        images = counted(found.new_ids, 'image is', 'images are')
        print(f'{images} not in {args.ann}: new image ids')


def main(argv: list[str] | None = None) -> int:
    from selnext_mm.cli import predict_file

    argv = sys.argv[1:] if argv is None else argv
    if predict_file.is_meant(argv) or find_spec('torch') is None:
        return predict_file.main(argv)
    register_modules()
    args = build_parser().parse_args(argv)
    take_folder(args)
    check(args)
    return run(args)
