#!/usr/bin/env bash
# Train on this machine, on all its GPUs or else on its CPU.
#
#   launch/local.sh configs/X.yaml [key.sub=value ...]
#
# Ends in 0 when finished, 2 on bad input, 75 when stopped after a checkpoint: the same command goes on.
# Ctrl-C, SIGTERM, SIGUSR1 and a closed terminal ask for such a stop; a second Ctrl-C ends at once.
# JOB_RANKS=N starts N processes instead of one for each GPU (or one on a CPU).
set -euo pipefail

if [[ $# -eq 0 || $1 == -h || $1 == --help ]]; then
  sed -n '2,9s/^# \{0,1\}//p' "$0"
  exit $(($# ? 0 : 2))
fi
if ! command -v accelerate >/dev/null; then
  PATH=$(cd "$(dirname "$0")/.." && pwd)/.venv/bin:$PATH # what `make setup` installs
  command -v accelerate >/dev/null || { echo "error: accelerate is not installed: run make setup" >&2; exit 2; }
fi
config=$1
shift

# `accelerate launch` turns every failure into a traceback and exit code 1, so mistakes are looked for before it starts.
plan=$(python -m job train --check ${JOB_RANKS:+--ranks "$JOB_RANKS"} --config "$config" "$@")
read -r ranks gpus folder <<<"$plan"

options=(--num_processes "$ranks" --num_machines 1 --mixed_precision no --dynamo_backend no --quiet)
[[ $ranks -eq 1 ]] || options+=(--multi_gpu --main_process_port 0)
if [[ $gpus -eq 0 ]]; then
  export ACCELERATE_USE_CPU=true # with --multi_gpu: `--cpu` would start one process whatever was asked for
fi
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(($(nproc) / ranks > 0 ? $(nproc) / ranks : 1))}
export JOB_EXPECTED_RANKS=$ranks

JOB_STATUS_FILE=$(mktemp)
export JOB_STATUS_FILE
rm -f "$folder/stop" # of an earlier start that ended before it could be served
setsid accelerate launch "${options[@]}" -m job train --config "$config" "$@" & # its own session: Ctrl-C comes here only
launcher=$!
asked=false
ask_to_stop() {
  if $asked; then
    kill -TERM -- "-$launcher" 2>/dev/null || true
  else
    asked=true
    echo "stopping after a checkpoint" >&2
    mkdir -p "$folder"
    touch "$folder/stop"
  fi
}
trap ask_to_stop INT TERM USR1 HUP
while kill -0 "$launcher" 2>/dev/null; do wait "$launcher" || true; done

# `accelerate launch` ends in 1 whatever went wrong, and buries one rank's message under the others' tracebacks.
python - "$JOB_STATUS_FILE" "$ranks" <<'END'
import json, os, sys
text = open(sys.argv[1]).read()
os.unlink(sys.argv[1])
if not text:
    sys.exit("error: the job ended before it could say why: see the messages above")
status = json.loads(text)
if status["message"] and sys.argv[2] != "1":
    print("error:", status["message"], file=sys.stderr)
sys.exit(status["exit_code"])
END
