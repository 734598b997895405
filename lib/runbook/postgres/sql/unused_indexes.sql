-- Which large indexes has no query used since the statistics began? (No relation is opened: sizes are those of the last vacuum.)
WITH scans AS (
    -- Parts of a partitioned index are judged together: one can only be dropped with the others.
    SELECT CASE WHEN part.relispartition THEN pg_partition_root(own.indexrelid)::oid ELSE own.indexrelid END AS head,
           sum(coalesce(pg_stat_get_numscans(own.indexrelid), 0)) AS scans,
           sum(part.relpages::int8) AS pages
    FROM pg_index AS own
    JOIN pg_class AS part ON part.oid = own.indexrelid
    WHERE part.relispartition OR part.relkind = 'I'
       OR part.relpages::int8 * current_setting('block_size')::int8 >= %(bytes)s
    GROUP BY 1
)
SELECT schema.nspname::text AS schema,
       relation.relname::text AS "table",
       index.relname::text AS index,
       index.relkind = 'I' AS is_partitioned,
       scans.pages * current_setting('block_size')::int8 AS bytes,
       (SELECT constraints.conname::text
        FROM pg_constraint AS constraints
        WHERE constraints.contype = 'f' AND constraints.conrelid = own.indrelid
          AND (own.indkey::int2[])[0:cardinality(constraints.conkey) - 1] @> constraints.conkey
          AND own.indpred IS NULL
        LIMIT 1) AS supports
FROM scans
JOIN pg_index AS own ON own.indexrelid = scans.head
JOIN pg_class AS index ON index.oid = own.indexrelid
JOIN pg_class AS relation ON relation.oid = own.indrelid
JOIN pg_namespace AS schema ON schema.oid = index.relnamespace
WHERE scans.scans = 0
  AND own.indisvalid
  -- These are of use without ever being scanned.
  AND NOT (own.indisunique OR own.indisprimary OR own.indisexclusion OR own.indisreplident)
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = own.indexrelid)
  AND schema.nspname !~ '^(pg_catalog|information_schema|pg_toast.*|pg_temp_.*)$'
  AND scans.pages * current_setting('block_size')::int8 >= %(bytes)s
ORDER BY scans.pages DESC
LIMIT 100
