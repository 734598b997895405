-- Does the database that the application uses answer a query? (pg_isready would say yes with every slot taken.)
SELECT 1 AS answer
