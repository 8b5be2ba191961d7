-- Notes when to check whether an ephemeral group can be removed, or drops the note.
--
-- KEYS[1]  the notes
-- ARGV     1..5 as in common.lua
--   6      partition and group
--   7      when to check, microseconds; '' to drop the note
--   8      drop it only if it has this time: otherwise it was renewed meanwhile
-- returns  nothing
-- runs on closed partitions too

if ARGV[7] ~= '' then
  regardless_of_memory()
  redis.call('ZADD', KEYS[1], ARGV[7], ARGV[6])
elseif tonumber(redis.call('ZSCORE', KEYS[1], ARGV[6]) or -1) == tonumber(ARGV[8]) then
  redis.call('ZREM', KEYS[1], ARGV[6])
end
