-- Has this index been rebuilt, so that another one has its name? (Nothing is told while a build is at work.)
SELECT CASE WHEN EXISTS (SELECT FROM pg_stat_progress_create_index WHERE relid = %(table_oid)s::oid) THEN NULL
            ELSE to_regclass(%(index)s::text)::oid <> %(oid)s::oid END AS happened
