-- Has this table been analyzed by hand since then? (Nothing is told while an analyze of it is at work.)
SELECT CASE WHEN EXISTS (SELECT FROM pg_stat_progress_analyze WHERE relid = %(oid)s::oid) THEN NULL
            ELSE coalesce(pg_stat_get_last_analyze_time(%(oid)s::oid) >= %(begun)s::timestamptz, false) END AS happened
