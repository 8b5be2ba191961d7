-- LEASED -> READY or DEAD: ends the leases of a group that have run out, and returns when the next event is due.
--
-- KEYS     topic, group
-- ARGV     1..5 as in common.lua
--   6      group
--   7      the server's max_retries
-- returns  {now, {session, tokens, ...} of leases that have ended, the next expiry or -1, next due or -1}
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases

local LIMIT = 1000

regardless_of_memory()
local group = ARGV[6]
local ended = {}
expire_leases(group, ARGV[7], LIMIT, ended)
local report = announce_ended(group, ended)
wake(group, next_due(group))
local first = redis.call('ZRANGE', group_key(group, 'leased'), 0, 0, 'WITHSCORES')
return { whole(now), report, first[2] or -1, answer_time(next_due(group)) }
