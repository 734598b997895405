-- How much of the largest tables and B-tree indexes would be gone if they were written anew (an estimate)?
WITH tool AS (
    SELECT schema.nspname::text AS tool_schema,
           has_schema_privilege(schema.oid, 'USAGE') AND coalesce(bool_and(
               has_function_privilege(function.oid, 'EXECUTE')), false) AS callable
    FROM pg_extension AS extension
    JOIN pg_namespace AS schema ON schema.oid = extension.extnamespace
    LEFT JOIN pg_proc AS function ON function.pronamespace = schema.oid
                                 AND function.proname IN ('pgstattuple_approx', 'pgstatindex')
                                 AND function.proargtypes[0] = 'regclass'::regtype
    WHERE extension.extname = 'pgstattuple'
    GROUP BY schema.oid, schema.nspname
), tables AS (
    SELECT relation.* FROM pg_class AS relation JOIN pg_namespace AS schema ON schema.oid = relation.relnamespace
    WHERE relation.relkind IN ('r', 'm') AND relation.relpersistence <> 't' AND relation.relpages > 0
      AND schema.nspname NOT IN ('pg_catalog', 'information_schema')
    ORDER BY relation.relpages DESC, relation.oid
    LIMIT 20
), indexes AS (
    SELECT relation.*, entry.indrelid, entry.indkey
    FROM pg_class AS relation
    JOIN pg_index AS entry ON entry.indexrelid = relation.oid AND entry.indisvalid
    JOIN pg_am AS method ON method.oid = relation.relam AND method.amname = 'btree'
    JOIN pg_namespace AS schema ON schema.oid = relation.relnamespace
    WHERE relation.relkind = 'i' AND relation.relpersistence <> 't' AND relation.relpages > 1
      AND schema.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
    ORDER BY relation.relpages DESC, relation.oid
    LIMIT 20
), widths AS (
    -- What a row of each takes: the columns' average widths, which the view shows to those who may read the columns.
    SELECT tables.oid, count(*) AS columns, count(stats.avg_width) AS known, max(stats.null_frac) AS null_frac,
           sum((1 - stats.null_frac) * stats.avg_width) AS width
    FROM tables
    JOIN pg_namespace AS schema ON schema.oid = tables.relnamespace
    JOIN pg_attribute AS attribute ON attribute.attrelid = tables.oid AND attribute.attnum > 0
                                  AND NOT attribute.attisdropped
    LEFT JOIN pg_stats AS stats ON stats.schemaname = schema.nspname AND stats.tablename = tables.relname
                               AND stats.attname = attribute.attname AND NOT stats.inherited
    GROUP BY tables.oid
    UNION ALL
    SELECT indexes.oid, count(*), count(stats.avg_width), max(stats.null_frac),
           sum((1 - stats.null_frac) * stats.avg_width)
    FROM indexes
    JOIN pg_namespace AS schema ON schema.oid = indexes.relnamespace
    CROSS JOIN LATERAL unnest(indexes.indkey::int2[]) WITH ORDINALITY AS part(attnum, place)
    -- An expression has its statistics under the index's own name.
    JOIN pg_class AS owner ON owner.oid = CASE WHEN part.attnum = 0 THEN indexes.oid ELSE indexes.indrelid END
    JOIN pg_attribute AS attribute ON attribute.attrelid = owner.oid
                                  AND attribute.attnum = CASE WHEN part.attnum = 0 THEN part.place ELSE part.attnum END
    LEFT JOIN pg_stats AS stats ON stats.schemaname = schema.nspname AND stats.tablename = owner.relname
                               AND stats.attname = attribute.attname AND NOT stats.inherited
    GROUP BY indexes.oid
), measured AS (
    SELECT 'table' AS kind, tables.oid, tables.relname, tables.relnamespace, tables.oid AS heap, tables.relpages,
           tables.reltuples, tables.reloptions, 100 AS fillfactor, 24 AS page_overhead,
           -- Header of a row, with its bitmap of nulls, and its data, both at whole eights, and its pointer.
           4 + 8 * ceil((23 + CASE WHEN widths.null_frac > 0 THEN (7 + widths.columns) / 8 ELSE 0 END) / 8.0)
             + 8 * ceil(widths.width / 8) AS row_bytes,
           widths.columns = widths.known AS known
    FROM tables JOIN widths USING (oid)
    UNION ALL
    SELECT 'index', indexes.oid, indexes.relname, indexes.relnamespace, indexes.indrelid, indexes.relpages,
           indexes.reltuples, indexes.reloptions, 90, 40,
           4 + CASE WHEN widths.null_frac > 0 THEN 16 ELSE 8 END + 8 * ceil(widths.width / 8),
           widths.columns = widths.known
    FROM indexes JOIN widths USING (oid)
)
SELECT current_user::text AS role, measured.kind, measured.oid::bigint AS relation_oid,
       quote_ident(schema.nspname) || '.' || quote_ident(measured.relname) AS relation_name,
       quote_ident(heap_schema.nspname) || '.' || quote_ident(heap.relname) AS table_name,
       measured.relpages::bigint * page.bytes AS bytes,
       options.fillfactor,
       CASE WHEN measured.known AND measured.reltuples >= 0 THEN
           greatest(0, measured.relpages - CASE measured.kind WHEN 'index' THEN 1 ELSE 0 END
               - ceil(measured.reltuples * measured.row_bytes * 100
                      / ((page.bytes - measured.page_overhead) * options.fillfactor)))::float8 * page.bytes
       END AS wasted_bytes,
       tool.tool_schema, coalesce(tool.callable, false) AS callable,
       EXISTS (SELECT FROM pg_locks
               WHERE pg_locks.relation IN (measured.oid, measured.heap) AND mode = 'AccessExclusiveLock'
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS locked
FROM (SELECT current_setting('block_size')::bigint AS bytes) AS page
LEFT JOIN measured ON true
LEFT JOIN LATERAL (
    SELECT coalesce(max(option_value::int), measured.fillfactor) AS fillfactor
    FROM pg_options_to_table(measured.reloptions) WHERE option_name = 'fillfactor') AS options ON true
LEFT JOIN tool ON true
LEFT JOIN pg_namespace AS schema ON schema.oid = measured.relnamespace
LEFT JOIN pg_class AS heap ON heap.oid = measured.heap
LEFT JOIN pg_namespace AS heap_schema ON heap_schema.oid = heap.relnamespace
ORDER BY wasted_bytes DESC NULLS LAST, bytes DESC, relation_name
