-- Who is the session of this process id, and what does it do?
SELECT session.pid,
       session.backend_start::text AS backend_start,
       session.usename::text AS session_role,
       session.application_name AS application,
       session.datname::text AS database,
       coalesce(host(session.client_addr), 'the local socket') AS client,
       session.backend_type,
       session.state,
       session.xact_start::text AS xact_start,
       extract(epoch FROM clock_timestamp() - session.xact_start)::float8 AS transaction_seconds,
       extract(epoch FROM clock_timestamp() - session.state_change)::float8 AS state_seconds,
       left(session.query, 4001) AS query
FROM pg_stat_activity AS session
WHERE session.pid = %(pid)s
