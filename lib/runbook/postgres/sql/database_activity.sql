-- What have the databases done since their statistics began?
SELECT datname::text AS database,
       numbackends AS sessions,
       xact_commit AS commits,
       xact_rollback AS rollbacks,
       blks_hit AS hits,
       blks_read AS reads,
       temp_files,
       temp_bytes::float8 AS temp_bytes,
       deadlocks,
       conflicts,
       stats_reset
FROM pg_stat_database
WHERE datname IS NOT NULL
ORDER BY blks_hit + blks_read DESC, datname
LIMIT 100
