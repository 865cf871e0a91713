#!/bin/sh
# Greet who logs in with the name and the place of the machine.
# waagent: {frequency: per-boot, limit: 10s}
set -eu

motd=/etc/motd
line="This is $WAAGENT_VM_NAME in ${WAAGENT_LOCATION:-an unknown place}, instance $WAAGENT_INSTANCE_ID."

if [ "$(cat "$motd" 2>/dev/null)" = "$line" ]; then
    echo "message=$motd says so already" >"$WAAGENT_OUTPUT"
    exit 77
fi
echo "$line" >"$motd.new"
mv "$motd.new" "$motd"
echo "message=wrote $motd" >"$WAAGENT_OUTPUT"
