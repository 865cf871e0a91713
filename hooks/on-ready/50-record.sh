#!/bin/sh
# 50-record.sh: write down when this machine was reported ready.
#
# Event hooks run each time their event happens. What is known of it is in the input document, under "event".
# waagent: {summary: Record when the machine was ready, limit: 10s}
set -eu

mkdir -p /var/lib/site
echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) ${WAAGENT_VM_NAME:-?} $WAAGENT_INSTANCE_ID first-boot=$WAAGENT_FIRST_BOOT" >>/var/lib/site/ready.log
echo "message=recorded in /var/lib/site/ready.log" >"$WAAGENT_OUTPUT"
