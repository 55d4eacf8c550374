# Sourced by install.sh: from one release to another while requests are served, and back by itself where that fails.
# shellcheck shell=bash

BACKUP=$STATE/before-upgrade.db
UNDERSTUDY=semi-pd-gateway-next.service

upgrade() {
    local before
    begin_changes
    before=$(release_in_force)
    [[ -n $before ]] || die "Nothing is installed under $PREFIX that could be upgraded: run ./install.sh."
    if [[ $before == "$VERSION" ]]; then
        is_interrupted || die "Release $VERSION is in force already."
        before=$(former_release)
        say 'an upgrade was interrupted: going on with it'
    fi
    hand_kernels_on
    ensure_release
    ensure_kernels
    require_same_formats "$before"
    [[ ! -e $STATE/appliance.db ]] || is_interrupted ||
        change "back the database up to $BACKUP" as_user -m appliance backup "$BACKUP"
    move_to "$VERSION" "$before"
    tell_result
}

roll_back() {
    local before target
    begin_changes
    before=$(release_in_force)
    target=$(former_release)
    [[ -n $target && $target != "$before" ]] || die "There is no former release under $PREFIX to go back to."
    VERSION=$target
    require_same_formats "$before"
    move_to "$target" "$before"
    tell_result
}

# The release that was in force is taken again where the new one does not come to serve.
move_to() {
    local to=$1 from=$2 how=take_over
    [[ $DRAIN == no ]] && is_running || how=serve_again
    change "remember $from as the release to go back to" begin_move "$from"
    put_in_force "$to"
    if [[ $START == no || $DRY_RUN == yes ]] || "$how" "$to"; then
        change 'remove what no process needs any more' end_move
        return
    fi
    say "release $to does not serve: going back to $from"
    systemctl stop "$UNDERSTUDY" 2>/dev/null || true
    put_in_force "$from"
    { [[ $how == take_over ]] && take_over "$from"; } || serve_again ||
        die "Neither release $to nor $from serves: see journalctl -u 'semi-pd*'."
    undo_move
    die "Release $to did not serve, and $from is in force again: see journalctl -u 'semi-pd*'."
}

# A run that is killed between these two is gone on with by the next. The file says which release was the former one.
begin_move() {
    [[ -e $UNFINISHED ]] || former_release >"$UNFINISHED"
    link_release "$1" former
    sync --file-system "$PREFIX"
}

end_move() {
    rm -f "$UNFINISHED"
    forget_other_releases
}

undo_move() {
    local earlier
    earlier=$(<"$UNFINISHED")
    if [[ -n $earlier ]]; then link_release "$earlier" former; else rm -f "$PREFIX/former"; fi
    end_move
}

is_interrupted() {
    [[ -e $UNFINISHED && $(former_release) != "$(release_in_force)" ]]
}

# ── can one take over from the other? ────────────────────────────────────────────────────────────────────────────────

require_same_formats() {
    local changed
    [[ $DRAIN == no && $DRY_RUN == no ]] && is_running || return 0
    changed=$(changed_formats "$1" "$VERSION")
    [[ -z $changed ]] || die "Release $VERSION changes what running processes share ($changed), so it cannot take over \
while requests are served: with --drain streams end first, for up to half a minute, and all services are restarted."
}

changed_formats() {
    local old new
    new=$(formats_of "$2") || die "Release $2 cannot take over from what runs here: see $LOG, or use --drain."
    old=$(formats_of "$1") || old=''
    comm -13 <(sort <<<"$old") <(sort <<<"$new") | cut -d ' ' -f 1 | xargs
}

formats_of() {
    (cd "$(release_dir "$1")/source" &&
        PYTHONDONTWRITEBYTECODE=1 "$(release_dir "$1")/venv/bin/python" -m engine.compatibility "$RUNTIME" 2>>"$LOG")
}

# ── taking over, process by process ──────────────────────────────────────────────────────────────────────────────────

# take_over RELEASE: every process but the resident becomes one of this release while requests are served. Those that
# are it already stay, so that it can be repeated, and is the way back, too.
take_over() {
    systemctl reset-failed 'semi-pd*' 2>/dev/null || true
    ensure_controller && leaders_take_over "$1" && scheduler_takes_over "$1" && is_answering &&
        console_takes_over "$1" && gateway_takes_over "$1" && is_answering && is_running && return
    show_failure
    return 1
}

# The new release's workers show that they compute before anything is given up that serves now. The policy may rotate
# in between, so what is found decides, not what was done.
leaders_take_over() {
    local active standby prefill decode
    for _ in 1 2 3; do
        read -r active standby prefill decode < <(as_user -m appliance.machine.standby) || return
        is_of "semi-pd-group@$standby" "$1" ||
            change "restart slot $standby's leader, which stands by" systemctl restart "semi-pd-group@$standby" || return
        ! is_of "semi-pd-group@$active" "$1" || return 0
        change "rotate to workers of release $1 in slot $standby" quietly as_user -m appliance rotate \
            --prefill "$prefill" --decode "$decode" --new-group --reason upgrade || return
        is_answering || return
    done
    return 1
}

# Leaders and controller go with it. What was accepted waits in the gateway, and is handed in again.
scheduler_takes_over() {
    is_of semi-pd-scheduler "$1" || change 'restart the scheduler; accepted requests wait for it' \
        systemctl restart semi-pd-scheduler || return
    ensure_controller || return
    is_of semi-pd-controller "$1" || change 'restart the controller' systemctl restart semi-pd-controller ||
        ensure_controller
}

console_takes_over() {
    is_of semi-pd-console "$1" || change 'restart the console' systemctl restart semi-pd-console
}

# A run that was killed may have left the second generation there, of whichever release: it goes in any case.
gateway_takes_over() {
    is_of semi-pd-gateway "$1" || replace_gateway || return
    ! systemctl --quiet is-active "$UNDERSTUDY" ||
        change 'end the second generation, whose streams end first' quietly systemctl stop "$UNDERSTUDY"
}

# Both have the socket: no connection waits while the old generation drains.
replace_gateway() {
    change 'start a second generation of the gateway at the same port' systemctl start "$UNDERSTUDY" ||
        { show_journal "$UNDERSTUDY" && return 1; }
    change 'replace the first, whose streams end first' systemctl restart semi-pd-gateway
}

# An older release cannot read a database that a newer one has changed: then it is that of before the upgrade.
ensure_controller() {
    systemctl start semi-pd-controller && return
    [[ -e $BACKUP ]] && is_refused_database || return
    systemctl stop semi-pd-controller
    change "restore the database of before the upgrade from $BACKUP" as_user -m appliance restore "$BACKUP" &&
        systemctl reset-failed semi-pd-controller && systemctl start semi-pd-controller
}

is_refused_database() {
    journalctl --quiet --no-pager --output cat --lines 20 --unit semi-pd-controller |
        grep --quiet 'a newer release wrote it'
}

# Whether a unit's main process was started in this release.
is_of() {
    local pid
    pid=$(systemctl show --value --property MainPID "$1")
    [[ ${pid:-0} != 0 && $(readlink "/proc/$pid/cwd") == $(readlink -f "$(release_dir "$2")/source") ]]
}

is_answering() {
    quietly as_user -m appliance.machine.answering "$RUNTIME"
}

# serve_again: everything ends and starts, which is what a change of formats needs, and the last resort.
serve_again() {
    change 'restart the services' restart && is_answering && return
    [[ -e $BACKUP ]] && is_refused_database || return
    ensure_controller && is_running && is_answering
}
