# Sourced by install.sh: what it does for this machine, as root. Every change goes through `change`, so that --dry-run
# can tell them; every step looks whether it is done already, so that a run that was killed is simply repeated.
# shellcheck shell=bash

ETC=/etc/semi-pd
STATE=/var/lib/semi-pd
CACHE=/var/cache/semi-pd
RUNTIME=/run/semi-pd
UNITS=/usr/local/lib/systemd/system
INSTALLED=$(sed -n 's|^ExecStart=\(.*\)/current/source/.*|\1|p' "$UNITS/semi-pd-scheduler.service" 2>/dev/null || true)
PREFIX=${PREFIX:-${INSTALLED:-/opt/semi-pd}}
UNFINISHED=$PREFIX/.upgrading
CHANGES=0
LOG=/var/log/semi-pd-install.log

# shellcheck source=tools/install/check.sh
source "$ROOT/tools/install/check.sh"
# shellcheck source=tools/install/release.sh
source "$ROOT/tools/install/release.sh"
# shellcheck source=tools/install/kernels.sh
source "$ROOT/tools/install/kernels.sh"
# shellcheck source=tools/install/system.sh
source "$ROOT/tools/install/system.sh"
# shellcheck source=tools/install/certificate.sh
source "$ROOT/tools/install/certificate.sh"
# shellcheck source=tools/install/upgrade.sh
source "$ROOT/tools/install/upgrade.sh"

# shellcheck disable=SC2153 # MODE and the like are set by install.sh
for_machine() {
    choose_kernels
    case $MODE in
        check) check_machine ;;
        install) install_for_machine ;;
        upgrade) upgrade ;;
        rollback) roll_back ;;
        uninstall) uninstall ;;
    esac
}

install_for_machine() {
    local in_force
    begin_changes
    in_force=$(release_in_force)
    [[ -z $in_force || $in_force == "$VERSION" ]] ||
        die "Release $in_force is in force here: ./install.sh --upgrade moves to $VERSION."
    ! is_interrupted || die "An upgrade was interrupted: ./install.sh --upgrade goes on with it."
    [[ -n $in_force ]] || require_fitting_machine
    [[ -z $in_force || ${#FORWARDED[@]} == 0 ]] ||
        die "Semi-PD is installed, and its settings are yours: set $(setting_of "${FORWARDED[0]}") in $ETC/semi-pd.toml."
    ensure_release
    ensure_user
    ensure_kernels
    ensure_settings
    put_in_force "$VERSION"
    start_if_wanted
    tell_result
}

begin_changes() {
    VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$ROOT/pyproject.toml")
    [[ -z $INSTALLED || $INSTALLED == "$PREFIX" ]] ||
        die "Semi-PD is installed under $INSTALLED: leave --prefix out, or --uninstall it first."
    [[ $OFFLINE == no || -n $WHEELHOUSE ]] || wrong_usage "--offline needs --wheelhouse."
    [[ -z $WHEELHOUSE || -d $WHEELHOUSE ]] || wrong_usage "There is no folder $WHEELHOUSE."
    [[ $DRY_RUN == no ]] || return 0
    [[ $EUID == 0 ]] || die "This changes the machine and needs root: sudo ./install.sh; or try ./install.sh --run."
    [[ -d /run/systemd/system ]] || die "systemd does not run here, and the services are its: try ./install.sh --run."
    mkdir -p "$PREFIX"
    exec 8<"$PREFIX"
    flock --nonblock 8 || die "Another install.sh is at work."
}

# change WHAT COMMAND…: says what, and has it done.
change() {
    local what=$1
    shift
    CHANGES=$((CHANGES + 1))
    if [[ $DRY_RUN == yes ]]; then
        say "would $what"
    else
        say "$what"
        "$@"
    fi
}

# quietly COMMAND…: its output goes to the log, whose end is shown if it fails.
quietly() {
    "$@" >>"$LOG" 2>&1 && return
    tail -n 15 "$LOG" >&2
    return 1
}

tell_result() {
    [[ $DRY_RUN == no ]] || return 0
    ((CHANGES)) || say "nothing has changed: release $VERSION is installed"
    ! is_running || as_user -m appliance.machine.describe "$ETC"
    tell_certificate
}
