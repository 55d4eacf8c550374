# Sourced by install.sh: what it does for this machine, as root. Every change goes through `change`, so that --dry-run
# can tell them; every step looks whether it is done already, so that a run that was killed is simply repeated.
# shellcheck shell=bash

ETC=/etc/semi-pd
STATE=/var/lib/semi-pd
BACKUP=$STATE/before-upgrade.db
CACHE=/var/cache/semi-pd
RUNTIME=/run/semi-pd
CHANGES=0
LOG=/var/log/semi-pd-install.log

# shellcheck source=tools/install/check.sh
source "$ROOT/tools/install/check.sh"
# shellcheck source=tools/install/release.sh
source "$ROOT/tools/install/release.sh"
# shellcheck source=tools/install/system.sh
source "$ROOT/tools/install/system.sh"
# shellcheck source=tools/install/certificate.sh
source "$ROOT/tools/install/certificate.sh"

# shellcheck disable=SC2153 # MODE and the like are set by install.sh
for_machine() {
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
    [[ -n $in_force ]] || require_fitting_machine
    [[ -z $in_force || ${#FORWARDED[@]} == 0 ]] ||
        die "Semi-PD is installed, and its settings are yours: set $(setting_of "${FORWARDED[0]}") in $ETC/semi-pd.toml."
    ensure_release
    ensure_user
    ensure_settings
    put_in_force "$VERSION"
    start_if_wanted
    tell_result
}

upgrade() {
    local before
    begin_changes
    before=$(release_in_force)
    [[ -n $before ]] || die "Nothing is installed under $PREFIX that could be upgraded: run ./install.sh."
    [[ $before != "$VERSION" ]] || die "Release $VERSION is in force already."
    ensure_release
    [[ ! -e $STATE/appliance.db ]] ||
        change "back the database up to $BACKUP" as_user -m appliance backup "$BACKUP"
    move_to "$VERSION" "$before"
    tell_result
}

roll_back() {
    local before target
    begin_changes
    before=$(release_in_force)
    target=$(former_release)
    [[ -n $target ]] || die "There is no former release under $PREFIX to go back to."
    VERSION=$target
    move_to "$target" "$before"
    tell_result
}

# The release that was in force is taken again where the new one does not come to serve.
move_to() {
    local to=$1 from=$2
    put_in_force "$to"
    if [[ $START == no ]] || serve_again; then
        change "remember $from as the release to go back to" remember_former "$from"
        return
    fi
    say "release $to does not serve: going back to $from"
    put_in_force "$from"
    serve_again || die "Neither release $to nor $from serves: see journalctl -u 'semi-pd*'."
    die "Release $to did not serve, and $from is in force again: see journalctl -u 'semi-pd*'."
}

# An older release cannot read a database that a newer one has changed: then it is that of before the upgrade.
serve_again() {
    change 'restart the services' restart && return
    [[ -e $BACKUP ]] && is_refused_database || return
    systemctl stop "$TARGET"
    change "restore the database of before the upgrade from $BACKUP" as_user -m appliance restore "$BACKUP"
    change 'restart the services' restart
}

is_refused_database() {
    journalctl --quiet --no-pager --output cat --lines 20 --unit semi-pd-controller |
        grep --quiet 'a newer release wrote it'
}

begin_changes() {
    VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$ROOT/pyproject.toml")
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
