"""A model file in a process of its own, as the people who use it run it.

The place of a model's memory decides some percent of its time. In one process with PyTorch and the
models before it, the same file took 1426 or 1478 ms, as it was opened second or first.

Run as a program, this file reads a pickled :class:`Task` from its standard input, then a byte for
each call, and answers each with a byte (or, once asked for, the pickled result).
"""

import os
import pickle
import subprocess
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

RUN, FETCH, DONE, FAILED = b'r', b'f', b'd', b'x'
# Of a mask, as PyTorch's post-processing cuts it.
CUT = 0.5


@dataclass
class Task:
    """What the process runs.

    Attributes:
        path: an .onnx or .xml file.
        feed: its inputs.
        threads: None: as many as there are cores.
        precision: of OpenVINO ('f32', 'bf16'), which then runs the file; None: the suffix decides.
        size: (height, width) into which masks are pasted, None for a classifier.
    """

    path: Path
    feed: dict[str, np.ndarray]
    threads: int | None = None
    precision: str | None = None
    size: tuple[int, int] | None = None


class FileProcess:
    """Call it to run the file once; :meth:`fetch` also gives the outputs.

    Raises:
        RuntimeError: the file cannot be opened or run, with the last line of the program.
    """

    def __init__(self, task: Task) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._end = weakref.finalize(self, self._process.kill)
        pickle.dump(task, self._input)
        self._wait()

    @property
    def _input(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _wait(self) -> IO[bytes]:
        """The process's output, when it has done what it was told."""
        self._input.flush()
        output = self._process.stdout
        assert output is not None
        answer = output.read(1)
        if answer == FAILED:
            raise RuntimeError(pickle.load(output))
        if answer != DONE:
            raise RuntimeError(f'the process of a model file ended with {self._process.wait()}')
        return output

    def __call__(self) -> None:
        self._input.write(RUN)
        self._wait()

    def fetch(self) -> dict:
        self._input.write(FETCH)
        return pickle.load(self._wait())


Run = Callable[[dict[str, np.ndarray]], dict]


def open_file(task: Task) -> Run:
    from selnext_mm.runtime.sessions import open_session, openvino_core

    if task.precision is None:
        return open_session(task.path, task.threads).run
    import openvino

    settings: dict[str, Any] = {'INFERENCE_PRECISION_HINT': task.precision}
    if task.threads:
        settings['INFERENCE_NUM_THREADS'] = task.threads
    model = openvino.convert_model(task.path)
    compiled = openvino_core().compile_model(model, 'CPU', settings)
    names = [output.get_any_name() for output in compiled.outputs]

    def run(inputs: dict[str, np.ndarray]) -> dict:
        results = compiled(inputs)
        return {name: results[i] for i, name in enumerate(names)}

    return run


def open_call(task: Task, run: Run) -> Callable[[], dict]:
    """A call of ``run`` with the task's inputs; a detector's ``masks`` are pasted."""
    from selnext_mm.runtime.masks import paste

    def call() -> dict:
        found = run(task.feed)
        if task.size is not None:
            pairs = zip(found['masks'], found['boxes'], strict=True)
            found['masks'] = [paste(mask, box, *task.size, CUT) for mask, box in pairs]
        return found

    return call


def main() -> None:
    # What libraries print goes to the standard error: the standard output is ours.
    output = os.fdopen(os.dup(1), 'wb')
    os.dup2(2, 1)
    from selnext_mm.process import keep_freed_memory

    keep_freed_memory()  # as the package's commands do
    try:
        task = pickle.load(sys.stdin.buffer)
        call = open_call(task, open_file(task))
        output.write(DONE)
        output.flush()
        while order := sys.stdin.buffer.read(1):
            found = call()
            output.write(DONE)
            if order == FETCH:
                pickle.dump(found, output)
            output.flush()
    except Exception as error:
        output.write(FAILED)
        pickle.dump((str(error).strip() or repr(error)).splitlines()[-1], output)
        output.flush()


if __name__ == '__main__':
    main()
