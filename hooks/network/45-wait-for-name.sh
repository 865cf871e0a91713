#!/bin/sh
# 45-wait-for-name.sh: wait until names that the site needs can be resolved.
#
# The names stand in /etc/waagent/wait-for-names, one a line. Exit status 75 means "failed for now": the agent tries
# again, after 1, 2, 4, … seconds, as long as the limit lasts.
# waagent: {summary: Wait for DNS, frequency: always, limit: 2m}
set -eu

names=/etc/waagent/wait-for-names
[ -s "$names" ] || exit 77
while read -r name; do
    case $name in '' | '#'*) continue ;; esac
    if ! getent hosts "$name" >/dev/null; then
        echo "<4>$name cannot be resolved (try $WAAGENT_ATTEMPT)"
        exit 75
    fi
done <"$names"
echo "message=all names resolve, try $WAAGENT_ATTEMPT" >"$WAAGENT_OUTPUT"
