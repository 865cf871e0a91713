#!/bin/sh
# 97-first-boot.sh: run what the site keeps in /usr/local/lib/first-boot.d, once for each instance.
#
# "per-instance" means: again for a copy of this machine, never again for this one, and at the next boot if it failed.
# waagent: {summary: Run the site's first-boot programs, frequency: per-instance, limit: 15m}
set -eu

folder=/usr/local/lib/first-boot.d
[ -d "$folder" ] || exit 77
count=0
for program in "$folder"/*; do
    [ -x "$program" ] || continue
    echo "running $program"
    "$program" || {
        echo "message=$program ended with status $?" >"$WAAGENT_OUTPUT"
        exit 1
    }
    count=$((count + 1))
done
printf 'message=ran %s programs\ncount=%s\n' "$count" "$count" >"$WAAGENT_OUTPUT"
