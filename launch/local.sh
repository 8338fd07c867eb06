#!/usr/bin/env bash
# Train on this machine, on all its GPUs or else on its CPU.
#
#   launch/local.sh configs/X.yaml [key.sub=value ...]
#
# Ends in 0 when finished, 2 on bad input, 75 when stopped after a checkpoint: the same command goes on.
# Ctrl-C, SIGTERM and SIGUSR1 ask for such a stop; a second Ctrl-C ends at once.
# JOB_RANKS=N starts N processes instead of one for each GPU (or one on a CPU).
set -euo pipefail

[[ $# -ge 1 ]] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
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

mkdir -p "$folder"
rm -f "$folder/status.json"
setsid accelerate launch "${options[@]}" -m job train --config "$config" "$@" & # its own session: Ctrl-C comes here only
launcher=$!
asked=false
ask_to_stop() {
  if $asked; then
    kill -TERM -- "-$launcher" 2>/dev/null || true
  else
    asked=true
    echo "stopping after a checkpoint" >&2
    touch "$folder/stop"
  fi
}
trap ask_to_stop INT TERM USR1
while kill -0 "$launcher" 2>/dev/null; do wait "$launcher" || true; done

# `accelerate launch` ends in 1 whatever went wrong, and buries one rank's message under the others' tracebacks.
python - "$folder/status.json" "$ranks" <<'END'
import json, sys
try:
    status = json.load(open(sys.argv[1]))
except FileNotFoundError:
    sys.exit("the job ended before it began: see the messages above")
if "message" in status and sys.argv[2] != "1":
    print("error:", status["message"], file=sys.stderr)
sys.exit(1 if status["exit_code"] is None else status["exit_code"])
END
