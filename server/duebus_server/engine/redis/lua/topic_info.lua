-- includes leases
-- A topic and its groups from outside; O(groups + subscribers).
--
-- KEYS[1]  the topic's events
-- ARGV     1..5 as in common.lua
--   6      max_retries of the policy, for leases that have run out
-- returns  {now, {session, tokens, ...} of leases that have ended, queued, {group, ...}}, a group: {name, paused (0, 1), scheduled, ready, leased, dead,
--          time since which the first has been ready or -1, {session id, consumer, connected at, in flight, ...},
--          {dispatched, delivered, acked, nacked, each in events a second over the last minute}}; false when there
--          is no such topic

local KINDS = { 'dispatched', 'delivered', 'acked', 'nacked' }
local BUCKET = 10000000
local BUCKETS = 6

local function subscribers(group)
  local flat = redis.call('HGETALL', group_key(group, 'sessions'))
  local found = {}
  for i = 1, #flat, 2 do
    local info = unpack_fields(flat[i + 1], 3) or { flat[i], '', 0 }
    local in_flight = tonumber(redis.call('HGET', group_key(group, 'in_flight'), flat[i]) or 0)
    for _, value in ipairs({ info[1], info[2], whole(info[3]), in_flight }) do
      found[#found + 1] = value
    end
  end
  return found
end

-- Of the oldest bucket only the part that is within the minute counts.
local function rates(group)
  local sums = { 0, 0, 0, 0 }
  local current = math.floor(now / BUCKET)
  local oldest = current - BUCKETS
  local share = 1 - (now % BUCKET) / BUCKET
  for bucket = oldest, current do
    local counts = redis.call('HMGET', group_key(group, 'rates:' .. whole(bucket)), unpack(KINDS))
    for i = 1, #KINDS do
      sums[i] = sums[i] + tonumber(counts[i] or 0) * (bucket == oldest and share or 1)
    end
  end
  for i = 1, #KINDS do
    sums[i] = string.format('%.6f', sums[i] * 1000000 / (BUCKETS * BUCKET))
  end
  return sums
end

local told = {}
local function expire(group)
  local ended = {}
  expire_leases(group, tonumber(ARGV[6]), 1000, ended)
  for _, value in ipairs(announce_ended(group, ended)) do
    told[#told + 1] = value
  end
end

local function info(group)
  expire(group)
  local waiting = group_key(group, 'waiting')
  local ready = redis.call('ZCOUNT', waiting, '-inf', whole(now))
  local first = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
  return {
    group,
    redis.call('HGET', group_key(group, 'group'), 'paused') and 1 or 0,
    redis.call('ZCARD', waiting) - ready,
    ready,
    redis.call('ZCARD', group_key(group, 'leased')),
    redis.call('ZCARD', group_key(group, 'dead')),
    ready > 0 and first[2] or -1,
    subscribers(group),
    rates(group),
  }
end

regardless_of_memory()
local names = redis.call('SMEMBERS', topic_key('groups'))
if #names == 0 then
  if redis.call('EXISTS', topic_key('events'), topic_key('recent')) == 0 then
    return false
  end
  names = { '' }
end
table.sort(names)
local groups = {}
for i, name in ipairs(names) do
  groups[i] = info(name)
end
local dead = tonumber(redis.call('HGET', topic_key('meta'), 'dead') or 0)
return { whole(now), told, redis.call('HLEN', topic_key('events')) - dead, groups }
