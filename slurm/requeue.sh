# shellcheck shell=bash disable=SC2154 # of the scripts that source it, under `set -e`
# Sourced by train.sbatch and shared.sh, after setup.sh: queue the job again, until it has crashed too often. The
# script sets restarts, words (its arguments), again (script and words), before, and a function newest, whose output
# differs from before once there is progress.

# Requeue the job, unless it was cancelled or requeued already: a node that Slurm has given up must not affect the next start.
# If the controller does not answer, retry with growing pauses. Returns 0: requeued, 1: no answer, 2: refused, 3: too late.
requeue() {
  local pause=2 end=$((SECONDS + ${JOB_SLURM_PATIENCE:-600})) said=false answer
  while true; do
    if answer=$(scontrol --oneliner show job "$id" 2>&1); then
      [[ $answer =~ JobState=RUNNING\ .*\ Restarts=$restarts\  ]] || return 3
      $said || echo "== $1; queued again" # Slurm ends this script at once
      said=true
      if answer=$(scontrol requeue "$id" 2>&1); then return 0; fi
    fi
    [[ ! ${answer,,} =~ (invalid job id) ]] || return 3
    echo "== cannot queue it again: ${answer##*$'\n'}" >&2
    [[ ! ${answer,,} =~ (denied|disabled|not supported) ]] || return 2
    ((SECONDS < end)) || return 1
    sleep "$pause"
    pause=$((pause < 15 ? pause * 2 : 30))
  done
}

queue_again() {
  if ((restarts >= ${JOB_MAX_RESTARTS:-100})); then
    echo "error: $1, and this was restart $restarts of at most ${JOB_MAX_RESTARTS:-100} (JOB_MAX_RESTARTS):" \
      "submit it again with ${words[*]} to resume it" >&2
    exit 75
  fi
  local answer=0
  requeue "$1" || answer=$?
  case $answer in
    0) { sleep 300; } 2>/dev/null || true ;;
    3) echo "== $1; Slurm has taken the job back" ;;
    *)
      echo "error: $1, and Slurm does not queue it again: to resume it, \`scontrol requeue $id\`, or where that fails" \
        "submit it again: sbatch $again" >&2
      ;;
  esac
  exit 75
}

crashed() {
  local count=slurm/logs/$id.crashes crashes=1
  if [[ $(newest) == "$before" ]]; then crashes=$(($(cat "$count" 2>/dev/null || echo 0) + 1)); fi
  echo "$crashes" >"$count"
  if ((crashes >= ${JOB_MAX_CRASHES:-3})); then
    rm -f "$count"
    echo "error: crashed $crashes times in a row without a new checkpoint (JOB_MAX_CRASHES): $1" >&2
    exit 1
  fi
  queue_again "crashed ($1)"
}
