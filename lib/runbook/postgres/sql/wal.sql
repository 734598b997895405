-- How much room does pg_wal take, and how much may it?
WITH wal AS MATERIALIZED (SELECT count(*)::int AS files, coalesce(sum(size), 0)::float8 AS bytes FROM pg_ls_waldir())
SELECT wal.files,
       wal.bytes,
       pg_size_bytes(current_setting('max_wal_size'))::float8 AS max_wal_bytes,
       pg_size_bytes(current_setting('wal_keep_size'))::float8 AS keep_bytes,
       holder.slot_name::text AS slot,
       -- (Of a null, greatest() would make 0.)
       CASE WHEN holder.restart_lsn IS NOT NULL
            THEN greatest(pg_wal_lsn_diff(own.position, holder.restart_lsn), 0) END::float8 AS slot_bytes,
       current_setting('archive_mode') AS archive_mode,
       (SELECT coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) FROM pg_stat_archiver)
           AS archiving_fails
FROM wal
CROSS JOIN (SELECT CASE WHEN pg_is_in_recovery()
                        THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                        ELSE pg_current_wal_lsn() END AS position) AS own
LEFT JOIN LATERAL (SELECT slot_name, restart_lsn FROM pg_replication_slots WHERE restart_lsn IS NOT NULL
                   ORDER BY restart_lsn LIMIT 1) AS holder ON true
