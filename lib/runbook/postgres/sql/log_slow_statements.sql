-- From which duration on are statements logged, who has set that, and may the operator set it?
SELECT setting.setting::int AS milliseconds,
       -- Null where the role may not see it.
       setting.sourcefile ~ '/postgresql\.auto\.conf$' AS by_alter_system,
       setting.source,
       -- What takes the place of the configuration's value, here or for one role, as the statement that takes it back.
       (SELECT string_agg(
            'ALTER ' || CASE WHEN own.setrole = 0 AND own.setdatabase <> 0 THEN ''
                             ELSE 'ROLE ' || coalesce(quote_ident(role.rolname), 'ALL')
                                  || CASE WHEN own.setdatabase <> 0 THEN ' IN ' ELSE '' END END
                     || CASE WHEN own.setdatabase <> 0 THEN 'DATABASE ' || quote_ident(current_database()) ELSE '' END
                     || ' RESET log_min_duration_statement', '; ' ORDER BY own.setrole, own.setdatabase)
        FROM pg_db_role_setting AS own
        LEFT JOIN pg_roles AS role ON role.oid = own.setrole
        WHERE own.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
          AND EXISTS (SELECT FROM unnest(own.setconfig) AS one
                      WHERE split_part(one, '=', 1) = 'log_min_duration_statement')) AS overrides,
       pg_has_role(current_user, 'pg_read_all_settings', 'USAGE') AS sees_source,
       pg_conf_load_time() AS loaded,
       operator.rolname::text AS operator,
       operator.rolsuper
           -- There are such rights from 15 on.
           OR has_parameter_privilege(operator.oid, 'log_min_duration_statement', 'ALTER SYSTEM') AS may_set,
       has_function_privilege(operator.oid, 'pg_reload_conf()', 'EXECUTE') AS may_reload
FROM pg_settings AS setting
LEFT JOIN pg_roles AS operator ON operator.rolname = %(operator)s
WHERE setting.name = 'log_min_duration_statement'
