#!/bin/sh
# A handler that would take a whole processor: its enable command counts for some seconds and writes down what its
# slice got of it, in seconds.txt of its log folder: the processor's microseconds, and the clock's.
set -eu

[ "$1" = enable ] || exit 0

folder() {
    sed -n 's/.*"'"$1"'": *"\([^"]*\)".*/\1/p' HandlerEnvironment.json | head -n 1
}

slice=/sys/fs/cgroup$(dirname "$(sed -n 's/^0:://p' /proc/self/cgroup)")
used() {
    sed -n 's/^usage_usec //p' "$slice/cpu.stat"
}
clock() {
    echo $(($(date +%s%N) / 1000))
}

began=$(clock) before=$(used)
timeout 6 sh -c 'while :; do :; done' || true
{
    echo "slice $slice"
    echo "max $(cat "$slice/cpu.max")"
    echo "used $(($(used) - before))"
    echo "clock $(($(clock) - began))"
} > "$(folder logFolder)/seconds.txt"

now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
file=$(folder statusFolder)/${ConfigSequenceNumber:-0}.status
cat > "$file.tmp" <<STATUS
[{"version": 1.0, "timestampUTC": "$now", "status": {
    "name": "Demo.Busy", "operation": "Enable", "status": "success", "code": 0,
    "formattedMessage": {"lang": "en-US", "message": "counted"}}}]
STATUS
mv "$file.tmp" "$file"
