-- Up to where has the primary written, and what does one of its slots hold?
SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text AS position,
       slot.slot_name IS NOT NULL AS has_slot,
       slot.active,
       CASE WHEN NOT pg_is_in_recovery()
            THEN pg_wal_lsn_diff(pg_current_wal_lsn(), slot.restart_lsn) END::float8 AS held_bytes
FROM (SELECT 1) AS one
LEFT JOIN pg_replication_slots AS slot ON slot.slot_name = %(slot)s
