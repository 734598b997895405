-- How far are the databases, and the oldest tables of this one, from running out of transaction and multixact ids?
(SELECT 'database' AS kind, datname::text AS name, age(datfrozenxid) AS transactions,
        mxid_age(datminmxid) AS multixacts, NULL::bigint AS bytes, datname = current_database() AS here
 FROM pg_database
 ORDER BY greatest(age(datfrozenxid), mxid_age(datminmxid)) DESC, datname
 LIMIT 50)
UNION ALL
(SELECT 'table',
        -- A table's own TOAST is named after it.
        quote_ident(schema.nspname) || '.' || quote_ident(coalesce(owner.relname, relation.relname))
            || CASE WHEN owner.relname IS NULL THEN '' ELSE ' (TOAST)' END,
        age(relation.relfrozenxid), mxid_age(relation.relminmxid),
        relation.relpages::bigint * current_setting('block_size')::bigint, true
 FROM (SELECT * FROM pg_class
       WHERE relkind IN ('r', 'm', 't') AND relfrozenxid <> '0'
       ORDER BY greatest(age(relfrozenxid), mxid_age(relminmxid)) DESC, relpages DESC
       LIMIT 10) AS relation
 LEFT JOIN pg_class AS owner ON relation.relkind = 't' AND owner.reltoastrelid = relation.oid
 JOIN pg_namespace AS schema ON schema.oid = coalesce(owner.relnamespace, relation.relnamespace))
