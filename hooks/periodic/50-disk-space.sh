#!/bin/sh
# 50-disk-space.sh: warn in the log when the root file system is nearly full.
#
# waagent: {summary: Watch the disk, frequency: always, every: 10m, limit: 10s}
set -eu

used=$(df -P / | awk 'NR == 2 { sub("%", "", $5); print $5 }')
if [ "$used" -ge 90 ]; then
    # <4> makes the line a warning, <3> would make it an error.
    echo "<4>the root file system is $used % full"
fi
printf 'message=the root file system is %s %% full\nused=%s\n' "$used" "$used" >"$WAAGENT_OUTPUT"
