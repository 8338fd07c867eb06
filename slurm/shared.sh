# shellcheck shell=bash disable=SC2154 # of the scripts that source it, under `set -e`
# Sourced by search.sbatch and crossval.sbatch, after setup.sh: run a command on which several tasks work, and queue the
# job again until it is finished. The script sets stopping and its traps, words (its arguments), and shared (the command).

# shellcheck source=slurm/requeue.sh
source slurm/requeue.sh
restarts=${SLURM_RESTART_COUNT:-0} again="slurm/$shared.sbatch ${words[*]}"
echo "== $(date '+%F %T') job $id, start $((restarts + 1)) on $JOB_HOSTS"

export JOB_STATUS_FILE=$PWD/slurm/logs/$id.$restarts.status JOB_STOP_FILE=$PWD/slurm/logs/$id.$restarts.stop
mkdir -p slurm/logs
rm -f "$JOB_STATUS_FILE" "$JOB_STOP_FILE"
trap 'rm -f "$JOB_STATUS_FILE" "$JOB_STOP_FILE"; case $? in 0 | 1 | 2) [[ ! -L $log ]] || rm -f "$log" ;; esac' EXIT
before=$restarts
newest() { echo "$restarts"; } # every crash counts; finished trials and runs are kept
! $stopping || queue_again "stopped before it began"

on_head python -m job "$shared" --no-wait "${words[@]}" &
step=$! code=0
while kill -0 "$step" 2>/dev/null; do wait "$step" 2>/dev/null && code=0 || code=$?; done # a trap runs only while bash waits
reported='' message=''
{ read -r reported && read -r message; } 2>/dev/null <"$JOB_STATUS_FILE" || true
[[ -n $reported ]] || reported=$code
case $reported in
  0)
    rm -f "slurm/logs/$id.crashes"
    echo "== finished"
    exit 0
    ;;
  2)
    echo "error: ${message:-see above}" >&2
    exit 2
    ;;
  75) queue_again "stopped" ;;
  *)
    ! $stopping || queue_again "stopped"
    crashed "${message:-killed before it could say why: out of memory? request more with --mem}"
    ;;
esac
