-- Describes a topic and its groups; O(groups + subscribers).
--
-- KEYS     topic, every group
-- ARGV     1..5 as in common.lua
--   6      the server's max_retries, for leases that have run out
-- returns  {now, {session, tokens, ...} of leases that have ended, '' or what is missing, queued, settings, {group,
--          ...}}, settings: {name, value, ...} of those that differ from the server's; a group: {name,
--          {paused, ephemeral (0, 1)}, {scheduled, ready, blocked, leased, dead}, {since when the first has been ready,
--          since when the first that is blocked has been due, since when the lease that has lasted longest, each -1
--          for none},
--          {session id, consumer, connected at, in flight, ...},
--          {dispatched, delivered, acked, nacked, each in events a second over the last minute},
--          {name, value, ...} of its own settings, until when its limits or a pause hold it up or -1,
--          {counts of one of the last minutes, ...}, as in `minutes`}
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases
-- includes naming

local KINDS = { 'dispatched', 'delivered', 'acked', 'nacked' }

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

-- Only the part of the oldest bucket that is within the minute counts.
local function rates(group)
  local sums = { 0, 0, 0, 0 }
  local current = math.floor(now / BUCKET_US)
  local oldest = current - BUCKETS
  local share = 1 - (now % BUCKET_US) / BUCKET_US
  local counts = {}
  local flat = redis.call('HGETALL', group_key(group, 'rates'))
  for i = 1, #flat, 2 do
    counts[flat[i]] = tonumber(flat[i + 1])
  end
  for bucket = oldest, current do
    for i, kind in ipairs(KINDS) do
      sums[i] = sums[i] + (counts[whole(bucket) .. ':' .. kind] or 0) * (bucket == oldest and share or 1)
    end
  end
  for i = 1, #KINDS do
    sums[i] = string.format('%.6f', sums[i] * 1000000 / (BUCKETS * BUCKET_US))
  end
  return sums
end

-- Until when the limits of a group, or a pause, let nothing more be leased at the latest; NEVER if they do.
local function throttled_until(group)
  local limits = HAS_LIMITS and policies().read_limits(group)
  local until_us = limits and policies().limits_open_at(limits) or 0
  if limits and policies().is_at_most(group, limits) then
    until_us = math.max(until_us, first_score(group, 'leased'))
  end
  return until_us > now and until_us or NEVER
end

-- How many leases of a group are examined for the oldest: those that expire first. New leases expire last.
local LEASES_EXAMINED = 100

-- Since when the lease that was given first has lasted; NEVER if there is none.
local function oldest_lease(group)
  local ids = redis.call('ZRANGE', group_key(group, 'leased'), 0, LEASES_EXAMINED - 1)
  for i = 1, #ids do
    ids[i] = id_of(ids[i])
  end
  local oldest = NEVER
  if #ids > 0 then
    for _, raw in ipairs(redis.call('HMGET', group_key(group, 'records'), unpack(ids))) do
      local record = raw and read_record(raw)
      oldest = math.min(oldest, record and record[STARTED] or NEVER)
    end
  end
  return oldest
end

-- The counts of the last minutes. They are only a statistic, so an error in them hides nothing else.
local MINUTE_US, LATENESS_MINUTES = 60000000, 5

local function minutes(group)
  local fields = {}
  local current = math.floor(now / MINUTE_US)
  for minute = current - LATENESS_MINUTES + 1, current do
    fields[#fields + 1] = whole(minute) .. ':' .. group
  end
  local stored = redis.pcall('HMGET', topic_key('minutes'), unpack(fields))
  local found = {}
  for i = 1, #fields do
    found[#found + 1] = stored[i] or nil
  end
  return found
end

local function info(group)
  local ready, waiting = 0, 0
  local oldest = NEVER
  for _, name in ipairs(WAITING_SETS) do
    ready = ready + redis.call('ZCOUNT', group_key(group, name), '-inf', whole(now))
    waiting = waiting + redis.call('ZCARD', group_key(group, name))
    oldest = math.min(oldest, first_score(group, name))
  end
  return {
    group,
    { redis.call('HGET', group_key(group, 'group'), 'paused') and 1 or 0, is_ephemeral(group) and 1 or 0 },
    {
      waiting + redis.call('ZCARD', group_key(group, 'upcoming')) - ready,
      ready,
      redis.call('ZCARD', group_key(group, 'blocked')),
      redis.call('ZCARD', group_key(group, 'leased')),
      redis.call('ZCARD', group_key(group, 'dead')),
    },
    {
      answer_time(ready > 0 and oldest or NEVER),
      answer_time(first_score(group, 'blocked')),
      answer_time(oldest_lease(group)),
    },
    subscribers(group),
    rates(group),
    own_settings(group),
    answer_time(throttled_until(group)),
    minutes(group),
  }
end

regardless_of_memory()
local names, missing = find_groups(ALL_GROUPS, true, '')
if not names then
  return { whole(now), {}, missing }
end
local settings = redis.call('HGETALL', topic_key('config'))
local report = bring_up_to_date(names, ARGV[6])
local groups = {}
for i, name in ipairs(names) do
  groups[i] = info(name)
end
local dead = tonumber(redis.call('HGET', topic_key('meta'), 'dead') or 0)
return { whole(now), report, '', redis.call('HLEN', topic_key('events')) - dead, settings, groups }
