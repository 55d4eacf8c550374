# Sourced by install.sh: the certificate of both ports, where they are to be reached from other machines. One that is
# there is the administrator's, whoever made it.
# shellcheck shell=bash

CERTIFICATE=$ETC/tls/cert.pem
CERTIFICATE_KEY=$ETC/tls/key.pem
# Apple's programs accept none that holds longer.
CERTIFICATE_DAYS=825

wanted_address() {
    local i
    for ((i = 0; i < ${#FORWARDED[@]}; i += 2)); do
        [[ ${FORWARDED[i]} != --bind ]] || echo "${FORWARDED[i + 1]}"
    done | tail -n 1
}

is_bound_beyond() {
    local address
    address=$(wanted_address)
    [[ -n $address && ! $address =~ ^(127\.[0-9.]+|::1|localhost)$ ]]
}

names_certificate() {
    grep --quiet --no-messages "^tls_cert *= *[\"']${CERTIFICATE}[\"']" "$ETC"/semi-pd.toml "$ETC"/conf.d/*.toml
}

# The key first: a run that was killed after it makes a certificate for it.
ensure_certificate() {
    names_certificate || { [[ $DRY_RUN == yes ]] && is_bound_beyond; } || return 0
    [[ ! -e $CERTIFICATE ]] || return 0
    [[ $DRY_RUN == yes ]] || command -v openssl >/dev/null ||
        die 'A certificate is made with openssl, which is missing: apt-get install openssl.'
    [[ -e $CERTIFICATE_KEY ]] || change "make $CERTIFICATE_KEY" make_certificate_key
    change "make $CERTIFICATE" make_certificate
    # shellcheck disable=SC2034 # read in system.sh
    WHY_RESTART='the certificate is new'
}

make_certificate_key() {
    local new=$CERTIFICATE_KEY.new
    install -d -m 755 "$ETC/tls"
    install -m 600 /dev/null "$new"
    quietly openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out "$new" || certificate_failed
    mv "$new" "$CERTIFICATE_KEY"
}

make_certificate() {
    local new=$CERTIFICATE.new
    quietly openssl req -x509 -key "$CERTIFICATE_KEY" -sha256 -days "$CERTIFICATE_DAYS" \
        -subj "/CN=$(certificate_name)" -addext "subjectAltName=$(certificate_names)" \
        -addext extendedKeyUsage=serverAuth -out "$new" || certificate_failed
    chmod 644 "$new"
    mv "$new" "$CERTIFICATE"
}

certificate_failed() {
    die "openssl could not make a certificate; its log is $LOG."
}

certificate_name() {
    uname --nodename | cut -c 1-64
}

# This machine's names and addresses, under which it may be asked for.
certificate_names() {
    local address
    {
        printf 'DNS:%s\n' localhost "$(uname --nodename)" "$(hostname --fqdn 2>/dev/null || uname --nodename)"
        for address in 127.0.0.1 ::1 $(hostname --all-ip-addresses 2>/dev/null); do
            printf 'IP:%s\n' "$address"
        done
    } | awk '!seen[$0]++' | paste --serial --delimiters ,
}

tell_certificate() {
    ! names_certificate || [[ ! -e $CERTIFICATE ]] ||
        printf '  Certificate    %s, %s\n' "$CERTIFICATE" "$(openssl x509 -in "$CERTIFICATE" -noout -fingerprint -sha256)"
}
