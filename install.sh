#!/usr/bin/env bash
# Installs Semi-PD: for this machine, or into ./.venv beside this script to serve or test it in the foreground. `main` at
# the end is the table of contents; what concerns the machine is in tools/install/.
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
HAS_FORWARDED=no

PREFIX=/opt/semi-pd
WHEELHOUSE=''
OFFLINE=no
DRY_RUN=no
START=yes
PURGE=no
ONLY_OF_MACHINE=''

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_USER=0 PIP_ROOT_USER_ACTION=ignore
unset PYTHONHOME PYTHONPATH

# ── what the user asked for ──────────────────────────────────────────────────────────────────────────────────────────

show_help() {
    cat <<'HELP'
Semi-PD: serves a language model over an OpenAI-compatible endpoint, prefill and decode side by side on one GPU.

  sudo ./install.sh [options]
      Install for this machine and start: systemd services, settings in /etc/semi-pd, data in /var/lib/semi-pd. A second
      run changes nothing. What you have changed in /etc and what is in /var/lib is never overwritten.

  ./install.sh --check           say what this machine lacks, and what to do about it
  sudo ./install.sh --upgrade    install this release beside the one in force and move to it; back if it does not serve
  sudo ./install.sh --rollback   move back to the release that was in force before
  sudo ./install.sh --uninstall [--purge]
      Remove the services and all releases; with --purge also settings, data and the user semi-pd.

  ./install.sh --run [options] [-- options of `semi-pd serve`]
      Install into ./.venv and serve in the foreground; Ctrl-C drains and stops everything. Needs no root.
      Without options: the embedded demo model on http://127.0.0.1:8000, on the GPU if there is one, else on the CPU.

  ./install.sh --test [--full] [-- options of pytest]
      Install into ./.venv with the test tools and run the short tests.
      --full runs the long ones too. What has passed is kept in .artifacts/, so that the same command goes on where an
      interrupted or failed run ended; it starts over once every test has passed or a file of the project has changed.

Options for this machine
  --dry-run              say what would be done, and do nothing
  --offline              take nothing from the network
  --wheelhouse DIR       take packages from this folder; made with tools/wheelhouse.sh, hashes are checked
  --prefix DIR           where releases go (/opt/semi-pd)
  --no-start             install, and start nothing

Options of --run, and of the first installation for this machine
  --model DIR            a Hugging Face model directory (Llama family)
  --bind ADDRESS         address to listen on (127.0.0.1). Beyond this machine both ports speak TLS: the installation
                         makes a certificate where /etc/semi-pd/tls has none, and prints its fingerprint
  --port N               port of the REST endpoint (8000)
  --console-port N       port of the console (8080)
  --gpu INDEX|UUID       which GPU, as nvidia-smi lists them (0)

Options of all
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
            --run | --test | --check | --upgrade | --rollback | --uninstall) set_mode "${option#--}" ;;
            --dry-run) DRY_RUN=yes && ONLY_OF_MACHINE=$option ;;
            --offline) OFFLINE=yes && ONLY_OF_MACHINE=$option ;;
            --no-start) START=no && ONLY_OF_MACHINE=$option ;;
            --purge) PURGE=yes ;;
            --full) FULL=yes ;;
            --system-packages) SYSTEM_PACKAGES=yes ;;
            --)
                FORWARDED+=("$@") && HAS_FORWARDED=yes
                break
                ;;
            --model | --bind | --port | --console-port | --gpu | --device | --torch-index | --prefix | --wheelhouse)
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
        --prefix) PREFIX=$2 && ONLY_OF_MACHINE=$1 ;;
        --wheelhouse) WHEELHOUSE=$2 && ONLY_OF_MACHINE=$1 ;;
        --bind)
            [[ $2 =~ ^[0-9A-Za-z.:-]+$ ]] || wrong_usage "--bind is an address of this machine, not '$2'."
            FORWARDED+=("$1" "$2") && ONLY_OF_RUN=$1
            ;;
        *) FORWARDED+=("$1" "$2") && ONLY_OF_RUN=$1 ;;
    esac
}

check_arguments() {
    MODE=${MODE:-install}
    [[ $FULL == no || $MODE == test ]] || wrong_usage "--full belongs to --test."
    [[ $PURGE == no || $MODE == uninstall ]] || wrong_usage "--purge belongs to --uninstall."
    [[ -z $ONLY_OF_RUN || $MODE =~ ^(run|install|check)$ ]] || wrong_usage "$ONLY_OF_RUN belongs to --run and to the first installation."
    [[ -z $ONLY_OF_MACHINE || ! $MODE =~ ^(run|test)$ ]] || wrong_usage "$ONLY_OF_MACHINE does not belong to --$MODE."
    [[ $HAS_FORWARDED == no || $MODE =~ ^(run|test)$ ]] || wrong_usage "Options after -- belong to --run and --test."
    [[ $PREFIX == /* && $PREFIX != / ]] || wrong_usage "--prefix is the absolute path of a folder, not '$PREFIX'."
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
    case $MODE in
        run)
            ensure_environment
            serve
            ;;
        test)
            ensure_environment
            run_tests
            ;;
        *)
            # shellcheck source=tools/install/machine.sh
            source "$ROOT/tools/install/machine.sh"
            for_machine
            ;;
    esac
}

main "$@"
