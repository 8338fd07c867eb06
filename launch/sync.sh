#!/usr/bin/env bash
# Upload runs that were recorded offline to W&B, from a machine that reaches it, such as a login node.
#
#   launch/sync.sh [--live] RUN...
#
# A run is recorded in segments, one for each start. Safe to repeat: each finished segment is uploaded once, the oldest
# first. A segment that a job is still writing is left for a later call; --live follows it to its end.
# An online segment is uploaded only if its upload was incomplete (the job writes a file not_uploaded).
set -euo pipefail

if [[ $# -eq 0 || $1 == -h || $1 == --help ]]; then
  sed -n '2,8s/^# \{0,1\}//p' "$0"
  exit $(($# ? 0 : 2))
fi
command -v wandb >/dev/null || PATH=$(cd "$(dirname "$0")/.." && pwd)/.venv/bin:$PATH
command -v wandb >/dev/null || { echo "error: wandb is not installed: run make setup" >&2; exit 2; }
live=false
if [[ $1 == --live ]]; then
  live=true
  shift
fi
[[ ${1:-} != -* ]] || { echo "error: unknown option $1: see launch/sync.sh --help" >&2; exit 2; }

goes_on() { # RUN SEGMENT: whether a job may be writing the segment
  grep -q '"status": "running"' "$1/status.json" 2>/dev/null && [[ -n $(find "$2" -name 'run-*.wandb' -mmin -10) ]]
}

uploaded() { # SEGMENT: wandb sync exits with 0 even when W&B refuses, but marks uploaded segments
  compgen -G "$1/*.wandb.synced" >/dev/null
}

failed=0 strange=false
shopt -s nullglob
for run in "$@"; do
  if [[ ! -d $run/wandb ]]; then
    [[ -f $run/comparison.json ]] && continue # skip the comparison that `compare` writes beside the runs
    echo "error: $run has no wandb folder: give run folders such as runs/NAME" >&2
    strange=true
    continue
  fi
  segments=("$run"/wandb/offline-run-*)
  for segment in "${segments[@]}"; do
    if uploaded "$segment"; then continue; fi
    if [[ $segment == "${segments[-1]}" ]] && goes_on "$run" "$segment"; then
      if ! $live; then
        echo "$run is still running: its newest segment is uploaded when it has ended, or now with --live"
        continue
      fi
      wandb beta sync --yes --live "$segment" || true
    else
      echo "uploading $segment"
      wandb sync --yes "$segment" || true
    fi
    uploaded "$segment" || { failed=1; break; } # later segments must wait for this one, to keep the order
  done
  for note in "$run"/wandb/run-*/not_uploaded; do
    echo "uploading ${note%/*}"
    rm -f "${note%/*}"/*.wandb.synced
    wandb sync --yes --include-online "${note%/*}" || true
    if uploaded "${note%/*}"; then rm -f "$note"; else failed=1; fi
  done
done
if [[ $failed -eq 1 ]]; then
  echo "error: not everything was uploaded, see above: check the network and \`wandb login\`, then repeat the command" >&2
fi
if $strange; then exit 2; fi
exit "$failed"
