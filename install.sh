#!/usr/bin/env bash
# Installs Semi-PD: for this machine, or into ./.venv beside this script to serve or test it in the foreground. `main` at
# the end is the table of contents; the chapters are in tools/install/.
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

PREFIX=''
WHEELHOUSE=''
KERNELS=''
OFFLINE=no
DRY_RUN=no
START=yes
PURGE=no
DRAIN=no
ONLY_OF_MACHINE=''

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_USER=0 PIP_ROOT_USER_ACTION=ignore
unset PYTHONHOME PYTHONPATH

# shellcheck source=tools/install/options.sh
source "$ROOT/tools/install/options.sh"
# shellcheck source=tools/install/prerequisites.sh
source "$ROOT/tools/install/prerequisites.sh"
# shellcheck source=tools/install/environment.sh
source "$ROOT/tools/install/environment.sh"

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
