#!/bin/sh
# Process a batch as a SLURM job array: each task of the array answers its share of the rows.
#
#   sbatch --array=1-16 slurm.sh rows.jsonl answers.jsonl [OPTIONS OF mistral-cli batch generate…]
#   sbatch --dependency=afterok:JOB slurm.sh --merge rows.jsonl answers.jsonl
#
# Submit it again to continue: a task that was preempted, or ran out of time, resumes its shard.
#SBATCH --job-name=mistral-cli
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@60
# With one GPU for each task, add:
##SBATCH --gres=gpu:1
set -eu

merge=
if [ "$1" = --merge ]; then
    merge=yes
    shift
fi
input=$1 result=$2
shift 2
parts="$result.shards"  # in a folder that all nodes see

if [ -n "$merge" ]; then
    exec mistral-cli batch merge "$parts"/*.jsonl --input "$input" -o "$result" --force
fi

shard="$((SLURM_ARRAY_TASK_ID - ${SLURM_ARRAY_TASK_MIN:-1} + 1))/$SLURM_ARRAY_TASK_COUNT"
mkdir -p "$parts"
# `exec`: the signal that announces the end of the time limit reaches the program, which stops after
# the rows that are on the disk.
exec mistral-cli batch generate "$input" --shard "$shard" -o "$parts/$SLURM_ARRAY_TASK_ID.jsonl" \
    --threads "${SLURM_CPUS_PER_TASK:-1}" "$@"
