-- A replica lives; which ones have not been heard of in time?
--
-- KEYS[1]  the replicas, by when they are to be taken for dead
-- ARGV     1..5 as in common.lua
--   6      how long its word holds, microseconds
-- returns  {the replica was not known, or no longer (0, 1), {dead replica, ...}}

regardless_of_memory()
local new = redis.call('ZADD', KEYS[1], whole(now + tonumber(ARGV[6])), REPLICA)
return { new, redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', whole(now)) }
