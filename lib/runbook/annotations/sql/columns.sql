-- Which columns do the service's tables have, and which of them may this role read?
SELECT c.relname::text AS "table", a.attname::text AS "column",
       has_column_privilege(c.oid, a.attnum, 'SELECT') AND has_schema_privilege(c.relnamespace, 'USAGE') AS readable,
       quote_ident(current_user) AS role
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.oid = ANY (ARRAY[to_regclass('documents'), to_regclass('sentences'), to_regclass('candidates'),
                         to_regclass('triage_items'), to_regclass('gold_annotations')]::oid[])
