-- Which lines of pg_hba.conf let whom in from where, and how, as they are written now?
SELECT line_number, type::text AS type, array_to_string(database, ',') AS databases,
       array_to_string(user_name, ',') AS users, coalesce(address, '') AS address, coalesce(netmask, '') AS netmask,
       coalesce(auth_method, '') AS method, coalesce(error, '') AS error
FROM pg_hba_file_rules
ORDER BY line_number
