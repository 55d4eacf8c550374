# Sourced by install.sh: user, settings, units and services.
# shellcheck shell=bash

TARGET=semi-pd.target
WHY_RESTART=''
PORTS=()

ensure_user() {
    ensure_file "$ROOT/systemd/sysusers.d/semi-pd.conf" /usr/local/lib/sysusers.d/semi-pd.conf 644
    ensure_file "$ROOT/systemd/tmpfiles.d/semi-pd.conf" /usr/local/lib/tmpfiles.d/semi-pd.conf 644
    id semi-pd >/dev/null 2>&1 ||
        change 'make the user semi-pd' systemd-sysusers /usr/local/lib/sysusers.d/semi-pd.conf
    [[ -d $RUNTIME ]] || change "make $RUNTIME" systemd-tmpfiles --create /usr/local/lib/tmpfiles.d/semi-pd.conf
    [[ -d $STATE ]] || change "make $STATE" install -d -m 700 -o semi-pd -g semi-pd "$STATE"
}

# What the administrator has written there stays.
ensure_settings() {
    [[ -d $ETC/conf.d ]] || change "make $ETC" install -d -m 755 "$ETC" "$ETC/conf.d"
    [[ ${#FORWARDED[@]} == 0 || -e $ETC/conf.d/50-install.toml ]] ||
        change "write $ETC/conf.d/50-install.toml" write_given_settings
    [[ -e $ETC/semi-pd.toml ]] ||
        change "write $ETC/semi-pd.toml" put_file "$ROOT/systemd/etc/semi-pd.toml" "$ETC/semi-pd.toml" 644
    ensure_certificate
}

setting_of() {
    case $1 in
        --model) echo model_path ;;
        --bind) echo host ;;
        *) sed 's/^--//; s/-/_/g' <<<"$1" ;;
    esac
}

write_given_settings() {
    local new=$ETC/conf.d/.50-install.new name value i
    : >"$new"
    for ((i = 0; i < ${#FORWARDED[@]}; i += 2)); do
        name=$(setting_of "${FORWARDED[i]}")
        value=${FORWARDED[i + 1]}
        case $name in
            model_path) printf '%s = "%s"\n' "$name" "$(readlink -f -- "$value")" ;;
            gpu | host) printf '%s = "%s"\n' "$name" "$value" ;;
            *) printf '%s = %s\n' "$name" "$value" ;;
        esac >>"$new"
    done
    ! is_bound_beyond || printf 'tls_cert = "%s"\ntls_key = "%s"\n' "$CERTIFICATE" "$CERTIFICATE_KEY" >>"$new"
    [[ $DEVICE == auto ]] || printf 'device = "%s"\n' "$DEVICE" >>"$new"
    mv "$new" "$ETC/conf.d/50-install.toml"
}

# A file of ours: made or replaced where it differs, in one step.
ensure_file() {
    cmp --silent "$1" "$2" || change "write $2" put_file "$1" "$2" "$3"
}

put_file() {
    mkdir -p "$(dirname "$2")"
    install -m "$3" "$1" "$2.new"
    mv "$2.new" "$2"
}

# ── a release in force ───────────────────────────────────────────────────────────────────────────────────────────────

# put_in_force RELEASE: units first; they name the link, which is changed last.
put_in_force() {
    local release=$1 source staged
    source=$(release_dir "$release")/source
    [[ $DRY_RUN == no || -d $source ]] || source=$ROOT
    staged=$(mktemp -d)
    stage_units "$source/systemd" "$staged"
    ensure_units "$staged"
    rm -rf "$staged"
    ensure_file "$source/systemd/semi-pd.rules" /usr/share/polkit-1/rules.d/60-semi-pd.rules 644
    ensure_command "$source/systemd/bin/semi-pd"
    [[ $(release_in_force) == "$release" ]] || change "put release $release in force" link_release "$release" current
    ensure_addresses
    ensure_credentials
    [[ $DRY_RUN == yes ]] || systemctl daemon-reload
}

stage_units() {
    local path
    for path in "$1"/*.{target,service,socket,slice,timer} "$1"/*.d/*.conf; do
        [[ -e $path && $path == */semi* ]] || continue
        [[ $path != */sysusers.d/* && $path != */tmpfiles.d/* ]] || continue
        mkdir -p "$2/$(dirname "${path#"$1/"}")"
        sed "s|/opt/semi-pd|$PREFIX|g" "$path" >"$2/${path#"$1/"}"
    done
}

ensure_units() {
    local path
    while read -r path; do
        ensure_file "$1/$path" "$UNITS/$path" 644
    done < <(cd "$1" && find . -type f -printf '%P\n' | sort)
}

ensure_command() {
    local staged
    staged=$(mktemp)
    sed "s|/opt/semi-pd|$PREFIX|g" "$1" >"$staged"
    ensure_file "$staged" /usr/local/bin/semi-pd 755
    rm "$staged"
}

# The ports are systemd's, so it must be told which ones the settings name.
ensure_addresses() {
    local unit address staged before
    [[ $DRY_RUN == no ]] || return 0
    before=$CHANGES
    staged=$(mktemp)
    while read -r unit address; do
        printf '# By install.sh, as the settings say.\n[Socket]\nListenStream=\nListenStream=%s\n' "$address" >"$staged"
        ensure_file "$staged" "$UNITS/$unit.socket.d/20-address.conf" 644
    done < <(as_user -m appliance.machine.addresses "$ETC" || echo failed)
    rm "$staged"
    [[ ${unit:-} != failed ]] || die "The settings in $ETC are not usable."
    ((CHANGES == before)) || { WHY_RESTART='the address has changed' && PORTS=(semi-pd-{gateway,console}.socket); }
}

# A secret is read by systemd, as root, and handed to the services that speak TLS; its file needs no other reader.
ensure_credentials() {
    local name path staged unit dropin before=$CHANGES
    [[ $DRY_RUN == no ]] || return 0
    staged=$(mktemp)
    while read -r name path; do
        printf '# By install.sh, as the settings say.\n[Service]\nLoadCredential=%s:%s\n' "$name" "$path" >"$staged"
    done < <(as_user -m appliance.machine.credentials "$ETC")
    for unit in gateway gateway-next console; do
        dropin=$UNITS/semi-pd-$unit.service.d/20-credentials.conf
        if [[ -s $staged ]]; then
            ensure_file "$staged" "$dropin" 644
        elif [[ -e $dropin ]]; then
            change "remove $dropin" rm "$dropin"
        fi
    done
    rm "$staged"
    ((CHANGES == before)) || WHY_RESTART='the key of TLS is another'
}

# as_user ARGUMENTS…: the Python of the release in force, as the user whose files it touches.
as_user() {
    (cd / && runuser -u semi-pd -- env XDG_STATE_HOME=/var/lib PYTHONDONTWRITEBYTECODE=1 \
        "$PREFIX/current/venv/bin/python" "$@")
}

# ── running ──────────────────────────────────────────────────────────────────────────────────────────────────────────

is_running() {
    [[ -z $(units_that_are_down) ]]
}

# Of those without which nothing is served. One that is about to be started again is down, too.
units_that_are_down() {
    local unit
    for unit in semi-pd-{settings,resident,scheduler,group@a,group@b,controller,gateway}.service; do
        systemctl --quiet is-active "$unit" 2>/dev/null || echo "$unit"
    done
}

start_if_wanted() {
    [[ $START == yes ]] || return 0
    systemctl --quiet is-enabled "$TARGET" 2>/dev/null ||
        change 'enable the services at boot' systemctl --quiet enable "$TARGET"
    if ! is_running; then
        change 'start the services' start_services
    elif [[ -n $WHY_RESTART ]]; then
        change "restart the services, for $WHY_RESTART" restart
    fi
}

start_services() {
    systemctl reset-failed 'semi-pd*' 2>/dev/null || true
    systemctl start "$TARGET"
    is_running && return
    show_failure
    die "The services did not come up: see journalctl -u 'semi-pd*'."
}

# The ports stay open, unless they are to be others.
restart() {
    [[ $DRY_RUN == no ]] || return 0
    systemctl reset-failed 'semi-pd*' 2>/dev/null || true
    systemctl restart "$TARGET" "${PORTS[@]}"
    is_running || { show_failure && return 1; }
}

show_failure() {
    local unit
    for unit in $(units_that_are_down); do
        show_journal "$unit"
    done
}

show_journal() {
    say "$1 is down; the end of its journal:"
    journalctl --quiet --no-pager --output cat --lines 5 --unit "$1" >&2
}

# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────────

uninstall() {
    begin_changes
    change 'stop the services' stop_services
    change 'remove units, command and polkit rule' remove_system_files
    change "remove all releases under $PREFIX" rm -rf "$PREFIX/releases" "$PREFIX/current" "$PREFIX/former" \
        "$UNFINISHED"
    [[ $PURGE == no ]] || change 'remove settings, data and the user semi-pd' purge
    [[ $DRY_RUN == yes ]] || rmdir --ignore-fail-on-non-empty "$PREFIX"
    [[ $PURGE == yes ]] || say "settings in $ETC and data in $STATE are kept; --purge removes them"
}

stop_services() {
    [[ -e $UNITS/$TARGET ]] || return 0
    systemctl --quiet disable "$TARGET" || true
    systemctl stop "$TARGET" 'semi-pd-*.service' 'semi-pd-*.socket' 'semipd*.slice' 2>/dev/null || true
}

remove_system_files() {
    rm -rf "$UNITS"/semi-pd* "$UNITS"/semipd-*.slice "$RUNTIME" "$CACHE"
    rm -f /usr/local/lib/{sysusers,tmpfiles}.d/semi-pd.conf /usr/share/polkit-1/rules.d/60-semi-pd.rules
    rm -f /usr/local/bin/semi-pd
    rmdir --ignore-fail-on-non-empty --parents "$UNITS" /usr/local/lib/{sysusers,tmpfiles}.d 2>/dev/null || true
    systemctl daemon-reload
    systemctl reset-failed 'semi-pd*' 2>/dev/null || true
}

purge() {
    rm -rf "$ETC" "$STATE" "$LOG" /etc/systemd/system/semi-pd*
    ! id semi-pd >/dev/null 2>&1 || userdel semi-pd
}
