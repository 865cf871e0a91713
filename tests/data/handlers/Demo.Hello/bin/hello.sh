#!/bin/sh
# A small handler: greets {"name": …} from its public settings, decrypts its protected settings, and writes its status.
# It honours the contract of published handlers: it works in its base directory, finds folders in
# HandlerEnvironment.json and its number in ConfigSequenceNumber, and does nothing twice for one number (mrseq).
set -eu

verb=$1
number=${ConfigSequenceNumber:-0}

# value KEY FILE: the text of a string member, good enough for flat JSON
value() {
    sed -n 's/.*"'"$1"'": *"\([^"]*\)".*/\1/p' "$2" | head -n 1
}

status_folder=$(value statusFolder HandlerEnvironment.json)
config_folder=$(value configFolder HandlerEnvironment.json)
log_folder=$(value logFolder HandlerEnvironment.json)
lib=$(dirname "$PWD")

say() {
    echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $verb: $*" >> "$log_folder/hello.log"
    echo "$*"
}

# report STATUS CODE MESSAGE: written aside and renamed, so that nobody reads half of it
report() {
    file=$status_folder/$number.status
    now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    cat > "$file.tmp" <<STATUS
[{"version": 1.0, "timestampUTC": "$now", "status": {
    "name": "Demo.Hello", "operation": "Enable", "configurationAppliedTime": "$now", "status": "$1", "code": $2,
    "formattedMessage": {"lang": "en-US", "message": "$3"}}}]
STATUS
    mv "$file.tmp" "$file"
}

# Protected settings are CMS for the certificate whose thumbprint stands beside them.
protected() {
    secret=$(value protectedSettings "$1")
    thumbprint=$(value protectedSettingsCertThumbprint "$1")
    [ -n "$secret" ] || return 0
    echo "$secret" | base64 -d |
        openssl cms -inform DER -decrypt -recip "$lib/$thumbprint.crt" -inkey "$lib/$thumbprint.prv"
}

case $verb in
    install | update | disable | uninstall)
        say "done with ${AZURE_GUEST_AGENT_EXTENSION_VERSION:-?}"
        ;;
    enable)
        settings=$config_folder/$number.settings
        if [ ! -s "$settings" ]; then
            say "no settings, nothing to greet"
            exit 0
        fi
        if [ "$(cat mrseq 2> /dev/null || true)" = "$number" ] && [ -e "$status_folder/$number.status" ]; then
            say "settings $number are applied already"
            exit 0
        fi
        if ! plain=$(protected "$settings" 2> decrypt.err); then
            report error 53 "cannot decrypt the protected settings"
            say "cannot decrypt the protected settings: $(tail -n 1 decrypt.err)" >&2
            exit 53
        fi
        name=$(value name "$settings")
        report success 0 "hello, ${name:-world}; ${#plain} characters were protected"
        echo "$number" > mrseq
        say "greeted ${name:-the world}"
        ;;
    *)
        echo "usage: hello.sh install|enable|disable|update|uninstall" >&2
        exit 2
        ;;
esac
