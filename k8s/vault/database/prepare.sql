-- Run once, as the database's owner: makes the role that owns the history whichever user is logged in, and the role that makes logins.
-- psql -v password=… -f prepare.sql broker
CREATE ROLE broker_owner NOLOGIN;
CREATE ROLE vault LOGIN CREATEROLE PASSWORD :'password';
GRANT broker_owner TO vault WITH ADMIN OPTION;
GRANT CREATE, USAGE ON SCHEMA public TO broker_owner;
