-- Which tables hold rows, how large are they, and what are their columns and primary keys?
SELECT schema.nspname::text AS schema, t.relname::text AS name,
       format('%I.%I', schema.nspname, t.relname) AS written,
       pg_relation_size(t.oid, 'main') / current_setting('block_size')::bigint AS blocks,
       greatest(t.relpages, 0)::bigint AS counted,
       pg_total_relation_size(t.oid) AS bytes,
       pg_relation_filepath(t.oid)::text AS path,
       ARRAY(SELECT attname::text FROM pg_attribute
             WHERE attrelid = t.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
             ORDER BY attnum) AS columns,
       ARRAY(SELECT format('%I %s', attname, format_type(atttypid, atttypmod)) FROM pg_attribute
             WHERE attrelid = t.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
             ORDER BY attname) AS typed,
       ARRAY(SELECT attname::text FROM pg_index AS entry
             JOIN pg_attribute ON attrelid = t.oid AND attnum = ANY (entry.indkey::smallint[])
             WHERE entry.indrelid = t.oid AND entry.indisprimary
             ORDER BY attnum) AS key
FROM pg_class AS t
JOIN pg_namespace AS schema ON schema.oid = t.relnamespace
WHERE t.relkind = 'r' AND t.relpersistence IN ('p', 'u')
  AND schema.nspname NOT IN ('pg_catalog', 'information_schema', 'runbook_salvage')
ORDER BY bytes, written
