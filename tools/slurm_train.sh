#!/usr/bin/env bash
# Train on a Slurm cluster, one task per GPU:
#   [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=5] [STOP_SECONDS=120] [SRUN_ARGS=...] \
#     tools/slurm_train.sh PARTITION JOB_NAME CONFIG [options of tools/train.py]
# STOP_SECONDS before its end, or when it is preempted, the job saves its state and stops with
# status 75. Then it goes on: within sbatch the job is requeued, otherwise srun is called again.
# srun returns the highest status of all tasks, and 137 of one that it killed hides the 75 of the
# others: the tasks say in a file of the current folder that they were told to stop.
set -euo pipefail
if [ $# -lt 3 ]; then
  echo "usage: $0 PARTITION JOB_NAME CONFIG [options of tools/train.py]" >&2
  exit 2
fi
partition=$1 job=$2 config=$3
shift 3
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
SELNEXT_MM_STOPPED_FILE=$PWD/.stopped-${SLURM_JOB_ID:-$(hostname)-$$}
export SELNEXT_MM_STOPPED_FILE
trap 'rm -f "$SELNEXT_MM_STOPPED_FILE"' EXIT
while :; do
  code=0
  rm -f "$SELNEXT_MM_STOPPED_FILE"
  # SRUN_ARGS is a list of words on purpose.
  # shellcheck disable=SC2086
  srun -p "$partition" --job-name="$job" --gres="gpu:$per_node" --ntasks="$gpus" \
    --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
    --signal="USR1@${STOP_SECONDS:-120}" \
    ${SRUN_ARGS:-} "$(dirname "$0")/train.py" "$config" --launcher slurm "$@" || code=$?
  # A task that failed ends the others with SIGTERM, and they may return 75: only alone it counts.
  if [ "$code" = 0 ] ||
    { [ ! -e "$SELNEXT_MM_STOPPED_FILE" ] && { [ "$code" != 75 ] || [ "$gpus" != 1 ]; }; }; then
    exit "$code"
  fi
  if [ "${ENVIRONMENT:-}" = BATCH ] && [ -n "${SLURM_JOB_ID:-}" ]; then
    echo "stopped with its state saved; requeueing job $SLURM_JOB_ID" >&2
    # Slurm starts it with SLURM_RESTART_COUNT, and train.py goes on from the newest checkpoint.
    rm -f "$SELNEXT_MM_STOPPED_FILE"
    exec scontrol requeue "$SLURM_JOB_ID"
  fi
  echo "stopped with its state saved; starting again" >&2
  export SELNEXT_MM_RESTARTS=1
done
