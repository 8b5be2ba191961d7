-- Stores the events of requests in every group of the topic, each request wholly or not at all.
--
-- KEYS[1]  the topic's events
-- ARGV     1..5 as in common.lua
--   6      max_queued, 0 for unlimited
--   7      dedupe window, microseconds
--   8      how many requests; then for each:
--            request id ('' for none), its identity (a number), require_subscriber (0, 1), time of its generated
--            ids (ms), number of events;
--            for each event: packed id, chosen by the client (0, 1), due: 'd<microseconds>' after now or
--            'a<microseconds>' at, blob (see DATA_MODEL.md) without the time of dispatch and the place
-- returns  {now, the soonest due of what was stored or -1, {group, ...}, {answer, ...}}, an answer a request:
--            {status, time of the generated ids, places of duplicates...}, places from 0; status: 0 stored,
--            1 stored before (a repetition), 2 full, 3 no subscriber, 4 the request id was used for other events;
--            with 2 the number queued follows

local STORED, REPEATED, FULL, NO_SUBSCRIBER, REUSED = 0, 1, 2, 3, 4

local max_queued = tonumber(ARGV[6])
local window = tonumber(ARGV[7])
local events_key, recent_key = topic_key('events'), topic_key('recent')
local groups = redis.call('SMEMBERS', topic_key('groups'))
local receivers = #groups > 0 and groups or { '' }

local at = 9 -- the argument that is read next

local function take()
  local value = ARGV[at]
  at = at + 1
  return value
end

local function has_subscriber()
  for _, group in ipairs(groups) do
    if redis.call('EXISTS', group_key(group, 'sessions')) == 1 then
      return true
    end
  end
  return false
end

-- Ids that the server made are new by construction; only those that clients chose can come twice.
local function is_known(id, seen)
  if seen[id] or redis.call('HEXISTS', events_key, id) == 1 then
    return true
  end
  local until_us = redis.call('ZSCORE', recent_key, id)
  return until_us and tonumber(until_us) > now
end

local function read_events(count)
  local fresh, duplicates, seen = {}, {}, {}
  for place = 0, count - 1 do
    local id, chosen, due, blob = take(), take(), take(), take()
    if chosen == '1' and is_known(id, seen) then
      duplicates[#duplicates + 1] = place
    else
      seen[id] = chosen == '1'
      local offset = tonumber(string.sub(due, 2))
      local due_us = string.sub(due, 1, 1) == 'd' and now + offset or math.max(now, offset)
      fresh[#fresh + 1] = { id, due_us, blob }
    end
  end
  return fresh, duplicates
end

for _, group in ipairs(receivers) do
  check_keys(group)
end

local soonest = NEVER
local function store(fresh)
  local stored, waiting, refs = {}, {}, {}
  local first_due = NEVER
  local dispatched = struct.pack('>I8', now)
  -- Events that are due together keep the order in which they were dispatched.
  local first_place = redis.call('HINCRBY', topic_key('meta'), 'places', #fresh) - #fresh
  for _, event in ipairs(fresh) do
    local id, due_us, blob = event[1], event[2], event[3]
    local place = struct.pack('>I4', first_place % 4294967296)
    first_place = first_place + 1
    stored[#stored + 1] = id
    stored[#stored + 1] = dispatched .. place .. blob
    waiting[#waiting + 1] = whole(due_us)
    waiting[#waiting + 1] = place .. id
    first_due = math.min(first_due, due_us)
    if #receivers > 1 then
      refs[#refs + 1] = id
      refs[#refs + 1] = cmsgpack.pack({ #receivers, #receivers })
    end
  end
  write_all('HSET', events_key, stored)
  write_all('HSET', topic_key('refs'), refs)
  for _, group in ipairs(receivers) do
    write_all('ZADD', group_key(group, 'waiting'), waiting)
    mark(group, 'dispatched', #fresh)
    wake(group, first_due)
  end
  soonest = math.min(soonest, first_due)
end

-- What a request of this id was answered, and its identity; nil when that is not remembered.
local function known_answer(request_id)
  local kept = request_id ~= '' and unpack_fields(redis.call('GET', topic_key('request:' .. request_id)), 3)
  if not kept or type(kept[1]) ~= 'number' or type(kept[3]) ~= 'number' or kept[1] <= now then
    return nil
  end
  return { REPEATED, unpack(kept, 3) }, kept[2]
end

local function carry_out()
  local request_id, identity, require_subscriber = take(), tonumber(take()), take()
  local generated_at, count = tonumber(take()), tonumber(take())
  local answer, identity_then = known_answer(request_id)
  if answer then
    at = at + 4 * count
    return identity_then == identity and answer or { REUSED }
  end
  if require_subscriber == '1' and not has_subscriber() then
    at = at + 4 * count
    return { NO_SUBSCRIBER }
  end
  local fresh, duplicates = read_events(count)
  if max_queued > 0 then
    local dead = tonumber(redis.call('HGET', topic_key('meta'), 'dead') or 0)
    local queued = redis.call('HLEN', events_key) - dead
    if queued + #fresh > max_queued then
      return { FULL, queued }
    end
  end
  if #fresh > 0 then
    store(fresh)
  end
  if request_id ~= '' and window > 0 then
    local kept = cmsgpack.pack({ now + window, identity, generated_at, unpack(duplicates) })
    redis.call('SET', topic_key('request:' .. request_id), kept, 'PX', math.ceil(window / 1000))
  end
  return { STORED, generated_at, unpack(duplicates) }
end

local answers = {}
for i = 1, tonumber(ARGV[8]) do
  answers[i] = carry_out()
end
return { whole(now), answer_time(soonest), groups, answers }
