-- Which users of the service are administrators, and since when do they exist?
SELECT username::text, is_active, created_at, last_login
FROM users
WHERE role = 'admin'
ORDER BY created_at DESC
