"""torchrun toy_ddp_end.py FOLDER: the toy run, whose first process ends while gloo still works.

A thread of gloo then holds a tensor that nobody else has, and gets its turn seconds later.
"""

import gc
import runpy
import time
from pathlib import Path

import torch
import torch.distributed as dist

gc.disable()  # what the run leaves is garbage that nobody has collected before the end
runpy.run_path(str(Path(__file__).with_name('toy_ddp.py')))
if dist.get_rank():
    time.sleep(2)
tensor = torch.ones(10)
tensor.known_to_python = True
dist.all_reduce(tensor, async_op=dist.get_rank() == 0)
del tensor
print('the end of the program')
