#!/usr/bin/env bash
# Fills a folder with every package a machine without a network needs, by the hashes of a lock in constraints/.
#
#   tools/wheelhouse.sh DIR [--device cpu|cuda] [--python python3.11]
#
# Take the folder to the machine and run: sudo ./install.sh --offline --wheelhouse DIR
set -euo pipefail

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu

main() {
    local dir='' device=cuda python=python3 lock torch fetch
    while (($#)); do
        case $1 in
            --device) device=$2 && shift ;;
            --python) python=$2 && shift ;;
            -*) sed -n '2,6p' "$0" >&2 && exit 2 ;;
            *) dir=$1 ;;
        esac
        shift
    done
    [[ -n $dir ]] || { sed -n '2,6p' "$0" >&2 && exit 2; }
    lock=$ROOT/constraints/$device-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])').lock
    mkdir -p "$dir"
    torch=$(mktemp)
    grep '^torch==' "$lock" >"$torch"
    fetch=("$python" -m pip download --quiet --no-deps --only-binary :all: --require-hashes --dest "$dir" --find-links "$dir")
    "${fetch[@]}" --requirement "$torch" || "${fetch[@]}" --requirement "$torch" --index-url "$TORCH_CPU_INDEX"
    "${fetch[@]}" --requirement "$lock"
    rm "$torch"
}

main "$@"
