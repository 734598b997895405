-- Which vacuum, analyze, index build or rewrite runs now, and how far is it?
SELECT progress.pid, progress.what, progress.phase, progress.done, progress.total, progress.database,
       progress.relid::bigint AS relation_oid,
       quote_ident(schema.nspname) || '.' || quote_ident(relation.relname) AS table_name,
       session.application_name AS application, session.usename::text AS session_role,
       extract(epoch FROM clock_timestamp() - session.query_start)::float8 AS seconds
FROM (SELECT pid, 'VACUUM' AS what, phase, heap_blks_scanned AS done, heap_blks_total AS total,
             datname::text AS database, relid
      FROM pg_stat_progress_vacuum
      UNION ALL
      SELECT pid, 'ANALYZE', phase, sample_blks_scanned, sample_blks_total, datname::text, relid
      FROM pg_stat_progress_analyze
      UNION ALL
      SELECT pid, command, phase, coalesce(nullif(blocks_done, 0), tuples_done),
             coalesce(nullif(blocks_total, 0), tuples_total), datname::text, relid
      FROM pg_stat_progress_create_index
      UNION ALL
      SELECT pid, command, phase, heap_blks_scanned, heap_blks_total, datname::text, relid
      FROM pg_stat_progress_cluster) AS progress
LEFT JOIN pg_stat_activity AS session ON session.pid = progress.pid
LEFT JOIN pg_class AS relation ON relation.oid = progress.relid AND progress.database = current_database()
LEFT JOIN pg_namespace AS schema ON schema.oid = relation.relnamespace
ORDER BY seconds DESC NULLS LAST, progress.pid
LIMIT 20
