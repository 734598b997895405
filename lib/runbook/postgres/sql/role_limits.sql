-- How many connections may a role have, and after which time is an idle one ended, in this database?
SELECT current_database()::text AS database,
       role.rolname::text AS name,
       role.rolconnlimit AS connection_limit,
       role.rolsuper AS is_superuser,
       (SELECT split_part(setting, '=', 2)
        FROM pg_db_role_setting AS own
        CROSS JOIN LATERAL unnest(own.setconfig) AS setting
        WHERE own.setrole = role.oid
          AND own.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND split_part(setting, '=', 1) = 'idle_session_timeout') AS idle_session_timeout,
       (SELECT count(*) FROM pg_stat_activity
        WHERE usesysid = role.oid AND backend_type = 'client backend') AS connections
FROM pg_roles AS role
WHERE role.rolname = %(name)s
