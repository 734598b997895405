-- Has this table been vacuumed by hand since then? (Nothing is told while a vacuum of it is at work.)
SELECT CASE WHEN EXISTS (SELECT FROM pg_stat_progress_vacuum WHERE relid = %(oid)s::oid) THEN NULL
            ELSE coalesce(pg_stat_get_last_vacuum_time(%(oid)s::oid) >= %(begun)s::timestamptz, false) END AS happened
