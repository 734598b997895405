-- Which primary keys of a small integer type does no sequence feed, so that only their highest value tells?
SELECT schema.nspname::text AS schema, relation.relname::text AS relation, attribute.attname::text AS attribute,
       quote_ident(schema.nspname) || '.' || quote_ident(relation.relname) || '.' || quote_ident(attribute.attname)
           AS column_name,
       quote_ident(schema.nspname) || '.' || quote_ident(relation.relname) AS table_name,
       format_type(attribute.atttypid, NULL) AS column_type,
       CASE WHEN NOT has_schema_privilege(schema.oid, 'USAGE') THEN quote_ident(schema.nspname) END AS closed_schema,
       CASE attribute.atttypid WHEN 'int2'::regtype THEN 32767 ELSE 2147483647 END AS column_max,
       has_schema_privilege(schema.oid, 'USAGE')
           AND has_column_privilege(relation.oid, attribute.attnum, 'SELECT')
           AND NOT row_security_active(relation.oid) AS readable,
       EXISTS (SELECT FROM pg_locks
               WHERE pg_locks.relation IN (relation.oid, key.indexrelid) AND mode = 'AccessExclusiveLock'
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS locked
FROM pg_index AS key
JOIN pg_class AS relation ON relation.oid = key.indrelid AND relation.relkind = 'r' AND relation.relpersistence <> 't'
JOIN pg_namespace AS schema ON schema.oid = relation.relnamespace
JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid AND attribute.attnum = key.indkey[0]
WHERE key.indisprimary AND key.indisvalid AND attribute.atttypid IN ('int2'::regtype, 'int4'::regtype)
  AND schema.nspname NOT IN ('pg_catalog', 'information_schema')
  AND NOT EXISTS (SELECT FROM pg_depend
                  WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass
                    AND deptype IN ('a', 'i') AND refobjid = relation.oid AND refobjsubid = attribute.attnum)
  AND NOT EXISTS (SELECT FROM pg_attrdef AS def
                  JOIN pg_depend AS used ON used.classid = 'pg_attrdef'::regclass AND used.objid = def.oid
                  JOIN pg_sequence AS counter ON counter.seqrelid = used.refobjid
                  WHERE def.adrelid = relation.oid AND def.adnum = attribute.attnum)
ORDER BY relation.relpages DESC, column_name
LIMIT 2000
