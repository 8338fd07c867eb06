# shellcheck shell=bash disable=SC2154 # of the scripts that source it, under `set -e`
# Sourced by train.sbatch and shared.sh, after setup.sh: queue the job again, until it has crashed too often. The
# script sets restarts, words (its arguments), again (script and words), before, and a function newest, whose output
# differs from before once there is progress; train.sbatch also sets run (the run folder) and stopping.

record() { # in the run folder: every restart, and why
  [[ ! -d ${run:-} ]] || echo "$(date '+%F %T') job $id, start $((restarts + 1)): $1" >>"$run/restarts.log" || true
}

# Requeue the job, unless it was cancelled or requeued already: a node that Slurm has given up must not affect the next start.
# If the controller does not answer, retry with growing pauses. Returns 0: requeued, 1: no answer, 2: refused, 3: too late.
requeue() {
  local pause=2 end=$((SECONDS + ${JOB_SLURM_PATIENCE:-600})) said=false answer
  while true; do
    if answer=$(scontrol --oneliner show job "$id" 2>&1); then
      [[ $answer =~ JobState=RUNNING\ .*\ Restarts=$restarts\  ]] || return 3
      $said || { echo "== $1; queued again" && record "$1; queued again"; } # Slurm ends this script at once
      said=true
      if answer=$(trap '' TERM && scontrol requeue "$id" 2>&1); then return 0; fi
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
  [[ -z ${exclude:-} || ! $answer =~ ^(0|3)$ ]] || exclude_nodes
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

# Sets crashes: how many in a row, without a new checkpoint between them, also over restarts of the job.
count_crash() {
  local count=slurm/logs/$id.crashes
  crashes=1
  if [[ $(newest) == "$before" ]]; then crashes=$(($(cat "$count" 2>/dev/null || echo 0) + 1)); fi
  echo "$crashes" >"$count"
}

queue_after_crash() {
  if ((crashes >= ${JOB_MAX_CRASHES:-3})); then
    rm -f "slurm/logs/$id.crashes"
    echo "error: crashed $crashes times in a row without a new checkpoint (JOB_MAX_CRASHES): $1" >&2
    exit 1
  fi
  queue_again "crashed ($1)"
}

crashed() {
  count_crash
  queue_after_crash "$1"
}

# After a crash: whether to start the ranks again in this allocation. The last start before JOB_MAX_CRASHES is on nodes
# that Slurm chooses again, and a stop, a lost node or a silent controller are left to Slurm.
restarts_in_place() {
  local most=${JOB_RESTARTS_IN_PLACE:-10} answer
  ((in_place < most && crashes + 1 < ${JOB_MAX_CRASHES:-3})) || return 1
  sleep 2 # if Slurm is about to end the job, it says so by then
  ! $stopping && [[ ! -e $run/stop || $(<"$run/stop") == SIG* ]] || return 1
  rm -f "$run/stop" # by launch/node.sh, when srun ended the other nodes
  answer=$(scontrol --oneliner show job "$id" 2>&1) || return 1
  [[ $answer =~ JobState=RUNNING\ .*\ Restarts=$restarts\  ]] || return 1
  in_place=$((in_place + 1))
  answer="crashed ($1); restarted in place ($in_place of at most $most)"
  echo "== $answer"
  record "$answer"
}
