#!/usr/bin/env bash
# Train several methods with several seeds on this machine, one run after the other, and compare them.
#
#   launch/compare.sh configs/X.yaml --methods dann mcc dann+mcc --seeds 0 1 2 [--no-bounds] [key.sub=value ...]
#
# dann+mcc is dann with the term mcc (objective.also). source_only is always added, and train_on_target if the shards
# have target labels; --no-bounds omits both. Runs have the names X-METHOD-SEED (with name=Y: Y-METHOD-SEED);
# the comparison is in X-comparison beside them. Finished runs are reused, and an interrupted one resumes.
# Exit code: 0 finished, 2 bad input, 75 stopped, 1 crashed: run the same command again to resume.
set -euo pipefail

if [[ $# -eq 0 || $1 == -h || $1 == --help ]]; then
  sed -n '2,9s/^# \{0,1\}//p' "$0"
  exit $(($# ? 0 : 2))
fi
here=$(cd "$(dirname "$0")" && pwd)
[[ -f job/__main__.py ]] || { echo "error: $PWD is not the repository: cd $(dirname "$here") and start it there" >&2; exit 2; }
command -v accelerate >/dev/null || PATH=$(dirname "$here")/.venv/bin:$PATH # what `make setup` installs
# shellcheck source=launch/methods.sh
source "$here/methods.sh"
read_methods "$@"
config='' words=()
name=
for word in "${rest[@]}"; do
  case $word in
    -*) echo "error: unknown option $word: see launch/compare.sh --help" >&2; exit 2 ;;
    name=*) name=${word#name=} ;;
    *=*) words+=("$word") ;;
    *) [[ -z $config ]] || { echo "error: $word: give one configuration, and --methods before the names of methods" >&2; exit 2; }
      config=$word ;;
  esac
done
[[ -n $config ]] || { echo "error: no configuration: launch/compare.sh configs/X.yaml --methods dann mcc --seeds 0 1 2" >&2; exit 2; }
[[ ${#methods[@]} -gt 0 ]] || { echo "error: no methods: add --methods dann mcc" >&2; exit 2; }
[[ ${#seeds[@]} -gt 0 ]] || seeds=(0 1 2)
check_seeds --seeds
[[ -n $name ]] || name=$(basename "$config" .yaml)

stopping=false running=
# shellcheck disable=SC2329 # the trap calls it
request_stop() {
  stopping=true
  [[ -z $running ]] || kill -TERM "$running" 2>/dev/null || true # the second one ends the run at once
}
trap request_stop INT TERM USR1 HUP

# Run a command, pass on a request to stop, and return its exit code.
run() {
  local code=0
  "$@" &
  running=$!
  while kill -0 "$running" 2>/dev/null; do wait "$running" 2>/dev/null || true; done # a signal ends wait, not the command
  wait "$running" 2>/dev/null || code=$?
  running=
  if $stopping && [[ $code -ne 0 ]]; then
    [[ $code -eq 130 ]] || code=75
    echo "stopped: run the same command again to resume" >&2
    exit "$code"
  fi
  return "$code"
}
# The name is that of the comparison: X itself may be the folder of another run.
check() { python -m job train --check --config "$config" "${words[@]}" "objective.name=$1" "name=$name-comparison"; }

plan=
for method in "${methods[@]}"; do plan=$(check "$method"); done # report a mistake before the first run
read -r _ _ folder <<<"${plan##*$'\n'}"
folder=${folder%-comparison}
if $bounds; then
  labels=true
  check train_on_target >/dev/null 2>&1 || labels=false
  with_bounds "$labels"
fi
runs=()
for seed in "${seeds[@]}"; do
  for method in "${methods[@]}"; do
    one=("${words[@]}" "objective.name=$method" "seed=$seed" "name=$name-$method-$seed")
    runs+=("$folder-$method-$seed")
    code=0
    if [[ -f $folder-$method-$seed/summary.json ]]; then # finished, unless with other settings: that is refused
      run python -m job.run_folder.finished "$config" "${one[@]}" || code=$?
    else
      run "$here/local.sh" "$config" "${one[@]}" || code=$?
    fi
    if $stopping && [[ $code -eq 0 ]]; then
      echo "stopped after $name-$method-$seed, which is finished: run the same command again to go on" >&2
      exit 75
    fi
    [[ $code -eq 0 || $code -eq 2 ]] || echo "$name-$method-$seed ended with $code: run the same command again to resume" >&2
    [[ $code -eq 0 ]] || exit "$code"
  done
done
python -m job compare "${runs[@]}" --out "$folder-comparison"
echo "comparison: $folder-comparison"
