# Sourced by install.sh: what this machine is and has, and Debian packages that it lacks.
# shellcheck shell=bash

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
