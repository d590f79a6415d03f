"""``selnext-mm predict`` on a clip, a camera or a stream: an mp4 file and a JSON line per frame."""

import argparse
import contextlib
import itertools
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from selnext_mm.errors import UserError

LONGEST_GAP = 250  # frames that one frame stands for, at most


def is_meant(args: argparse.Namespace) -> bool:
    """Whether the input is a video.

    Raises:
        UserError: for more than one, or for options that need images.
    """
    from selnext_mm.inference.video import is_video

    if not any(map(is_video, args.images)):
        for option in ('max_frames', 'track'):
            if getattr(args, option) not in (None, False):
                name = option.replace('_', '-')
                raise UserError(f'--{name} needs a clip, a camera or a stream')
        return False
    if len(args.images) > 1:
        raise UserError(f'{", ".join(args.images)}: name one clip, camera or stream, and no more')
    if args.max_frames is not None and args.max_frames < 1:
        raise UserError(f'--max-frames {args.max_frames}; expected 1 or more')
    return True


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """SIGTERM is a KeyboardInterrupt, so that both leave what is done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run(args: argparse.Namespace, opened_by: Callable) -> int:
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn

    from selnext_mm.cli.predict import thresholds_of
    from selnext_mm.inference.output import annotate, complete_folder
    from selnext_mm.inference.thresholds import in_words
    from selnext_mm.inference.tracks import Tracks, draw_tracks
    from selnext_mm.inference.video import Recorder, open_video

    (entry,), out = args.images, Path(args.out).expanduser()
    with complete_folder(out, args.force) as folder, contextlib.ExitStack() as stack:
        predictor, ids = opened_by(args)
        video, lowest = open_video(entry), thresholds_of(args, predictor)
        stack.callback(video.close)
        key = 'classes' if predictor.loaded.is_classifier else 'instances'
        if args.track and predictor.loaded.is_classifier:
            raise UserError('--track: a classifier finds no objects')
        tracks = Tracks(video.rate) if args.track else None
        recorder = None if args.no_pictures else Recorder(folder / 'video.mp4', video.rate)
        if recorder:
            stack.callback(recorder.close)
        lines = stack.enter_context(open(folder / 'frames.jsonl', 'w', encoding='utf-8'))
        count, found, last, stopped, start = 0, 0, -1, False, time.perf_counter()
        columns = (
            *Progress.get_default_columns(),
            MofNCompleteColumn(),
            TextColumn('{task.fields[rate]}'),
        )
        with (
            stopped_by_signals(),
            contextlib.suppress(KeyboardInterrupt),
            Progress(*columns, console=Console(stderr=True)) as progress,
        ):
            stopped = True
            task = progress.add_task(str(entry), total=args.max_frames or video.total, rate='')
            for frame in itertools.islice(video.frames(), args.max_frames):
                results = predictor.find(frame.pixels)
                height, width = frame.pixels.shape[:2]
                if tracks:
                    tracks.add(results)
                if recorder:
                    record = {key: results}
                    image = annotate(frame.pixels, record, predictor.classes, lowest)
                    if tracks:
                        image = draw_tracks(image, results, width, lowest)
                    # Those that were dropped are filled up, so that the clip keeps its time.
                    recorder.add(image, min(frame.index - last, LONGEST_GAP))
                    last = frame.index
                if key == 'instances':
                    results = [
                        dict(category_id=ids.categories[item['category']], **item)
                        for item in results
                    ]
                content = dict(frame=frame.index, seconds=round(frame.seconds, 3))
                content |= dict(width=width, height=height) | {key: results}
                lines.write(json.dumps(content) + '\n')
                count, found = count + 1, found + len(results)
                rate = f'{count / (time.perf_counter() - start):.1f} frames/s'
                progress.update(task, advance=1, rate=f'{rate}, {video.dropped} dropped')
            stopped = False
        seconds = time.perf_counter() - start
        if not count:
            raise UserError(f'{entry}: there is no frame to read; nothing was written')
        stack.close()  # the mp4 file ends here, before the folder moves
    lost = f', connection lost {video.lost} times' if video.lost else ''
    print(
        f'{count} frames, {count / seconds:.1f} frames/s on {predictor.device}, '
        f'{video.dropped} dropped{lost}' + (', stopped' if stopped else '')
    )
    if key == 'instances':
        followed = f', {len(tracks.seen)} tracks' if tracks else ''
        print(f'{found} objects{followed}; category ids from {ids.source}')
        if recorder:
            print(f'drawn: those with score >= {in_words(lowest, predictor.loaded.source)}')
    written = ['frames.jsonl', *(['video.mp4'] if recorder else [])]
    print(f'wrote {", ".join(str(out / name) for name in written)}')
    return 0
