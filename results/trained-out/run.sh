#!/usr/bin/env bash
# Start or continue the studies of networks that are trained out (PLAN.md), one run at a time.
#
#   results/trained-out/run.sh DATA WEIGHTS OUT [STUDY...]
#
# DATA: a folder with kvasir-seg, etis-larib, chase-db1, acdc, monuseg and isic-2017 as they are
# published. WEIGHTS: resnet18.safetensors. OUT: a folder outside the checkout for stores, runs and
# studies. STUDY: recipes to carry out, in this order; all of PLAN.md in its order if absent.
# FIRST=1 (in the environment) trains from seed 1 on: the seeds before it were trained elsewhere.
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
prepare_for() { # prepare_for STUDY: the stores that it needs
    case $1 in
    polyps* | repeats)
        prepare kvasir-seg kvasir-seg --size 128
        prepare etis-larib etis-larib --size 128 --allow-missing ;;
    vessels) prepare chase-db1 chase-db1 ;;
    heart) prepare acdc acdc --size 128 ;;
    nuclei) prepare monuseg monuseg --size 128 ;;
    skin) prepare isic-2017 isic-2017 --size 128 ;;
    esac
}

[ $# -gt 0 ] || set -- polyps repeats vessels polyps-sample polyps-more heart nuclei skin
first=${FIRST:-0}
for study; do
    prepare_for "$study"
    wanted=$(sed -n 's/^seeds: //p' "$here/$study.yaml")
    # Seed by seed, so that every method has a seed before any has the next; repeats have one method.
    [ "$study" = repeats ] && step=$((wanted - first)) || step=1
    folder=$out/studies/$study
    [ "$first" = 0 ] || folder=$folder-from-$first
    for seeds in $(seq "$step" "$step" $((wanted - first))); do
        [ ! -e "$folder/seeds-$seeds" ] || continue
        harmoseg study "$here/$study.yaml" --stores "$out/stores" --out "$folder" \
            --weights "$weights" --runs "$out/runs" --seeds "$seeds" --first-seed "$first"
        touch "$folder/seeds-$seeds"
    done
done
