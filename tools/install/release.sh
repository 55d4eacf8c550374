# Sourced by install.sh: releases side by side, each a copy of the bundle and an environment, and links that say which
# one is in force and which was before. A release is complete when its fingerprint stands in it, which is written last.
# shellcheck shell=bash

PARTS=(engine appliance webui bench migrations systemd constraints docs tools/install install.sh pyproject.toml
    README.md CHANGELOG.md LICENSE)

release_dir() {
    echo "$PREFIX/releases/$1"
}

release_in_force() {
    linked_release current
}

former_release() {
    linked_release former
}

linked_release() {
    local target
    target=$(readlink "$PREFIX/$1" 2>/dev/null) || return 0
    [[ ! -e $PREFIX/$target/.complete ]] || basename "$target"
}

bundle_files() {
    (cd "$ROOT" && find "${PARTS[@]}" -name __pycache__ -prune -o -name '*.egg-info' -prune -o -type f -print 2>/dev/null | sort)
}

bundle_fingerprint() {
    (cd "$ROOT" && bundle_files | tr '\n' '\0' | xargs -0 sha256sum && echo "$BUILD") | sha256sum | cut -d ' ' -f 1
}

ensure_release() {
    local dir fingerprint known
    dir=$(release_dir "$VERSION")
    fingerprint=$(bundle_fingerprint)
    known=$(cat "$dir/.complete" 2>/dev/null) || true
    [[ $known != "$fingerprint" ]] || return 0
    [[ -z $known ]] ||
        die "Release $VERSION is installed with other contents: give this bundle another version in pyproject.toml."
    [[ $DRY_RUN == yes ]] || find_release_python
    change "make release $VERSION in $dir, which takes a few minutes" make_release "$dir" "$fingerprint"
}

# Whatever a killed run has left is made anew.
make_release() {
    local dir=$1 fingerprint=$2
    rm -rf "$dir"
    mkdir -p "$dir/source"
    (cd "$ROOT" && bundle_files | tar --create --files-from - | tar --extract --no-same-owner --directory "$dir/source")
    quietly "$PYTHON" -m venv "$dir/venv" || die "The environment in $dir/venv could not be made."
    install_locked "$dir"
    quietly "$dir/venv/bin/python" -m compileall -q -j 0 "$dir/source/engine" "$dir/source/appliance" "$dir/source/webui"
    chmod -R a+rX "$dir"
    sync --file-system "$dir"
    echo "$fingerprint" >"$dir/.complete"
}

find_release_python() {
    find_python || die "Python 3.11 or 3.12 with venv is needed: apt-get install python3 python3-venv."
    LOCK=$(lock_of "$PYTHON")
    [[ -e $LOCK ]] || die "There is no ${LOCK#"$ROOT/"} in this bundle: tools/lock.py makes it, or use another Python."
}

# lock_of PYTHON
lock_of() {
    echo "$ROOT/constraints/$BUILD-$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])').lock"
}

# The lock names every file by its hash, so it does not matter which index or folder a file comes from.
install_locked() {
    local pip=("$1/venv/bin/python" -m pip install --no-deps --only-binary :all: --no-compile) torch=$1/.torch.lock
    [[ $OFFLINE == no ]] || pip+=(--no-index)
    [[ -z $WHEELHOUSE ]] || pip+=(--find-links "$WHEELHOUSE")
    grep '^torch==' "$LOCK" >"$torch"
    quietly "${pip[@]}" --quiet --retries 1 --require-hashes --requirement "$torch" ||
        { [[ $OFFLINE == no ]] && quietly "${pip[@]}" --require-hashes --requirement "$torch" \
            --index-url "${TORCH_INDEX:-$TORCH_CPU_INDEX}"; } || packages_failed
    quietly "${pip[@]}" --require-hashes --requirement "$LOCK" || packages_failed
    quietly "$1/venv/bin/python" -m pip install --no-deps --no-index --no-build-isolation --editable "$1/source" ||
        packages_failed
    "$1/venv/bin/python" -m compileall -q -j 0 "$1/venv/lib" >>"$LOG" 2>&1 || true # some carry files for other Pythons
    rm "$torch"
}

packages_failed() {
    die "The packages of ${LOCK#"$ROOT/"} could not be installed; pip's whole log is $LOG."
}

link_release() {
    ln -sfn "releases/$1" "$PREFIX/$2.new"
    mv -T "$PREFIX/$2.new" "$PREFIX/$2"
}

# A release takes a gigabyte. What stays is in force, the one to go back to, or still run by a process: a resident goes
# on through upgrades, and an old gateway while its streams end.
forget_other_releases() {
    local dir kept
    kept=$(release_in_force; former_release; releases_at_work)
    for dir in "$PREFIX"/releases/*; do
        grep --quiet --line-regexp --fixed-strings "$(basename "$dir")" <<<"$kept" || rm -rf "$dir"
    done
}

releases_at_work() {
    local pid source
    for pid in $(pgrep --euid semi-pd || true); do
        source=$(readlink "/proc/$pid/cwd") || continue
        [[ $source != */source ]] || basename "$(dirname "$source")"
    done | sort --unique
}
