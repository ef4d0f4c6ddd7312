-- Keeps the next part of an input for jobs.
-- KEYS: 1 its parts, 2 this part
-- ARGV: 1 id, 2 number of the part, from 0, 3 its bytes, 4 how many they were before they were compressed,
--       5 seconds for which they are kept, 6 bytes that all of them may have, 7 whether it is the last ('1' or '0')
-- Returns 1, or 0 where there would be too many bytes.
if not keep_part(ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])) then return 0 end
if ARGV[7] == '1' then keep_parts(ARGV[1], ARGV[5]) end
return 1
