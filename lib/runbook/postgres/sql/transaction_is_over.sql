-- Is this transaction of the session over?
SELECT NOT EXISTS (SELECT FROM pg_stat_activity
                   WHERE pid = %(pid)s AND backend_start = %(backend_start)s::timestamptz
                     AND state = 'active' AND xact_start = %(xact_start)s::timestamptz) AS over
