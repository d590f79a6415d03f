#!/usr/bin/env bash
# torchrun.sh SCRIPT CONFIG PROCESSES [arguments]: what dist_train.sh and dist_test.sh share.
# MAX_RESTARTS=3: after the death of a process all start again, from the newest checkpoint.
set -euo pipefail
tools=$(cd "$(dirname "$0")" && pwd)
script=$1 config=$2 processes=$3
shift 3
python=${PYTHON:-python3}
# The project's own environment, unless an activated one has the package. The folder that this is
# called from does not count: the repository itself has one of that name.
have='import sys; sys.path[:] = filter(None, sys.path); from importlib.util import find_spec
sys.exit(not all(map(find_spec, ("torch", "mmengine", "selnext_mm"))))'
if [ -z "${PYTHON:-}" ] && [ -x "$tools/../.venv/bin/python" ] &&
  ! "$python" -c "$have" 2>/dev/null; then
  python=$tools/../.venv/bin/python
fi
if [ "${NNODES:-1}" = 1 ]; then
  # A free port, so that two jobs on one machine do not meet.
  rendezvous=(--standalone)
else
  rendezvous=(--nnodes "$NNODES" --node_rank "${NODE_RANK:?set NODE_RANK on every machine}"
    --master_addr "${MASTER_ADDR:?set MASTER_ADDR to the first machine}"
    --master_port "${MASTER_PORT:-29500}")
fi
# torchrun passes on what it is told to, and dies of other signals, with nothing saved. The first
# name is for torch 2.9 and later, the second for those before that read it.
signals=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1
export PET_SIGNALS_TO_HANDLE=${PET_SIGNALS_TO_HANDLE:-$signals}
export TORCHELASTIC_SIGNALS_TO_HANDLE=${TORCHELASTIC_SIGNALS_TO_HANDLE:-$signals}
exec "$python" -m torch.distributed.run "${rendezvous[@]}" --nproc_per_node "$processes" \
  --max_restarts "${MAX_RESTARTS:-0}" \
  "$tools/$script" "$config" "$@" --launcher pytorch
