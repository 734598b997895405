-- Which large tables are mostly read from end to end?
SELECT schema.nspname::text AS schema,
       relation.relname::text AS "table",
       stats.live AS rows,
       stats.seq_scans,
       stats.seq_rows,
       stats.idx_scans,
       relation.relpages * current_setting('block_size')::int8 AS bytes,
       -- Each worker of a parallel scan is counted as a scan of its own.
       CASE WHEN relation.relpages >= pages.parallel THEN current_setting('max_parallel_workers_per_gather')::int
            ELSE 0 END AS workers
FROM pg_class AS relation
JOIN pg_namespace AS schema ON schema.oid = relation.relnamespace
CROSS JOIN (SELECT setting::int8 AS parallel FROM pg_settings WHERE name = 'min_parallel_table_scan_size') AS pages
CROSS JOIN LATERAL (
    -- As of the last vacuum or analyze; where there was none yet, as counted since.
    SELECT CASE WHEN relation.reltuples > 0 THEN relation.reltuples::float8
                ELSE pg_stat_get_live_tuples(relation.oid)::float8 END AS live,
           pg_stat_get_numscans(relation.oid) AS seq_scans,
           pg_stat_get_tuples_returned(relation.oid) AS seq_rows,
           (SELECT coalesce(sum(pg_stat_get_numscans(indexrelid)), 0)::int8
            FROM pg_index WHERE indrelid = relation.oid) AS idx_scans) AS stats
WHERE relation.relkind IN ('r', 'm')
  AND schema.nspname !~ '^(pg_catalog|information_schema|pg_toast.*|pg_temp_.*)$'
  -- The others are read quickly.
  AND stats.live >= %(rows)s
  AND stats.seq_scans > 0
ORDER BY stats.seq_rows DESC
LIMIT 100
