#!/usr/bin/env bash
# The pre-flight of one node, which slurm/nodes.sh starts on every node with the command that checks it:
#
#   slurm/preflight.sh SECONDS [container ...] python -m job doctor --preflight --config configs/X.yaml
#
# Prints a line for each fault, or one that says ok with the time of this node: fields separated by tabs. JOB_SITE_CHECK
# is a command of the site: if it fails, its last line is the reason.
set -euo pipefail

if [[ $# -eq 0 || $1 == -h || $1 == --help ]]; then
  sed -n '2,7s/^# \{0,1\}//p' "$0"
  exit $(($# ? 0 : 2))
fi
seconds=$1 node=${SLURMD_NODENAME:-$HOSTNAME} good=true
shift

fault() {
  printf 'preflight\t%s\t%s\t%s\n' "$node" "$1" "${2//$'\t'/ }"
  good=false
}

# The last line of what a command that failed has printed, or its exit code.
reason() {
  local last
  last=$(grep -v '^ *$' <<<"$1" | tail -n 1 | head -c 300) || true
  case $2 in
    124 | 137) echo "no result within $seconds s" ;;
    *) echo "${last:-exit code $2}" ;;
  esac
}

if [[ -n ${JOB_SITE_CHECK:-} ]]; then
  output=$(timeout --kill-after=5 "$seconds" bash -c "$JOB_SITE_CHECK" 2>&1) && code=0 || code=$?
  [[ $code -eq 0 ]] || fault "site check" "$(reason "$output" "$code")"
fi
output=$(timeout --kill-after=5 "$seconds" "$@" 2>&1) && code=0 || code=$?
if faults=$(grep $'^preflight\t' <<<"$output"); then
  printf '%s\n' "$faults"
elif [[ $code -ne 0 ]]; then
  fault software "$(reason "$output" "$code")"
elif $good; then
  printf 'preflight\t%s\tok\t%(%s)T\n' "$node"
fi
