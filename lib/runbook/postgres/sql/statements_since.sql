-- Since when does pg_stat_statements count, and how often has it forgotten statements since?
SELECT stats_reset AS since, dealloc AS forgotten, clock_timestamp() AS now FROM pg_stat_statements_info
