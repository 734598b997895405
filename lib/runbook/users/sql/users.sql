-- Which users of the service does the database hold, and may they enter?
SELECT id::text, username::text, email::text, role::text, is_active, created_at, last_login
FROM users
ORDER BY username
LIMIT %(most)s
