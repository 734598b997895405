-- Which foreign keys have no index on their own columns, so that each delete of what they refer to reads the whole table?
SELECT schema.nspname::text AS schema,
       relation.relname::text AS "table",
       constraints.conname::text AS name,
       relation.relkind = 'p' AS is_partitioned,
       (SELECT array_agg(attname::text ORDER BY place)
        FROM unnest(constraints.conkey) WITH ORDINALITY AS key (number, place)
        JOIN pg_attribute ON attrelid = constraints.conrelid AND attnum = key.number) AS columns,
       parent.relname::text AS refers_to,
       -- As of the last vacuum or analyze; where there was none yet, as counted since.
       CASE WHEN relation.reltuples > 0 THEN relation.reltuples::float8
            -- Of a partitioned table that was never analyzed, its parts tell.
            WHEN relation.relkind = 'p' THEN
                 (WITH RECURSIVE below AS (
                      SELECT inhrelid FROM pg_inherits WHERE inhparent = relation.oid
                      UNION ALL
                      SELECT deeper.inhrelid FROM pg_inherits AS deeper JOIN below ON deeper.inhparent = below.inhrelid)
                  SELECT coalesce(sum(CASE WHEN part.reltuples > 0 THEN part.reltuples
                                           ELSE pg_stat_get_live_tuples(part.oid) END), 0)::float8
                  FROM below JOIN pg_class AS part ON part.oid = below.inhrelid AND part.relkind <> 'p')
            ELSE pg_stat_get_live_tuples(relation.oid)::float8 END AS rows
FROM pg_constraint AS constraints
JOIN pg_class AS relation ON relation.oid = constraints.conrelid
JOIN pg_class AS parent ON parent.oid = constraints.confrelid
JOIN pg_namespace AS schema ON schema.oid = relation.relnamespace
WHERE constraints.contype = 'f'
  AND constraints.conparentid = 0
  AND NOT EXISTS (
      SELECT FROM pg_index AS index
      WHERE index.indrelid = constraints.conrelid
        AND index.indisvalid
        AND index.indnkeyatts >= cardinality(constraints.conkey)
        -- One of the rows whose column is not null is enough: a null refers to nothing.
        AND (index.indpred IS NULL
             OR cardinality(constraints.conkey) = 1
                AND index.indpred::text
                    ~ ('^\{NULLTEST .*:varattno ' || constraints.conkey[1] || ' .*:nulltesttype 1 '))
        AND (index.indkey::int2[])[0:cardinality(constraints.conkey) - 1] @> constraints.conkey)
ORDER BY rows DESC
LIMIT 100
