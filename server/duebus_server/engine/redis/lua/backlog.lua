-- Counts the events of a group that are READY.
--
-- KEYS     topic, group
-- ARGV     1..5 as in common.lua
--   6      group
--   7      the server's max_retries, for leases that have run out
-- returns  {now, {session, tokens, ...} of leases that have ended, the number}
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases

regardless_of_memory()
local group = ARGV[6]
local ended = {}
expire_leases(group, ARGV[7], 1000, ended)
move_due(group)
local ready = 0
for _, name in ipairs(WAITING_SETS) do
  ready = ready + redis.call('ZCOUNT', group_key(group, name), '-inf', whole(now))
end
return { whole(now), announce_ended(group, ended), ready }
