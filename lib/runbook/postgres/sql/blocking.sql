-- Which sessions wait for a lock, and which sessions keep them waiting? (One row for each pair, and each root once.)
WITH waiting AS (
    -- Only of sessions that wait: the function holds up the whole lock manager for a moment each time.
    SELECT session.pid, blocker
    FROM pg_stat_activity AS session
    CROSS JOIN LATERAL unnest(pg_blocking_pids(session.pid)) AS blocker
    WHERE session.wait_event_type = 'Lock'
), wanted AS (
    -- A session waits for one lock at a time. From 14 on it is known since when.
    SELECT DISTINCT ON (lock.pid) lock.pid, lock.locktype, lock.mode, lock.waitstart, relation.relname::text AS relation
    FROM pg_locks AS lock
    LEFT JOIN pg_class AS relation
           ON relation.oid = lock.relation
          AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    WHERE NOT lock.granted
    ORDER BY lock.pid
), shown AS (
    SELECT pid, array_agg(DISTINCT blocker) AS blocked_by FROM waiting GROUP BY pid
    UNION ALL
    SELECT DISTINCT blocker, '{}'::int[] FROM waiting WHERE blocker NOT IN (SELECT pid FROM waiting)
)
SELECT shown.pid,
       shown.blocked_by,
       session.usename::text AS session_role,
       session.application_name AS application,
       session.datname::text AS database,
       session.state,
       session.backend_type,
       session.backend_start,
       extract(epoch FROM clock_timestamp() - session.xact_start)::float8 AS transaction_seconds,
       extract(epoch FROM clock_timestamp() - session.state_change)::float8 AS state_seconds,
       extract(epoch FROM clock_timestamp() - wanted.waitstart)::float8 AS waits,
       wanted.mode,
       coalesce(wanted.relation, wanted.locktype) AS lock,
       left(session.query, 4001) AS query
FROM shown
LEFT JOIN pg_stat_activity AS session ON session.pid = shown.pid
LEFT JOIN wanted ON wanted.pid = shown.pid AND cardinality(shown.blocked_by) > 0
ORDER BY waits DESC NULLS LAST
