-- When was the server started, and when was its configuration read last?
SELECT pg_postmaster_start_time() AS started,
       pg_conf_load_time() AS reloaded
