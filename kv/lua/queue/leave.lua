-- Keeps the next part of the bytes that a job leaves, together with how far its attempt is.
-- KEYS: 1 job, 2 the job's parts, 3 this part
-- ARGV: 1 id, 2 worker, 3 number of the claim, 4 percent, 5 message, 6 checkpoint (as for report.lua),
--       7 number of the part, from 0, 8 its bytes, 9 how many they were before they were compressed,
--       10 seconds for which they are kept at least, 11 bytes that all of them may have
-- Returns 1, 0 where the attempt is not the worker's any more, or -1 where there would be too many bytes.
if not is_held(ARGV[1], ARGV[2], ARGV[3]) then return 0 end
if not keep_part(ARGV[1], tonumber(ARGV[7]), ARGV[8], ARGV[9], ARGV[10], tonumber(ARGV[11])) then return -1 end
note(ARGV[1], ARGV[4], ARGV[5], ARGV[6])
return 1
