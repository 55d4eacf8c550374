# Sourced by install.sh: what the machine must have. Each finding says what to do; only a ✗ keeps Semi-PD from running.
# shellcheck shell=bash

OLDEST_DRIVER=580
OLDEST_GLIBC=2.28
OLDEST_SYSTEMD=250
NEEDED_GB_CPU=3
NEEDED_GB_CUDA=16
FAILURES=0
WARN_DAYS=30

check_machine() {
    check_base
    if has_gpu || [[ $DEVICE == cuda ]]; then
        check_gpu
    else
        note 'no NVIDIA GPU: it runs on the CPU, which shows how it works, not how fast'
    fi
    check_ports
    ! is_bound_beyond || check_openssl
    check_certificate
    ((FAILURES == 0)) || die "$FAILURES of these keep Semi-PD from running here."
}

require_fitting_machine() {
    [[ $DRY_RUN == yes ]] || (check_machine >"$LOG" 2>&1) || { grep '✗' "$LOG" >&2 && die 'This machine lacks what is marked: see --check.'; }
}

good() {
    printf '  ✓ %s\n' "$1"
}

note() {
    printf '  · %s\n' "$1"
}

bad() {
    FAILURES=$((FAILURES + 1))
    printf '  ✗ %s\n' "$1"
}

# at_least OLDEST VERSION
at_least() {
    [[ $(printf '%s\n' "$1" "$2" | sort --version-sort | head -n 1) == "$1" ]]
}

check_base() {
    check_architecture
    check_version glibc "$OLDEST_GLIBC" "$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d ' ' -f 2)" \
        'use Debian 12, Ubuntu 22.04 or newer'
    check_version systemd "$OLDEST_SYSTEMD" "$(systemctl --version 2>/dev/null | awk 'NR == 1 {print $2}')" \
        'use Debian 12, Ubuntu 24.04 or newer, or ./install.sh --run'
    if find_python; then
        good "$("$PYTHON" --version) with venv"
    else
        bad 'no Python 3.11 or 3.12 with venv: apt-get install python3 python3-venv'
    fi
    check_disk
}

check_architecture() {
    if [[ $(uname -m) == x86_64 ]]; then
        good 'x86_64'
    else
        bad "the machine is a $(uname -m), and the packages are made for x86_64: use another machine"
    fi
}

check_version() {
    local what=$1 oldest=$2 found=$3 advice=$4
    if [[ -n $found ]] && at_least "$oldest" "$found"; then
        good "$what $found"
    else
        bad "$what is ${found:-not there}, and $oldest is needed: $advice"
    fi
}

check_disk() {
    local folder=$PREFIX needed=$NEEDED_GB_CPU free
    [[ $BUILD == cpu ]] || needed=$NEEDED_GB_CUDA
    while [[ ! -d $folder ]]; do folder=$(dirname "$folder"); done
    free=$(df --output=avail --block-size=1G "$folder" | tail -n 1 | xargs)
    if ((free >= needed)); then
        good "$free GB free under $folder"
    else
        bad "$free GB free under $folder, and a release takes $needed GB: make room, or choose another --prefix"
    fi
}

check_ports() {
    local port
    for port in $(wanted_ports); do
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            good "port $port is free"
        elif is_running; then
            good "port $port is held for Semi-PD"
        else
            bad "port $port is taken by another program: stop it, or choose another with --port or --console-port"
        fi
    done
}

check_openssl() {
    if command -v openssl >/dev/null; then
        good 'openssl, for the certificate'
    else
        bad 'openssl is missing, and --bind beyond this machine needs a certificate: apt-get install openssl'
    fi
}

# One that runs out is said early, and keeps nothing from running.
check_certificate() {
    local until
    [[ -e $CERTIFICATE ]] && command -v openssl >/dev/null || return 0
    until=$(openssl x509 -in "$CERTIFICATE" -noout -enddate 2>/dev/null | cut -d = -f 2)
    if [[ -z $until ]]; then
        note "$CERTIFICATE is no certificate that openssl can read"
    elif openssl x509 -in "$CERTIFICATE" -noout -checkend $((WARN_DAYS * 24 * 3600)) >/dev/null; then
        good "the certificate holds until $until"
    else
        note "the certificate holds until $until only: renew it, or remove it and run install.sh, which makes another"
    fi
}

wanted_ports() {
    local endpoint=8000 console=8080 i
    for ((i = 0; i < ${#FORWARDED[@]}; i += 2)); do
        case ${FORWARDED[i]} in
            --port) endpoint=${FORWARDED[i + 1]} ;;
            --console-port) console=${FORWARDED[i + 1]} ;;
        esac
    done
    echo "$endpoint" "$console"
}

# ── GPU ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

ask_gpu() {
    nvidia-smi --id="$(gpu_index)" --query-gpu="$1" --format=csv,noheader 2>/dev/null | head -n 1
}

gpu_index() {
    local i
    for ((i = 0; i < ${#FORWARDED[@]}; i += 2)); do
        [[ ${FORWARDED[i]} != --gpu ]] || { echo "${FORWARDED[i + 1]}" && return; }
    done
    echo 0
}

check_gpu() {
    local driver
    driver=$(ask_gpu driver_version)
    check_version "NVIDIA's driver" "$OLDEST_DRIVER" "$driver" "install driver $OLDEST_DRIVER or newer"
    [[ -n $driver ]] || return 0
    good "GPU $(gpu_index): $(ask_gpu name)"
    check_gpu_mode
    check_mig
    check_mps
    check_kernels
}

check_gpu_mode() {
    local mode
    mode=$(ask_gpu compute_mode)
    if [[ $mode == Default ]]; then
        good 'compute mode DEFAULT'
    else
        bad "compute mode is $mode, and the resident needs DEFAULT: nvidia-smi --compute-mode=DEFAULT"
    fi
}

check_mig() {
    local mig
    mig=$(ask_gpu mig.mode.current)
    if [[ $mig == Enabled ]]; then
        bad 'MIG is enabled, and the SMs could not be divided: nvidia-smi --multi-instance-gpu=0'
    else
        good 'MIG is off'
    fi
}

# Ours are started by their units, in groups of processes of their own.
check_mps() {
    local pid
    command -v nvidia-cuda-mps-control >/dev/null || bad "nvidia-cuda-mps-control is missing: install the driver's MPS tools"
    for pid in $(pgrep -x nvidia-cuda-mps || true); do
        ! grep -q 'semi-pd-mps@' "/proc/$pid/cgroup" 2>/dev/null || continue
        bad "another MPS daemon runs (process $pid): stop it with 'echo quit | nvidia-cuda-mps-control'"
        return
    done
    good 'no other MPS daemon'
}

check_kernels() {
    if [[ -n $KERNELS ]]; then
        check_prebuilt
    elif has_cuda_compiler && command -v g++ >/dev/null; then
        good 'nvcc and g++'
    else
        bad "nvcc or g++ is missing, and kernels are built at the first start: install the CUDA toolkit 13.0 and g++, or \
bring the folder that 'semi-pd kernels export' makes where they are, as --kernels"
    fi
}
