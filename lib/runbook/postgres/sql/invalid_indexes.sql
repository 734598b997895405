-- Which indexes does no query use because they are not valid, and is one of them just being built?
SELECT schema.nspname::text AS schema,
       relation.relname::text AS "table",
       index.relname::text AS index,
       found.indisunique AS is_unique,
       found.indisready AS is_written,
       index.relkind = 'I' AS is_partitioned,
       index.relpages * current_setting('block_size')::int8 AS bytes,
       -- A build tells which index it is at, but REINDEX CONCURRENTLY makes all those of a table first; a drop tells nothing,
       -- and holds this lock.
       EXISTS (SELECT FROM pg_stat_progress_create_index AS building
               WHERE building.relid = found.indrelid AND building.datname = current_database())
           OR EXISTS (SELECT FROM pg_locks
                      WHERE relation = found.indexrelid AND mode = 'ShareUpdateExclusiveLock' AND granted
                        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS in_progress
FROM pg_index AS found
JOIN pg_class AS index ON index.oid = found.indexrelid
JOIN pg_class AS relation ON relation.oid = found.indrelid
JOIN pg_namespace AS schema ON schema.oid = relation.relnamespace
WHERE NOT found.indisvalid
ORDER BY index.relpages DESC
LIMIT 100
