-- Since when do the statistics of tables and indexes count, and are there replicas with counts of their own?
SELECT greatest(
           (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()),
           -- Nobody resets this one by itself; it begins anew with the server, and after a crash.
           (SELECT stats_reset FROM pg_stat_archiver)) AS since,
       clock_timestamp() AS now,
       (SELECT count(*) FROM pg_stat_replication) AS replicas,
       pg_is_in_recovery() AS is_replica
