-- What keeps vacuum from removing dead rows: sessions, slots, prepared transactions, standbys?
WITH holder AS (
    SELECT 'session' AS kind, 'pid ' || session.pid AS name,
           coalesce(nullif(session.application_name, ''),
                    nullif(session.backend_type, 'client backend')) AS application,
           session.usename::text AS session_role, session.datname::text AS database, session.state,
           greatest(age(session.backend_xmin), age(session.backend_xid)) AS transactions,
           session.xact_start AS since, session.backend_start,
           left(session.query, 4001) AS query
    FROM pg_stat_activity AS session
    -- What a standby's sender holds is told by its own view; a vacuum holds no other one back.
    WHERE session.backend_type NOT IN ('walsender', 'parallel worker')
      AND session.pid <> pg_backend_pid()
      AND NOT EXISTS (SELECT FROM pg_stat_progress_vacuum AS vacuum WHERE vacuum.pid = session.pid)
    UNION ALL
    SELECT 'replication slot', slot.slot_name::text, slot.slot_type, NULL, slot.database::text,
           CASE WHEN slot.active THEN 'active' ELSE 'inactive' END
               -- A logical slot keeps the catalogs' rows only; a physical one tells what its standby asked to keep.
               || CASE WHEN slot.xmin IS NULL THEN ', keeps rows of the catalogs' ELSE ', keeps rows of all tables' END,
           greatest(age(slot.xmin), age(slot.catalog_xmin)), NULL, NULL, NULL
    FROM pg_replication_slots AS slot
    UNION ALL
    SELECT 'prepared transaction', prepared.gid, NULL, prepared.owner::text, prepared.database::text, 'prepared',
           age(prepared.transaction), prepared.prepared, NULL, NULL
    FROM pg_prepared_xacts AS prepared
    UNION ALL
    SELECT 'standby feedback', coalesce(host(standby.client_addr), 'local') || ' (pid ' || standby.pid || ')',
           standby.application_name, standby.usename::text, NULL, standby.state, age(standby.backend_xmin),
           NULL, standby.backend_start, NULL
    FROM pg_stat_replication AS standby
)
SELECT holder.*,
       holder.database IS NOT DISTINCT FROM current_database()::text OR holder.database IS NULL AS here
FROM holder
WHERE holder.transactions IS NOT NULL
ORDER BY holder.transactions DESC, holder.kind, holder.name
LIMIT 20
