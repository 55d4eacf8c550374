#!/usr/bin/env bash
# Installs Semi-PD into ./.venv beside this script, then serves or tests it. `main` at the end is the table of contents.
set -euo pipefail

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
VENV=$ROOT/.venv
LOG=$VENV/install.log
TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu

MODE=''
FULL=no
DEVICE=auto
BUILD=''
PYTHON=''
TORCH_INDEX=''
SYSTEM_PACKAGES=no
ONLY_OF_RUN=''
FORWARDED=()

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_USER=0 PIP_ROOT_USER_ACTION=ignore
unset PYTHONHOME PYTHONPATH

# ── what the user asked for ──────────────────────────────────────────────────────────────────────────────────────────

show_help() {
    cat <<'HELP'
Semi-PD: serves a language model over an OpenAI-compatible endpoint, prefill and decode side by side on one GPU.

  ./install.sh --run [options] [-- options of `semi-pd serve`]
      Install into ./.venv and serve in the foreground; Ctrl-C drains and stops everything. Needs no root.
      Without options: the embedded demo model on http://127.0.0.1:8000, on the GPU if there is one, else on the CPU.

  ./install.sh --test [--full] [-- options of pytest]
      Install into ./.venv with the test tools and run the short tests.
      --full runs the long ones too. What has passed is kept in .artifacts/, so that the same command goes on where an
      interrupted or failed run ended; it starts over once every test has passed or a file of the project has changed.

Options of --run
  --model DIR            a Hugging Face model directory (Llama family)
  --port N               port of the REST endpoint (8000)
  --console-port N       port of the console (8080)
  --gpu INDEX|UUID       which GPU, as nvidia-smi lists them (0)

Options of both
  --device auto|cuda|cpu what to install for and to run on (auto: a GPU if the NVIDIA driver shows one)
  --torch-index URL      take PyTorch from this package index
  --system-packages      install missing Debian packages with apt-get; needs root
  --help                 this text

The first start downloads PyTorch and takes minutes; later ones take seconds. pip's log is .venv/install.log.
HELP
}

die() {
    printf 'install.sh: %s\n' "$1" >&2
    exit "${2:-1}"
}

wrong_usage() {
    die "$1 See ./install.sh --help." 2
}

read_arguments() {
    local option value
    while (($#)); do
        option=$1
        shift
        case $option in
            --help | -h) show_help && exit ;;
            --run | --test) set_mode "${option#--}" ;;
            --full) FULL=yes ;;
            --system-packages) SYSTEM_PACKAGES=yes ;;
            --) FORWARDED+=("$@") && break ;;
            --model | --port | --console-port | --gpu | --device | --torch-index)
                (($#)) || wrong_usage "The option $option needs a value."
                set_option "$option" "$1"
                shift
                ;;
            --*=*)
                value=${option#*=}
                set -- "${option%%=*}" "$value" "$@"
                ;;
            *) wrong_usage "There is no option $option." ;;
        esac
    done
    check_arguments
}

set_mode() {
    [[ -z $MODE || $MODE == "$1" ]] || wrong_usage "--$MODE and --$1 cannot be had at once."
    MODE=$1
}

set_option() {
    case $1 in
        --torch-index) TORCH_INDEX=$2 ;;
        --device) DEVICE=$2 ;;
        *) FORWARDED+=("$1" "$2") && ONLY_OF_RUN=$1 ;;
    esac
}

check_arguments() {
    [[ -n $MODE ]] || wrong_usage "Say what to do: --run or --test."
    [[ $FULL == no || $MODE == test ]] || wrong_usage "--full belongs to --test."
    [[ -z $ONLY_OF_RUN || $MODE == run ]] || wrong_usage "$ONLY_OF_RUN belongs to --run."
    [[ $DEVICE =~ ^(auto|cuda|cpu)$ ]] || wrong_usage "--device is auto, cuda or cpu, not '$DEVICE'."
}

# ── what this machine is ─────────────────────────────────────────────────────────────────────────────────────────────

has_gpu() {
    [[ -e /dev/nvidiactl ]] || { nvidia-smi -L 2>/dev/null | grep -q '^GPU '; }
}

# The CUDA build runs on the CPU as well, so an environment that has it is kept where there is a GPU.
choose_build() {
    if [[ $DEVICE == cuda ]] || { [[ $DEVICE == auto ]] && has_gpu; }; then
        BUILD=cuda
    elif has_gpu && [[ $(made_for) == "$ROOT cuda" ]]; then
        BUILD=cuda
    else
        BUILD=cpu
    fi
}

find_python() {
    local name
    PYTHON=''
    for name in python3.11 python3.12 python3; do
        "$name" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null || continue
        PYTHON=${PYTHON:-$name}
        "$name" -c 'import ensurepip, venv' 2>/dev/null && PYTHON=$name && return
    done
    return 1
}

has_cuda_compiler() {
    [[ -x ${CUDA_HOME:-${CUDA_PATH:-/usr/local/cuda}}/bin/nvcc ]] || command -v nvcc >/dev/null
}

missing_debian_packages() {
    if ! find_python; then
        [[ -n $PYTHON ]] && "$PYTHON" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])' || echo python3 python3-venv
    fi
    [[ $BUILD == cpu ]] || command -v g++ >/dev/null || echo g++
}

ensure_system_packages() {
    local missing
    missing=$(missing_debian_packages | xargs)
    if [[ -n $missing ]]; then
        [[ $SYSTEM_PACKAGES == yes ]] ||
            die "Missing on this machine: $missing. Install with 'apt-get install $missing', or as root with --system-packages."
        [[ $EUID == 0 ]] || die "--system-packages needs root, and this is not: have root run 'apt-get install $missing'."
        say "installing Debian packages: $missing"
        apt_install "$missing"
    fi
    find_python || die "Python 3.11 or 3.12 is needed, and this machine's packages do not have it."
    [[ $BUILD == cpu ]] || has_cuda_compiler ||
        die "FlashInfer needs CUDA's compiler, and there is no nvcc: install the CUDA toolkit 13.0, or use --device cpu."
}

apt_install() {
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # a list of names
    { apt-get -qq update && apt-get -qq install --yes --no-install-recommends $1; } >&2 ||
        die "apt-get could not install $1."
}

# ── the environment in .venv ─────────────────────────────────────────────────────────────────────────────────────────

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
    cd "$ROOT"
    exec "$VENV/bin/python" -m pytest "${tier[@]}" "${FORWARDED[@]}"
}

main() {
    read_arguments "$@"
    choose_build
    ensure_environment
    case $MODE in
        run) serve ;;
        test) run_tests ;;
    esac
}

main "$@"
