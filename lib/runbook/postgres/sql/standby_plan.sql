-- What of this server decides whether a standby can be made of it?
SELECT current_setting('server_version_num')::int / 10000 AS version,
       pg_is_in_recovery() AS in_recovery,
       current_setting('wal_level') AS wal_level,
       current_setting('max_wal_senders')::int - (SELECT count(*) FROM pg_stat_replication)::int AS senders_left,
       current_setting('max_replication_slots')::int - (SELECT count(*) FROM pg_replication_slots)::int AS slots_left,
       EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %(slot)s) AS has_slot,
       coalesce((SELECT active FROM pg_replication_slots WHERE slot_name = %(slot)s), false) AS slot_active,
       (SELECT sum(pg_database_size(oid)) FROM pg_database)::float8 AS bytes,
       pg_size_bytes(current_setting('max_wal_size'))::float8 AS wal_bytes,
       ARRAY(SELECT spcname::text FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')
             ORDER BY spcname) AS tablespaces,
       -- A standby must allow at least as many as its primary.
       (SELECT jsonb_object_agg(name, setting) FROM pg_settings
        WHERE name IN ('max_connections', 'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions',
                       'max_locks_per_transaction')) AS at_least
