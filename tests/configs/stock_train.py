"""Run a stock training script on one config after the other, each in a process of its own.

usage: python stock_train.py SCRIPT RUNS.json

RUNS.json lists the script's arguments for each run. What the script itself imports is imported
once, and every run is a fork of that: nothing that a run imports or registers is there for the
next one. Prints "done I" or "failed I" for run I, whose output is in I.txt.
"""

import json
import os
import runpy
import sys

import torch

LATEST = 300  # seconds


def run(script: str, arguments: list[str], log: str) -> bool:
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    stream = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    import faulthandler

    faulthandler.dump_traceback_later(LATEST, exit=True)
    sys.argv = [script, *arguments]
    status = 1
    try:
        runpy.run_path(script, run_name='__main__')
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main(script: str, runs: str) -> None:
    torch.set_num_threads(1)  # threads do not survive a fork
    runpy.run_path(script, run_name='imports only')
    with open(runs) as stream:
        arguments = json.load(stream)
    for i, one in enumerate(arguments):
        print('done' if run(script, one, f'{i}.txt') else 'failed', i, flush=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
