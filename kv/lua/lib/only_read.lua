#!lua flags=no-writes
-- The line above lets a replica carry a script out, and a primary that holds up writes.
