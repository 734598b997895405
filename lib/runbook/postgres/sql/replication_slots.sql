-- Which replication slots are there, are they used, and how much WAL does each one hold?
-- Through jsonb, since the view has more columns from 16 (conflicting) and 17 on (inactive_since, invalidation_reason,
-- synced): what a server does not know is null.
SELECT slot.slot_name::text AS slot,
       slot.slot_type AS kind,
       slot.database::text AS database,
       slot.active,
       slot.active_pid,
       slot.restart_lsn IS NOT NULL OR slot.xmin IS NOT NULL OR slot.catalog_xmin IS NOT NULL AS holds,
       -- (Of a null, greatest() would make 0.)
       CASE WHEN slot.restart_lsn IS NOT NULL
            THEN greatest(pg_wal_lsn_diff(own.position, slot.restart_lsn), 0) END::float8 AS held_bytes,
       slot.wal_status,
       slot.safe_wal_size::float8 AS safe_bytes,
       coalesce((told->>'conflicting')::bool, false) AS conflicting,
       coalesce((told->>'synced')::bool, false) AS synced,
       (told->>'inactive_since')::timestamptz AS inactive_since,
       told->>'invalidation_reason' AS invalidation_reason
FROM pg_replication_slots AS slot
CROSS JOIN LATERAL to_jsonb(slot) AS told
CROSS JOIN (SELECT CASE WHEN pg_is_in_recovery()
                        THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                        ELSE pg_current_wal_lsn() END AS position) AS own
ORDER BY slot.active, held_bytes DESC NULLS LAST, slot.slot_name
