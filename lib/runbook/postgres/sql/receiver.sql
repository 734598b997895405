-- Does this standby receive and replay what its primary writes?
SELECT own.role,
       own.sees_all,
       own.in_recovery,
       receiver.pid IS NOT NULL AS has_receiver,
       receiver.status AS receiver,
       receiver.slot_name::text AS slot,
       extract(epoch FROM clock_timestamp() - receiver.last_msg_receipt_time)::float8 AS silent_seconds,
       -- Never the setting itself, in which a password may stand.
       own.sees_all AND coalesce((SELECT setting <> '' FROM pg_settings WHERE name = 'primary_conninfo'), false)
           AS should_stream,
       CASE WHEN own.in_recovery THEN pg_is_wal_replay_paused() ELSE false END AS paused,
       pg_last_wal_receive_lsn()::text AS received,
       pg_last_wal_replay_lsn()::text AS replayed,
       greatest(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), 0)::float8 AS waiting_bytes,
       -- With the primary's position, where the caller knows it. (Of a null, greatest() would make 0.)
       CASE WHEN %(primary)s::pg_lsn IS NOT NULL AND pg_last_wal_replay_lsn() IS NOT NULL
            THEN greatest(pg_wal_lsn_diff(%(primary)s::pg_lsn, pg_last_wal_replay_lsn()), 0) END::float8 AS behind_bytes,
       -- Of the last transaction: without the other figures it says nothing, since a primary may just be idle.
       extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 AS replayed_seconds
FROM (SELECT current_user::text AS role,
             (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
                 OR pg_has_role(current_user, 'pg_monitor', 'USAGE') AS sees_all,
             pg_is_in_recovery() AS in_recovery) AS own
LEFT JOIN pg_stat_wal_receiver AS receiver ON true
