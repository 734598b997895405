-- Which sessions have had a transaction open the longest? (One empty row says that there is none.)
SELECT own.role,
       own.sees_all,
       session.pid,
       session.usename::text AS session_role,
       session.application_name AS application,
       session.state,
       extract(epoch FROM clock_timestamp() - session.xact_start)::float8 AS seconds,
       session.xact_start AS since,
       session.backend_start,
       left(session.query, 4001) AS query
FROM (SELECT current_user::text AS role,
             (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
                 OR pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_all) AS own
LEFT JOIN pg_stat_activity AS session
       ON session.backend_type = 'client backend'
      AND session.xact_start IS NOT NULL
      AND session.pid <> pg_backend_pid()
ORDER BY session.xact_start
LIMIT 20
