-- Forgets the bytes that are kept under an id.
-- KEYS: 1 its parts
-- ARGV: 1 id
-- Returns 1.
drop_parts(ARGV[1])
return 1
