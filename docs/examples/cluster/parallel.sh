#!/bin/sh
# Process a batch in shards, several at a time, on one machine or on several that share a folder.
#
#   parallel.sh INPUT RESULT [SHARDS [AT_ONCE [OPTIONS OF mistral-cli batch generate…]]]
#   parallel.sh rows.jsonl answers.jsonl 8 4 -m mistral --parallel 2 -t 4
#
# GNU parallel runs them if it is installed (SSHLOGINS=a,b,c: on those machines), else xargs does.
# Run it again to continue: each shard resumes, and the results are joined when all are complete.
set -eu
input=$1 result=$2 shards=${3:-4} at_once=${4:-2}
shift "$(($# < 4 ? $# : 4))"

parts="$result.shards"
mkdir -p "$parts"

# What runs once for each shard: $1 is its number, the rest as below.
one='
    k=$1 shards=$2 parts=$3 input=$4; shift 4
    exec mistral-cli batch generate "$input" --shard "$k/$shards" -o "$parts/$k.jsonl" -q "$@"
'

status=0
if command -v parallel >/dev/null; then
    # --quote keeps the arguments as they are; a shard that fails is tried once more.
    seq "$shards" | parallel --quote --jobs "$at_once" --retries 2 \
        ${SSHLOGINS:+--sshlogin "$SSHLOGINS" --workdir "$PWD"} \
        sh -c "$one" shard {} "$shards" "$parts" "$input" "$@" || status=$?
else
    seq "$shards" | xargs -P "$at_once" -I '{}' \
        sh -c "$one" shard '{}' "$shards" "$parts" "$input" "$@" || status=$?
fi
if [ "$status" -ne 0 ]; then
    mistral-cli batch status "$parts"/*.jsonl >&2 || true
    echo "$0: some shards are not complete; run it again" >&2
    exit "$status"
fi
mistral-cli batch merge "$parts"/*.jsonl --input "$input" -o "$result" --force
