#!/usr/bin/env bash
# Train on this machine, on all its GPUs or else on its CPU.
#
#   launch/local.sh configs/X.yaml [key.sub=value ...]
#
# Exit code: 0 finished, 2 bad input, 75 stopped after a checkpoint, 1 crashed: run the same command again to resume.
# Ctrl-C, SIGTERM, SIGUSR1 and a closed terminal request such a stop; a second Ctrl-C ends at once, with exit code 130.
# JOB_RANKS=N starts N processes instead of one for each GPU (or one on a CPU).
set -euo pipefail

if [[ $# -eq 0 || $1 == -h || $1 == --help ]]; then
  sed -n '2,9s/^# \{0,1\}//p' "$0"
  exit $(($# ? 0 : 2))
fi
here=$(dirname "$0")
unset RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT "${!SLURM_@}" # set by another program, or by an allocation
if ! command -v accelerate >/dev/null; then
  PATH=$(cd "$here/.." && pwd)/.venv/bin:$PATH # what `make setup` installs
  command -v accelerate >/dev/null || { echo "error: accelerate is not installed: run make setup" >&2; exit 2; }
fi
[[ -f job/__main__.py ]] || { echo "error: $PWD is not the repository: cd $(cd "$here/.." && pwd) and start it there" >&2; exit 2; }
config=$1
shift

# Check the configuration once, before any rank starts.
plan=$(python -m job train --check --config "$config" "$@")
read -r JOB_RANKS JOB_GPUS JOB_RUN_FOLDER <<<"${plan##*$'\n'}"
export JOB_RANKS JOB_GPUS JOB_RUN_FOLDER JOB_HOSTS=localhost
unset JOB_STATUS_FILE
rm -f "$JOB_RUN_FOLDER/stop"        # left by an earlier start that ended before it handled the request
echo "$config: starting $JOB_RANKS rank(s), which takes some seconds" >&2
exec "$here/node.sh" train --config "$config" "$@"
