-- -> SCHEDULED or READY: stores the events of requests in every group of the topic, each request wholly or not at all.
--
-- KEYS     topic, every group
-- ARGV     1..5 as in common.lua
--   6, 7   the server's max_queued (0 for unlimited) and dedupe window (microseconds), if the topic has none of its own
--   8      how many requests; then for each:
--            request id ('' for none), its identity (a number), require_subscriber (0, 1), time of its generated
--            ids (ms), number of events, number of pieces;
--            which ids the client chose, one character per event ('0' or '1'), '' for none;
--            due: 'd<microseconds>' from now or 'a<microseconds>', one for all events, or one each with blanks between;
--            pieces, with some events in each: the length of the packed id (1 byte), the packed id, the length of the
--            blob (4 bytes, big endian), the blob (see DATA_MODEL.md) without the time of dispatch and the place; ...
-- returns  {now, the soonest due of what was stored or -1, {group that is not paused, ...}, {answer, ...}, whether the
--            topic may have been unlisted (0, 1)}, one answer per request:
--            {status, time of the generated ids, places of duplicates...}, places from 0; status: 0 stored,
--            1 stored before (a repetition), 2 full, 3 no subscriber, 4 the request id was used for other events; after
--            2, the number queued and max_queued follow

local STORED, REPEATED, FULL, NO_SUBSCRIBER, REUSED = 0, 1, 2, 3, 4

local own = redis.call('HMGET', topic_key('config'), 'max_queued', 'dedupe_window')
-- Each partition takes its share.
local max_queued, window = math.ceil(number_or(own[1], ARGV[6]) / PARTS), number_or(own[2], ARGV[7])
local events_key = topic_key('events')
local requests_key, earlier_requests_key = topic_key('requests'), topic_key('requests:earlier')
local groups = ALL_GROUPS
-- Without a lasting group, the events are also kept for the first one.
local receivers = LASTING_GROUPS > 0 and groups or { '', unpack(groups) }
local waiting_in = math.max(1, LASTING_GROUPS)

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

-- When events are due: one time for all, or one for each.
local function read_dues(text)
  local dues = {}
  for due in string.gmatch(text, '%S+') do
    dues[#dues + 1] = due_at(due)
  end
  return dues
end

-- Whether the topic holds an event of this id, or remembers it.
local function is_known(id)
  if redis.call('HEXISTS', events_key, id) == 1 then
    return true
  end
  local until_us = redis.call('ZSCORE', topic_key('recent'), id)
  return until_us and tonumber(until_us) > now
end

-- Ids that clients chose can come twice. Ids that the server made follow from the request, so they are new unless the
-- request is repeated after its answer was forgotten; the first of them shows that. Returns the new events as arrays of
-- ids, due times and blobs, and the places of the others.
local function read_events(count)
  local marks, dues = take(), read_dues(take())
  local piece, position, id, blob = '', 1, nil, nil
  local ids, due_times, blobs, duplicates, seen = {}, {}, {}, {}, {}
  local made_are_new = nil
  for place = 0, count - 1 do
    if position > #piece then
      piece, position = take(), 1
    end
    id, blob, position = struct.unpack('>Bc0I4c0', piece, position)
    local is_chosen = marks ~= '' and string.sub(marks, place + 1, place + 1) == '1'
    if not is_chosen and made_are_new == nil then
      made_are_new = not is_known(id)
    end
    if (is_chosen or not made_are_new) and (seen[id] or is_known(id)) then
      duplicates[#duplicates + 1] = place
    else
      ids[#ids + 1], due_times[#due_times + 1], blobs[#blobs + 1] = id, dues[place + 1] or dues[1], blob
    end
    seen[id] = is_chosen
  end
  return { ids, due_times, blobs }, duplicates
end

for _, group in ipairs(receivers) do
  check_keys(group)
end
redis.call('HLEN', requests_key)
redis.call('HLEN', earlier_requests_key)

-- A topic with groups is certainly listed.
local was_empty = #groups == 0 and redis.call('EXISTS', events_key) == 0
local soonest, awake = NEVER, {}
local function store(ids, due_times, blobs)
  local stored, waiting, refs = {}, {}, {}
  local first_due = NEVER
  local dispatched = struct.pack('>I8', now)
  local last_due, score = nil, nil
  -- Changes nothing. If the user has no right to ZADD, it fails here, before the events are stored.
  redis.call('ZADD', group_key(receivers[1], 'waiting'), 'XX', 0, '')
  -- Events that are due together keep the order in which they were dispatched.
  local first_place = redis.call('HINCRBY', topic_key('meta'), 'places', #ids) - #ids
  for i, id in ipairs(ids) do
    local due = due_times[i]
    if due ~= last_due then
      last_due, score = due, whole(due)
      first_due = math.min(first_due, due)
    end
    local place = struct.pack('>I4', (first_place + i - 1) % 4294967296)
    stored[2 * i - 1], stored[2 * i] = id, dispatched .. place .. blobs[i]
    waiting[2 * i - 1], waiting[2 * i] = score, place .. id
  end
  if #receivers > 1 then
    local held_by_all = cmsgpack.pack({ #receivers, waiting_in })
    for i, id in ipairs(ids) do
      refs[2 * i - 1], refs[2 * i] = id, held_by_all
    end
  end
  write_all('HSET', events_key, stored)
  write_all('HSET', topic_key('refs'), refs)
  for _, group in ipairs(receivers) do
    write_all('ZADD', group_key(group, 'waiting'), waiting)
  end
  for _, group in ipairs(receivers) do
    mark(group, 'dispatched', #ids)
    awake[group] = wake(group, first_due)
  end
  soonest = math.min(soonest, first_due)
end

-- The answers to requests are kept in two hashes: when everything in the earlier one is forgotten, the other takes its
-- place. So the memory is bounded, is freed all at once, and goes with the topic. A hash expires a while after its last
-- answer is forgotten, so that on a busy topic it is unlinked first, which does not block Redis.
local SLACK_MS = 1000

-- The answer to an earlier request of this id, and that request's identity; nil if it is not remembered.
local function known_answer(request_id)
  if request_id == '' then
    return nil
  end
  local raw = redis.call('HGET', requests_key, request_id) or redis.call('HGET', earlier_requests_key, request_id)
  local kept = unpack_fields(raw, 3)
  if not kept or type(kept[1]) ~= 'number' or type(kept[3]) ~= 'number' or kept[1] <= now then
    return nil
  end
  return { REPEATED, unpack(kept, 3) }, kept[2]
end

local is_ready = false
local function make_ready_to_remember()
  if redis.call('PTTL', earlier_requests_key) <= SLACK_MS then
    redis.call('UNLINK', earlier_requests_key)
    if redis.call('EXISTS', requests_key) == 1 then
      redis.call('RENAME', requests_key, earlier_requests_key)
    end
  end
  is_ready = true
end

local function remember_answer(request_id, answer)
  if not is_ready then
    make_ready_to_remember()
  end
  redis.call('HSET', requests_key, request_id, answer)
end

local function keep_answers()
  local needed_ms = math.ceil(window / 1000) + SLACK_MS
  if is_ready and redis.call('PTTL', requests_key) < needed_ms then
    redis.call('PEXPIRE', requests_key, whole(needed_ms + SLACK_MS))
  end
end

local function carry_out()
  local request_id, identity, require_subscriber = take(), tonumber(take()), take()
  local generated_at, count, pieces = tonumber(take()), tonumber(take()), tonumber(take())
  local answer, identity_then = known_answer(request_id)
  if answer then
    at = at + 2 + pieces
    return identity_then == identity and answer or { REUSED }
  end
  if require_subscriber == '1' and not has_subscriber() then
    at = at + 2 + pieces
    return { NO_SUBSCRIBER }
  end
  local fresh, duplicates = read_events(count)
  local fresh_count = #fresh[1]
  if max_queued > 0 and fresh_count > 0 then
    local dead = tonumber(redis.call('HGET', topic_key('meta'), 'dead') or 0)
    local queued = redis.call('HLEN', events_key) - dead
    if queued + fresh_count > max_queued then
      return { FULL, queued, max_queued }
    end
  end
  if fresh_count > 0 then
    store(unpack(fresh))
  end
  if request_id ~= '' and window > 0 then
    remember_answer(request_id, cmsgpack.pack({ now + window, identity, generated_at, unpack(duplicates) }))
  end
  return { STORED, generated_at, unpack(duplicates) }
end

local answers = {}
for i = 1, tonumber(ARGV[8]) do
  answers[i] = carry_out()
end
keep_answers()

local to_wake = {}
for _, group in ipairs(groups) do
  if awake[group] then
    to_wake[#to_wake + 1] = group
  end
end
return { whole(now), answer_time(soonest), to_wake, answers, was_empty and soonest ~= NEVER and 1 or 0 }
