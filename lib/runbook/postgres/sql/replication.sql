-- Which standbys follow this server, and how far are they behind? (One row without a standby says that there is none.)
SELECT own.in_recovery,
       own.synchronous,
       standby.pid,
       standby.application_name AS name,
       coalesce(host(standby.client_addr), 'local socket') AS client,
       standby.state,
       standby.sync_state,
       pg_wal_lsn_diff(own.position, standby.sent_lsn)::float8 AS sent_bytes,
       pg_wal_lsn_diff(own.position, standby.write_lsn)::float8 AS write_bytes,
       pg_wal_lsn_diff(own.position, standby.flush_lsn)::float8 AS flush_bytes,
       pg_wal_lsn_diff(own.position, standby.replay_lsn)::float8 AS replay_bytes,
       -- Null where nothing is under way: a standby that has caught up and is idle.
       extract(epoch FROM standby.replay_lag)::float8 AS seconds
FROM (SELECT pg_is_in_recovery() AS in_recovery,
             current_setting('synchronous_standby_names') AS synchronous,
             -- A standby hands on what it has received: pg_current_wal_lsn() is refused there.
             CASE WHEN pg_is_in_recovery()
                  THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                  ELSE pg_current_wal_lsn() END AS position) AS own
LEFT JOIN pg_stat_replication AS standby ON true
ORDER BY replay_bytes DESC NULLS LAST, standby.pid
