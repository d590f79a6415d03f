#!/usr/bin/env bash
# Train with several processes, one per GPU (or per CPU group with gloo):
#   tools/dist_train.sh CONFIG PROCESSES [options of tools/train.py]
# MAX_RESTARTS=3: when a process dies, all start again, up to 3 times, from the newest checkpoint.
# Several machines: start it on each with the same MASTER_ADDR and NNODES, and its own NODE_RANK.
set -euo pipefail
if [ $# -lt 2 ]; then
  echo "usage: $0 CONFIG PROCESSES [options of tools/train.py]" >&2
  exit 2
fi
exec "$(dirname "$0")/torchrun.sh" train.py "$@"
