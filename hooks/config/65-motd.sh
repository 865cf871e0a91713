#!/bin/sh
# 65-motd.sh: greet whoever logs in with the machine's name, region and instance.
#
# waagent: {summary: Write /etc/motd, frequency: per-instance, limit: 10s}
set -eu

text="This is ${WAAGENT_VM_NAME:-a machine without a name} in ${WAAGENT_LOCATION:-an unknown region}, instance $WAAGENT_INSTANCE_ID."
if [ -f /etc/motd ] && [ "$(cat /etc/motd)" = "$text" ]; then
    echo "message=/etc/motd is as it should be" >"$WAAGENT_OUTPUT"
    exit 0
fi
echo "$text" >/etc/motd
echo "message=wrote /etc/motd" >"$WAAGENT_OUTPUT"
