-- From which duration on are statements logged, who has set that, and may the operator set it?
SELECT setting.setting::int AS milliseconds,
       -- Null where the role may not see it.
       setting.sourcefile ~ '/postgresql\.auto\.conf$' AS by_alter_system,
       setting.source,
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
