#!/bin/sh
# 31-hosts.sh: let the machine's own name resolve without DNS.
#
# Runs right after the module "hostname" (30). Programs that look their own name up, sudo among them, otherwise wait
# for DNS whenever the network is down.
# waagent: {summary: Put the host name into /etc/hosts, limit: 10s}
set -eu

[ -n "$WAAGENT_VM_NAME" ] || exit 77
line="127.0.1.1 $WAAGENT_VM_NAME"
if grep -qxF "$line" /etc/hosts; then
    echo "message=$WAAGENT_VM_NAME is in /etc/hosts already" >"$WAAGENT_OUTPUT"
    exit 0
fi

# One entry of ours at most: a former name goes. Write beside it and rename, so that nobody reads half a file.
grep -v '^127\.0\.1\.1[[:space:]]' /etc/hosts >/etc/hosts.new || true
echo "$line" >>/etc/hosts.new
chmod 644 /etc/hosts.new
mv /etc/hosts.new /etc/hosts
echo "message=put $WAAGENT_VM_NAME into /etc/hosts" >"$WAAGENT_OUTPUT"
