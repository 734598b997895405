-- Does the server read its configuration anew? (It takes effect in each session before its next statement.)
SELECT pg_reload_conf() AS reloaded
