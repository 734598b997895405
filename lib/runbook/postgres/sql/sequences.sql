-- Which column does each sequence feed, and how far can both count?
WITH feeds AS (
    -- serial and identity columns own their sequence; any other column uses one by its default.
    SELECT objid AS sequence, refobjid AS relation, refobjsubid AS attnum
    FROM pg_depend
    WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass
      AND deptype IN ('a', 'i') AND refobjsubid > 0
    UNION
    SELECT used.refobjid, def.adrelid, def.adnum
    FROM pg_depend AS used JOIN pg_attrdef AS def ON def.oid = used.objid
    WHERE used.classid = 'pg_attrdef'::regclass AND used.refclassid = 'pg_class'::regclass
), small (type, most) AS (
    VALUES ('int2'::regtype, 32767), ('int4'::regtype, 2147483647)
), referring AS MATERIALIZED (
    -- A key may fit where the columns that refer to it do not: of those the one that holds the least.
    SELECT DISTINCT ON (key.confrelid, pair.refers_to) key.confrelid AS relation, pair.refers_to AS attnum, small.most,
           quote_ident(schema.nspname) || '.' || quote_ident(other.relname) || '.' || quote_ident(attribute.attname)
               AS column_name
    FROM pg_constraint AS key
    CROSS JOIN LATERAL unnest(key.conkey, key.confkey) AS pair(attnum, refers_to)
    JOIN pg_attribute AS attribute ON attribute.attrelid = key.conrelid AND attribute.attnum = pair.attnum
    JOIN small ON small.type = attribute.atttypid
    JOIN pg_class AS other ON other.oid = key.conrelid
    JOIN pg_namespace AS schema ON schema.oid = other.relnamespace
    WHERE key.contype = 'f'
    ORDER BY key.confrelid, pair.refers_to, small.most, other.relname, attribute.attname
)
SELECT schema.nspname::text AS schema, relation.relname::text AS sequence,
       quote_ident(schema.nspname) || '.' || quote_ident(relation.relname) AS sequence_name,
       quote_ident(holder.nspname) || '.' || quote_ident(fed.relname) || '.' || quote_ident(attribute.attname)
           AS column_name,
       format_type(attribute.atttypid, NULL) AS column_type,
       small.most AS column_max,
       CASE WHEN small.most IS NULL OR referring.most < small.most THEN referring.column_name END AS narrower,
       referring.most AS narrower_max,
       counter.seqmin, counter.seqmax, counter.seqincrement AS increment, counter.seqcycle AS cycles,
       has_schema_privilege(schema.oid, 'USAGE') AND has_sequence_privilege(relation.oid, 'SELECT') AS readable,
       CASE WHEN NOT has_schema_privilege(schema.oid, 'USAGE') THEN quote_ident(schema.nspname) END AS closed_schema,
       EXISTS (SELECT FROM pg_locks
               WHERE pg_locks.relation = counter.seqrelid AND mode = 'AccessExclusiveLock'
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS locked
FROM pg_sequence AS counter
JOIN pg_class AS relation ON relation.oid = counter.seqrelid AND relation.relpersistence <> 't'
JOIN pg_namespace AS schema ON schema.oid = relation.relnamespace
LEFT JOIN feeds ON feeds.sequence = counter.seqrelid
LEFT JOIN pg_class AS fed ON fed.oid = feeds.relation
LEFT JOIN pg_namespace AS holder ON holder.oid = fed.relnamespace
LEFT JOIN pg_attribute AS attribute ON attribute.attrelid = feeds.relation AND attribute.attnum = feeds.attnum
LEFT JOIN small ON small.type = attribute.atttypid
LEFT JOIN referring ON referring.relation = feeds.relation AND referring.attnum = feeds.attnum
-- Those that can fill their column come first.
ORDER BY small.most IS NULL AND referring.most IS NULL, coalesce(fed.relpages, 0) DESC, sequence_name, column_name
LIMIT 20000
