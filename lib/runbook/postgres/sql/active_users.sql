-- How many of the service's users have logged in within the hour, the day and the week?
SELECT count(*) AS users,
       count(last_login) AS ever,
       count(*) FILTER (WHERE last_login > now() - interval '1 hour') AS hour,
       count(*) FILTER (WHERE last_login > now() - interval '1 day') AS day,
       count(*) FILTER (WHERE last_login > now() - interval '7 days') AS week,
       max(last_login) AS newest
FROM users
WHERE is_active
