-- Shared by the scripts that describe topics to operators. Needs records.lua and policies.lua. It writes nothing, and takes
-- the prefix of a topic, so that one script can describe many.

local KINDS = { dispatched = 1, delivered = 2, acked = 3, nacked = 4 }

-- How much was read so far, in about microseconds of Redis: a group counts 10, a lease and a subscriber 1.
local examined = 0

-- The keys of a group that is not empty, the most usual ones first; and which of them are hashes.
local LIVELY = { 'waiting', 'rates', 'sessions', 'leased', 'dead', 'upcoming', 'blocked', 'prioritized', 'suspects' }
local HASHES = { rates = true, sessions = true }

-- What a group has in each of these: the fields and values of the hashes, and the sizes of the sets; and whether it is
-- empty. Redis says how many there are, so that no more are looked at.
local function contents_of(prefix, group)
  local keys, found = {}, {}
  for i, name in ipairs(LIVELY) do
    keys[i], found[name] = group_key_of(prefix, group, name), HASHES[name] and {} or 0
  end
  local count = redis.call('EXISTS', unpack(keys))
  local left = count
  for i, name in ipairs(LIVELY) do
    if left == 0 then
      break
    end
    found[name] = redis.call(HASHES[name] and 'HGETALL' or 'ZCARD', keys[i])
    left = left - ((HASHES[name] and #found[name] or found[name]) > 0 and 1 or 0)
  end
  return found, count == 0
end

-- {session id, consumer, connected at, in flight, ...}
local function subscribers(prefix, group, contents)
  local found, in_flight, sessions = {}, {}, contents.sessions
  local is_used = #sessions > 0 and contents.leased > 0
  local held = is_used and redis.call('HGETALL', group_key_of(prefix, group, 'in_flight')) or {}
  for i = 1, #held, 2 do
    in_flight[held[i]] = tonumber(held[i + 1])
  end
  for i = 1, #sessions, 2 do
    local info, at = unpack_fields(sessions[i + 1], 3) or { sessions[i], '', 0 }, #found
    found[at + 1], found[at + 2], found[at + 3] = info[1], info[2], info[3] + 0
    found[at + 4] = in_flight[sessions[i]] or 0
  end
  examined = examined + #sessions / 2
  return found
end

-- {dispatched, delivered, acked, nacked, each in millionths of an event a second over the last minute}
local function rates(counts)
  local sums, current = { 0, 0, 0, 0 }, math.floor(now / BUCKET_US)
  for i = 1, #counts, 2 do
    local bucket, kind = string.match(counts[i], '^(%d+):(%l+)$')
    local at, age = KINDS[kind or ''], current - (tonumber(bucket or '') or NEVER)
    if at and age >= 0 and age <= BUCKETS then
      -- Only the part of the oldest bucket that is within the minute counts.
      local share = age == BUCKETS and 1 - (now % BUCKET_US) / BUCKET_US or 1
      sums[at] = sums[at] + (tonumber(counts[i + 1]) or 0) * share
    end
  end
  for i = 1, #sums do
    sums[i] = math.floor(sums[i] * 1e12 / (BUCKETS * BUCKET_US) + 0.5)
  end
  return sums
end

-- Until when the limits of a group with so many leases, or a pause, let nothing more be leased at the latest; NEVER if
-- they do.
local function throttled_until(prefix, group, leased)
  if not HAS_LIMITS then
    return NEVER
  end
  local limits = policies().read_limits(group, prefix)
  local until_us = policies().limits_open_at(limits)
  if limits.most > 0 and leased >= limits.most then
    until_us = math.max(until_us, first_in(group_key_of(prefix, group, 'leased')))
  end
  return until_us > now and until_us or NEVER
end

-- How many leases of a group are examined for the oldest: those that expire first. New leases expire last.
local LEASES_EXAMINED = 100

-- Since when the lease that was given first has lasted, of a group that has leases.
local function oldest_lease(prefix, group)
  local ids = redis.call('ZRANGE', group_key_of(prefix, group, 'leased'), 0, LEASES_EXAMINED - 1)
  for i = 1, #ids do
    ids[i] = id_of(ids[i])
  end
  local oldest = NEVER
  for _, raw in ipairs(redis.call('HMGET', group_key_of(prefix, group, 'records'), unpack(ids))) do
    local record = raw and read_record(raw)
    oldest = math.min(oldest, record and record[STARTED] or NEVER)
  end
  examined = examined + #ids
  return oldest
end

-- How many READY events a group has, and since when the first has been READY.
local function ready_in(prefix, group, contents)
  local ready, oldest = 0, NEVER
  for _, name in ipairs(WAITING_SETS) do
    local key = group_key_of(prefix, group, name)
    local first = contents[name] > 0 and first_in(key) or NEVER
    if first <= now then
      ready, oldest = ready + redis.call('ZCOUNT', key, '-inf', whole(now)), math.min(oldest, first)
    end
  end
  return ready, oldest
end

-- Whether leases of a group have run out, events with keys have become due, or keys open.
local function is_behind(prefix, group, contents)
  return contents.leased > 0 and first_in(group_key_of(prefix, group, 'leased')) <= now
    or contents.upcoming > 0 and first_in(group_key_of(prefix, group, 'upcoming')) <= now
    or HAS_POLICIES and first_in(group_key_of(prefix, group, 'opens')) <= now
end

-- The counts of the last minutes. They are only a statistic, so an error in them hides nothing else.
local MINUTE_US, LATENESS_MINUTES = 60000000, 5

local function minutes(prefix, group)
  local fields, found = {}, {}
  local current = math.floor(now / MINUTE_US)
  for minute = current - LATENESS_MINUTES + 1, current do
    fields[#fields + 1] = whole(minute) .. ':' .. group
  end
  local stored = redis.pcall('HMGET', prefix .. 'minutes', unpack(fields))
  for i = 1, #fields do
    found[#found + 1] = stored[i] or nil
  end
  return found
end

-- A time in a description; -1 for NEVER.
local function described_time(at)
  return at == NEVER and -1 or at
end

-- The table; false if it is empty, which costs the caller less to read.
local function filled(list)
  return #list > 0 and list
end

-- A group: {name, paused (1) + ephemeral (2), {name, value, ...} of its own settings, {counts of one of the last minutes,
-- ...}}, both false if empty. Unless it is empty, {scheduled, ready, blocked, leased, dead} follows, and unless nothing is
-- due, leased or counted and nobody is subscribed: {since when the first has been ready, since when the first that is
-- blocked has been due, since when the lease that has lasted longest, each -1 for none}, what `subscribers` and `rates`
-- return, until when its limits or a pause hold it up or -1. Returns nil in place of one that is behind, if `up_to_date`.
local function describe_group(prefix, group, is_ephemeral, up_to_date)
  examined = examined + 10
  local own, is_paused = own_settings(prefix, group)
  local flags = (is_paused and 1 or 0) + (is_ephemeral and 2 or 0)
  local found = { group, flags, filled(own), filled(minutes(prefix, group)) }
  local has, is_empty = contents_of(prefix, group)
  if up_to_date and is_behind(prefix, group, has) then
    return nil
  end
  local throttled = throttled_until(prefix, group, has.leased)
  if is_empty and throttled == NEVER then
    return found
  end
  local ready, oldest = ready_in(prefix, group, has)
  local waiting = has.waiting + has.suspects + has.prioritized + has.upcoming
  found[5] = { waiting - ready, ready, has.blocked, has.leased, has.dead }
  if ready + has.blocked + has.leased + #has.sessions + #has.rates == 0 and throttled == NEVER then
    return found
  end
  found[6] = {
    described_time(oldest),
    described_time(has.blocked > 0 and first_in(group_key_of(prefix, group, 'blocked')) or NEVER),
    described_time(has.leased > 0 and oldest_lease(prefix, group) or NEVER),
  }
  found[7], found[8], found[9] = subscribers(prefix, group, has), rates(has.rates), described_time(throttled)
  return found
end

-- How many events a topic holds, dead letters not counted.
local function queued_in(prefix)
  local events = redis.call('HLEN', prefix .. 'events')
  return events > 0 and events - tonumber(redis.call('HGET', prefix .. 'meta', 'dead') or 0) or 0
end
