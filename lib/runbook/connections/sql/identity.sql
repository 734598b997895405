-- Which server, database and role is this, and what time does it think it is?
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::int AS version_num,
       current_database() AS database,
       current_user::text AS role,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
       -- Without it, pg_stat_activity and its like hide what other roles do.
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
           OR pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_all,
       pg_is_in_recovery() AS in_recovery,
       -- Set for everybody; where the role alone is read-only, as the runbook's may be, that says nothing.
       (SELECT setting = 'on' AND source NOT IN ('user', 'database user', 'session', 'client') FROM pg_settings
        WHERE name = 'default_transaction_read_only') AS read_only,
       clock_timestamp() AS clock
