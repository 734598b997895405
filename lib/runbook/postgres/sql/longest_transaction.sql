-- Which sessions have had a transaction open the longest?
SELECT session.pid,
       session.usename::text AS session_role,
       session.application_name AS application,
       session.state,
       extract(epoch FROM clock_timestamp() - session.xact_start)::float8 AS seconds,
       session.xact_start AS since,
       session.backend_start,
       left(session.query, 4001) AS query
FROM pg_stat_activity AS session
WHERE session.backend_type = 'client backend'
  AND session.xact_start IS NOT NULL
  AND session.pid <> pg_backend_pid()
ORDER BY session.xact_start
LIMIT 20
