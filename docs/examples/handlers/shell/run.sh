#!/bin/sh
# A handler in shell. Public settings: {"disks": "sda sdb"}; protected ones: {"token": "…"}.
set -eu
number=$ConfigSequenceNumber
settings=config/$number.settings
status=status/$number.status

# value KEY: the text of a member of the settings, without quotes in it; a program for JSON (jq) knows more
value() {
    sed -n 's/.*"'"$1"'": *"\([^"]*\)".*/\1/p'
}

# protected: the protected settings, decrypted; fails when they cannot be
protected() {
    key=../$(value protectedSettingsCertThumbprint <"$settings")
    value protectedSettings <"$settings" | base64 -d |
        openssl cms -decrypt -inform DER -recip "$key.crt" -inkey "$key.prv"
}

# report STATUS CODE MESSAGE: under another name first, so that nobody reads half of it
report() {
    now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    cat >"$status.new" <<EOF
[{"version": 1.0, "timestampUTC": "$now", "status": {
    "name": "DiskWatch", "operation": "Enable", "status": "$1", "code": $2,
    "formattedMessage": {"lang": "en-US", "message": "$3"}}}]
EOF
    mv "$status.new" "$status"
}

enable() {
    if [ ! -s "$settings" ]; then
        echo "no settings: nothing to watch, nothing to report"
        return
    fi
    if [ "$(cat mrseq 2>/dev/null || true)" = "$number" ]; then
        echo "the settings $number are applied already"
        return
    fi
    token=none
    if grep -q '"protectedSettings": *"' "$settings"; then
        secret=$(protected 2>decrypt.log) || {
            report error 3 "cannot decrypt the protected settings"
            cat decrypt.log >&2
            return
        }
        token=$(printf '%s' "$secret" | value token)
    fi
    disks=$(value disks <"$settings")
    if [ -z "$disks" ]; then
        report error 2 "disks is missing in the public settings"
        return
    fi
    report success 0 "watching $disks with a token of ${#token} characters"
    echo "$number" >mrseq
}

case $1 in
enable) enable ;;
update) echo "to $AZURE_GUEST_AGENT_EXTENSION_VERSION from $AZURE_GUEST_AGENT_UPDATING_FROM_VERSION" ;;
install | disable | uninstall) echo "$1 $AZURE_GUEST_AGENT_EXTENSION_VERSION" ;;
*) echo "usage: run.sh install|enable|update|disable|uninstall" >&2 && exit 2 ;;
esac
