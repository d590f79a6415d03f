"""torchrun toy_ddp.py FOLDER [RANK STEP SIGNAL]: the toy run in two processes.

The process RANK gets SIGNAL in iteration STEP (SIGKILL: after it), unless torchrun has started it
again.
"""

import os
import signal
import sys

from mmengine.config import Config

from selnext_mm.engine.distributed.launch import init_cpu_group
from selnext_mm.engine.resume.lineage import find_newest
from tests.engine.toy import At, BeforeEnd, build

folder, *kill = sys.argv[1:]
init_cpu_group(Config(dict(launcher='pytorch')))
restarted = int(os.environ['TORCHELASTIC_RESTART_COUNT']) > 0
hooks = []
if kill and not restarted and os.environ['RANK'] == kill[0]:
    number = signal.Signals[kill[2]]
    kind = At if number == signal.SIGKILL else BeforeEnd
    hooks = [kind(int(kill[1]), lambda runner: os.kill(os.getpid(), number))]
if restarted:
    print('\n'.join(find_newest(folder).lines()))
build(
    folder,
    hooks=hooks,
    epochs=4,
    launcher='pytorch',
    model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None),
    train_dataloader=dict(drop_last=True),
    default_hooks=dict(checkpoint=dict(interval=10, every_iters=3)),
    resume=restarted,
).train()
