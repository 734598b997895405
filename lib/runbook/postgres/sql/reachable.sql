-- Does the database that the application uses answer a query? (pg_isready would say yes with every slot taken.)
SELECT 1 AS answer,
       pg_is_in_recovery() AS in_recovery,
       setting = 'on' AS read_only,
       source AS read_only_by
FROM pg_settings WHERE name = 'default_transaction_read_only'
