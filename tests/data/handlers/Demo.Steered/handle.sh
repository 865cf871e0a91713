#!/bin/sh
# A handler that does what its public settings say, and writes down what it was told to do. handle.py does the same.
#
#   "enable.exit": 52      that command ends so            "enable.say": "text"   and says this
#   "status": "error"      what enable reports (success), "none" for no status file
#   "message": "text"      the message beside it
#
# For everything else the package may bring do/VERB, which runs first. Settings are looked for by number, and where
# there are none of that number (the commands of an old version during an update) the newest are taken.
verb=$1
number=${ConfigSequenceNumber:-0}
instance=${ConfigExtensionName:-}
name=$(basename "$PWD")
notes=/var/tmp/handlers

mkdir -p "$notes"
echo "$(date +%s.%N) $verb $name $number ${instance:--}" >> "$notes/ran"
env > "$notes/$name.$verb.${instance:--}.env"
cat /proc/self/cgroup > "$notes/$name.$verb.${instance:--}.cgroup"

prefix=${instance:+$instance.}
settings=config/$prefix$number.settings
[ -e "$settings" ] || settings=$(ls -t config/"$prefix"*.settings 2> /dev/null | head -n 1)

# text KEY, figure KEY: a member of the public settings, good enough for flat JSON
text() {
    [ -z "$settings" ] || sed -n 's/.*"'"$1"'": *"\([^"]*\)".*/\1/p' "$settings" | head -n 1
}
figure() {
    [ -z "$settings" ] || sed -n 's/.*"'"$1"'": *\([0-9]*\).*/\1/p' "$settings" | head -n 1
}

# status STATUS MESSAGE: written aside and renamed, so that nobody reads half of it
status() {
    file=status/$prefix$number.status
    printf '[{"version": 1.0, "status": {"operation": "Enable", "status": "%s", "code": 0,
        "formattedMessage": {"lang": "en-US", "message": "%s"}}}]' "$1" "$2" > "$file.tmp"
    mv "$file.tmp" "$file"
}

[ ! -e "do/$verb" ] || . "./do/$verb"

said=$(text "$verb.say")
[ -z "$said" ] || echo "$said"
code=$(figure "$verb.exit")
if [ "$verb" = enable ] && [ "${code:-0}" = 0 ] && [ -s "$settings" ]; then
    told=$(text status)
    [ "$told" = none ] || status "${told:-success}" "$(text message)"
fi
exit "${code:-0}"
