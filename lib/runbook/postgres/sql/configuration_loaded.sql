-- Has the configuration been loaded since the step was begun?
SELECT pg_conf_load_time() >= %(begun)s::timestamptz AS loaded
