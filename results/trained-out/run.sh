#!/usr/bin/env bash
# Start or continue the studies of networks that are trained out (PLAN.md), one run at a time.
#
#   results/trained-out/run.sh DATA WEIGHTS OUT [STUDY...]
#
# DATA: a folder with kvasir-seg, etis-larib, chase-db1, acdc, monuseg and isic-2017 as they are
# published. WEIGHTS: resnet18.safetensors. OUT: a folder outside the checkout for stores, runs and
# studies. STUDY: recipes to carry out, in this order; all of PLAN.md in its order if absent.
# FIRST=9 (in the environment) trains the repeats from seed 9 on: the others were trained elsewhere.
# kill -STOP -$(cat OUT/pid) pauses, kill -CONT -$(cat OUT/pid) goes on, kill -TERM -$(cat OUT/pid)
# stops; the next call continues from the last checkpoint.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,12p' "$0" | cut -c3- >&2; exit 2; }
data=$1 weights=$(realpath "$2") out=$3
shift 3
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out/stores"
ps -o pgid= $$ | tr -d ' ' >"$out/pid"
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-1000}

prepare() { # prepare STORE FOLDER [OPTION...]
    [ -e "$out/stores/$1/store.json" ] ||
        harmoseg prepare "$1" --source "$data/$2" --out "$out/stores/$1" "${@:3}"
}
prepare kvasir-seg kvasir-seg --size 128
prepare etis-larib etis-larib --size 128 --allow-missing
prepare chase-db1 chase-db1
prepare acdc acdc --size 128
prepare monuseg monuseg --size 128
prepare isic-2017 isic-2017 --size 128

[ $# -gt 0 ] || set -- polyps repeats vessels polyps-sample polyps-more heart nuclei skin
for study; do
    wanted=$(sed -n 's/^seeds: //p' "$here/$study.yaml")
    if [ "$study" = repeats ]; then # one method: no order to keep
        first=${FIRST:-0}
        harmoseg study "$here/$study.yaml" --stores "$out/stores" --out "$out/studies/$study-$first" \
            --weights "$weights" --runs "$out/runs" --seeds $((wanted - first)) --first-seed "$first"
        continue
    fi
    for seeds in $(seq 1 "$wanted"); do
        done="$out/studies/$study/seeds-$seeds"
        [ ! -e "$done" ] || continue
        harmoseg study "$here/$study.yaml" --stores "$out/stores" --out "$out/studies/$study" \
            --weights "$weights" --runs "$out/runs" --seeds "$seeds"
        touch "$done"
    done
done
