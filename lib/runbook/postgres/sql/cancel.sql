-- Was cancelled what the one session that was looked at does? (No row: it does something else by now.)
SELECT pg_cancel_backend(pid) AS cancelled
FROM pg_stat_activity
WHERE pid = %(pid)s AND backend_start = %(backend_start)s::timestamptz
  AND state = 'active' AND xact_start = %(xact_start)s::timestamptz
