# Sourced by install.sh: the environment in .venv, and serving and testing with it.
# shellcheck shell=bash disable=SC2153 # MODE and the like are set by install.sh

say() {
    printf '  %s\n' "$1"
}

# step DOING COMMAND…: runs it with its output in the log, and shows the log's end if it fails.
step() {
    local doing=$1 started=$SECONDS
    shift
    printf '  %s ... ' "$doing"
    if "$@" >>"$LOG" 2>&1; then
        printf '%d s\n' $((SECONDS - started))
    else
        printf 'failed\n'
        tail -n 15 "$LOG" >&2
        return 1
    fi
}

# Which folder and build the environment was made for: scripts in it hold absolute paths.
made_for() {
    cat "$VENV/.made-for" 2>/dev/null || true
}

fingerprint() {
    { made_for && cat "$ROOT/pyproject.toml" "$ROOT/constraints/$BUILD.txt"; } | sha256sum
}

# A stamp is written last, one for each mode; the environment of --test serves --run too.
is_current() {
    local mode
    [[ $(made_for) == "$ROOT $BUILD" && -x $VENV/bin/python ]] || return
    for mode in "$MODE" test; do
        [[ $(cat "$VENV/.stamp-$mode" 2>/dev/null) == "$(fingerprint)" ]] && return
    done
    return 1
}

ensure_environment() {
    is_current && return
    exec 9<"$ROOT"
    flock --nonblock 9 || { say 'waiting for another install.sh in this folder' && flock 9; }
    if ! is_current; then
        ensure_system_packages
        make_environment
        install_packages
    fi
    exec 9<&-
}

# An environment that was made for something else, or whose installation was interrupted, is made anew.
make_environment() {
    if [[ -e $VENV ]]; then
        [[ -e $VENV/.made-for ]] || die "$VENV is not of this script's making: move it away first."
        [[ $(made_for) == "$ROOT $BUILD" && ! -e $VENV/.unfinished && -x $VENV/bin/python ]] && return
        rm -rf "$VENV"
    fi
    mkdir "$VENV"
    printf '%s\n' "$ROOT $BUILD" >"$VENV/.made-for"
    touch "$VENV/.unfinished"
    step "making .venv with $("$PYTHON" --version)" "$PYTHON" -m venv "$VENV" || die 'The environment could not be made.'
}

pip_install() {
    (cd "$ROOT" && "$VENV/bin/python" -m pip install "$@")
}

pip_install_pinned() {
    pip_install --constraint "constraints/$BUILD.txt" "$@"
}

install_packages() {
    local extras=()
    [[ $BUILD == cpu ]] || extras+=(cuda)
    [[ $MODE == run ]] || extras+=(test)
    touch "$VENV/.unfinished"
    step 'installing the build tools' pip_install_pinned setuptools || die "pip failed; its whole log is $LOG."
    [[ $BUILD == cuda && -z $TORCH_INDEX ]] || install_torch
    step 'installing Semi-PD and what it needs' \
        pip_install_pinned --no-build-isolation --editable ".$(IFS=, && echo "${extras[*]:+[${extras[*]}]}")" ||
        die "pip failed; its whole log is $LOG."
    step 'installing xgrammar, without what it does not need here' \
        pip_install_pinned --no-deps xgrammar || die "pip failed; its whole log is $LOG."
    [[ $BUILD == cuda ]] || assert_no_nvidia_packages
    fingerprint >"$VENV/.stamp-$MODE"
    rm "$VENV/.unfinished"
}

# Plain `torch==X` from PyPI is a CUDA build. The CPU build is `X+cpu`: a machine's own pip sources may have it, and
# PyTorch's own index has. Without --no-deps a wrong build would bring gigabytes before it is noticed.
install_torch() {
    local version quick=(--no-deps --timeout 15 --retries 1)
    version=$(sed -n 's/^torch==//p' "$ROOT/constraints/$BUILD.txt")
    if [[ -n $TORCH_INDEX ]]; then
        step "installing PyTorch $version from $TORCH_INDEX" \
            pip_install "${quick[@]}" --index-url "$TORCH_INDEX" "torch==$version" ||
            die "PyTorch $version could not be had from $TORCH_INDEX."
    else
        step "installing PyTorch $version, CPU build" torch_for_cpu "$version" "${quick[@]}" ||
            die "PyTorch $version+cpu is neither in pip's sources nor to be had from $TORCH_CPU_INDEX: see --torch-index."
    fi
    [[ $BUILD == cuda ]] || assert_torch_is_for_cpu
}

torch_for_cpu() {
    local version=$1
    shift
    pip_install "$@" "torch==$version+cpu" || pip_install "$@" --index-url "$TORCH_CPU_INDEX" "torch==$version+cpu"
}

assert_torch_is_for_cpu() {
    ! "$VENV/bin/python" -m pip show torch 2>/dev/null | grep -Eiq '^Requires:.*(nvidia-|cuda-)' ||
        die 'The PyTorch that was found is a CUDA build and this installation is for the CPU: name another --torch-index.'
}

assert_no_nvidia_packages() {
    local found
    found=$("$VENV/bin/python" -m pip list --format freeze 2>/dev/null | grep -i '^nvidia-' | xargs) || true
    [[ -z $found ]] || die "An installation for the CPU must hold no NVIDIA package, and this one holds: $found."
}

# ── serving and testing ──────────────────────────────────────────────────────────────────────────────────────────────

serve() {
    [[ $DEVICE == auto ]] || FORWARDED=(--device "$DEVICE" "${FORWARDED[@]}")
    exec "$VENV/bin/semi-pd" serve "${FORWARDED[@]}"
}

run_tests() {
    local tier=(-m 'not long and not gpu' -n 2)
    [[ $FULL == no ]] || tier=(-p tests.passed_record)
    cd "$ROOT" || exit
    exec "$VENV/bin/python" -m pytest "${tier[@]}" "${FORWARDED[@]}"
}
