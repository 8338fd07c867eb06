# shellcheck shell=bash disable=SC2034 # for the scripts that source it
# Sourced by launch/compare.sh and slurm/compare.sbatch: read which methods to compare, with which seeds.

# Take `--methods M...`, `--seeds N...`, separated by blanks or commas, and `--no-bounds` out of the arguments. Sets methods, seeds, bounds and rest.
read_methods() {
  methods=() seeds=() rest=() bounds=true
  local list=rest word parts
  for word in "$@"; do
    case $word in
      --methods | --seeds) list=${word#--} ;;
      --no-bounds) bounds=false list=rest ;;
      -* | *=* | */* | *.yaml) list=rest rest+=("$word") ;;
      *) case $list in
        methods) IFS=, read -ra parts <<<"$word" && methods+=("${parts[@]}") ;;
        seeds) IFS=, read -ra parts <<<"$word" && seeds+=("${parts[@]}") ;;
        rest) rest+=("$word") ;;
      esac ;;
    esac
  done
}

# The methods with the bounds of the gap: source_only first and, if $1 is true, train_on_target last.
with_bounds() {
  local method all=()
  for method in "${methods[@]}"; do
    [[ $method == source_only || $method == train_on_target ]] || all+=("$method")
  done
  methods=(source_only "${all[@]}")
  if $1; then methods+=(train_on_target); fi
}

check_seeds() {
  local seed
  for seed in "${seeds[@]}"; do
    [[ $seed =~ ^[0-9]+$ ]] || { echo "error: $1 contains $seed, which is not a seed: give whole numbers with blanks or commas between" >&2; exit 2; }
  done
}
