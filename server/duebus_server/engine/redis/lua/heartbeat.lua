-- Records that a replica is alive, which layouts it reads and how many streams it has, and finds the replicas that are
-- overdue.
--
-- KEYS[1]  the replicas; score: when the others consider them dead
-- KEYS[2]  the newest layout that each of them reads
-- KEYS[3]  the number of the layout that is written
-- KEYS[4]  how many streams each replica has
-- KEYS[5]  what each replica tells about itself: when it was first alive, then what it says
-- ARGV     1..5 as in common.lua
--   6      for how long it counts as alive, microseconds
--   7, 8   the oldest and the newest layout that it reads
--   9      the layout to write if Redis has none
--   10     how many streams it has; empty: it drains, and takes none any more
--   11     what it says about itself: version, host and process
-- returns  {whether this replica was on time: KNOWN, UNKNOWN (never seen, or considered dead) or LATE (more than half
--           of that time has passed since its last heartbeat), {dead replica, ...}, the layout that is written now, how
--           many other replicas are alive and told their streams, how many streams these have together}; a replica that
--           does not read that layout does not count as alive

local KNOWN, UNKNOWN, LATE = 0, 1, 2

local layout = redis.call('GET', KEYS[3])
local number = tonumber(layout or ARGV[9])
local before = redis.call('ZSCORE', KEYS[1], REPLICA)
local status = not before and UNKNOWN or tonumber(before) - now <= tonumber(ARGV[6]) / 2 and LATE or KNOWN
if not number or number < tonumber(ARGV[7]) or number > tonumber(ARGV[8]) then
  return { status, {}, layout, 0, 0 }
end

regardless_of_memory()
redis.call('HSET', KEYS[2], REPLICA, ARGV[8])
if ARGV[10] == '' then
  redis.call('HDEL', KEYS[4], REPLICA)
else
  redis.call('HSET', KEYS[4], REPLICA, ARGV[10])
end
if status == UNKNOWN then
  redis.call('HSETNX', KEYS[5], REPLICA, whole(now) .. ' ' .. ARGV[11])
end
redis.call('ZADD', KEYS[1], whole(now + tonumber(ARGV[6])), REPLICA)

-- When every replica that is alive reads a newer layout, that one is written from now on.
local read_by_all, others, streams = tonumber(ARGV[8]), 0, 0
for _, replica in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. whole(now), '+inf')) do
  read_by_all = math.min(read_by_all, tonumber(redis.call('HGET', KEYS[2], replica) or number))
  local told = replica ~= REPLICA and tonumber(redis.call('HGET', KEYS[4], replica) or nil)
  if told then
    others, streams = others + 1, streams + told
  end
end
if not layout or read_by_all > number then
  number = layout and read_by_all or number
  redis.call('SET', KEYS[3], number)
end
return { status, redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', whole(now)), tostring(number), others, streams }
