"""The resident process: polls the fabric, keeps the status report fresh, starts a worker. Small and lean.

main.py       the loop                         settings.py     what it needs of waagent.conf, read by a child
worker.py     starting workers, one at a time  notify.py       readiness and watchdog for systemd
reporting.py  when the status is uploaded      host_health.py  when the host's services are asked
"""
