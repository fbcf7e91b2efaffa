CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE broker_owner;
ALTER ROLE "{{name}}" SET role TO 'broker_owner';
GRANT "{{name}}" TO CURRENT_USER;
