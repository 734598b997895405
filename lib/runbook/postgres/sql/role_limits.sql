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
        WHERE usesysid = role.oid AND backend_type = 'client backend') AS connections,
       -- What ALTER ROLE asks for: from 16 on CREATEROLE is not enough without ADMIN on the role; before, it does for all
       -- but superusers, and for the connections of those that replicate. Null: the operator's role is not known here.
       operator.rolname::text AS operator,
       operator.rolcreaterole AS creates_roles,
       operator.admin AS is_admin,
       operator.newer AS needs_admin,
       operator.rolsuper OR (operator.powerful AND NOT role.rolsuper AND (operator.newer OR NOT role.rolreplication))
           AS may_limit,
       operator.rolsuper OR operator.oid = role.oid OR (operator.powerful AND NOT role.rolsuper) AS may_set
FROM pg_roles AS role
LEFT JOIN LATERAL (
    SELECT each.*, version.newer, admin, each.rolcreaterole AND (admin OR NOT version.newer) AS powerful
    FROM pg_roles AS each,
         (SELECT current_setting('server_version_num')::int >= 160000 AS newer) AS version,
         pg_has_role(each.oid, role.oid, 'MEMBER WITH ADMIN OPTION') AS admin
    WHERE each.rolname = %(operator)s) AS operator ON true
WHERE role.rolname = %(name)s
