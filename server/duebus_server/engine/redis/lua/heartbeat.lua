-- A replica lives; which ones have not been heard of in time?
--
-- KEYS[1]  the replicas, by when they are to be taken for dead
-- ARGV     1..5 as in common.lua
--   6      how long its word holds, microseconds
-- returns  {whether it was heard of in time itself: KNOWN, UNKNOWN (never, or taken for dead) or LATE (nobody has noticed),
--           {dead replica, ...}}

local KNOWN, UNKNOWN, LATE = 0, 1, 2

regardless_of_memory()
local before = redis.call('ZSCORE', KEYS[1], REPLICA)
local heard = not before and UNKNOWN or tonumber(before) <= now and LATE or KNOWN
redis.call('ZADD', KEYS[1], whole(now + tonumber(ARGV[6])), REPLICA)
return { heard, redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', whole(now)) }
