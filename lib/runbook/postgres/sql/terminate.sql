-- End the one session that was looked at, and wait until it is gone. (No row: the process id is another session's by now.)
SELECT pg_terminate_backend(pid, 5000) AS ended
FROM pg_stat_activity
WHERE pid = %(pid)s AND backend_start = %(backend_start)s::timestamptz
