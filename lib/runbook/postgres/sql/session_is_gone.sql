-- Is this session gone?
SELECT NOT EXISTS (SELECT FROM pg_stat_activity
                   WHERE pid = %(pid)s AND backend_start = %(backend_start)s::timestamptz) AS gone
